"""Self-contained HTML pages in one look: `page.html` is what all of them extend."""

import base64
import re
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from experiments.cli.progress import brief
from experiments.cli.terminal import printable
from experiments.reports.figures import COLOURS, GROUND, INK

FOLDER = Path(__file__).parent


def render(template: Path, **values: Any) -> str:
    """Render a template that extends page.html, with the filters `brief`, `inline` and `breakable`."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([template.parent, FOLDER]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"brief": brief, "inline": inline, "breakable": breakable}
    themes = {"ink": INK, "ground": GROUND, "colours": COLOURS}
    return str(printable(environment.get_template(template.name).render(themes=themes, **values)))


def breakable(key: str) -> Markup:
    """Return a setting's name that may be broken before a dot or an underscore."""
    return Markup(re.sub(r"([._])", r"<wbr>\1", str(escape(key))))


def inline(file: Path) -> str:
    """Return a PNG as the source of an <img>."""
    return "data:image/png;base64," + base64.b64encode(file.read_bytes()).decode()
