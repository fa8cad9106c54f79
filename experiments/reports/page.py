"""Self-contained HTML pages in one look: `page.html` is what all of them extend.

A template takes from it, `{% from "page.html" import interactive, slider with context %}`:

- `interactive(chart)`: a chart to hover, zoom and mark things in (`charts.Chart`).
- `slider(frames, caption)`: samples over steps (`slider.make_slider`).

The scripts that these need are added to pages that use them. No page asks the network for anything.
"""

import functools
import re
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from experiments.cli.terminal import printable
from experiments.reports.charts import plotly
from experiments.reports.figures import COLOURS, GROUND, INK
from experiments.settings.text import brief

FOLDER = Path(__file__).parent


def render(template: Path, **values: Any) -> str:
    """Render a template that extends page.html, with the filters `brief` and `breakable`."""
    themes = {"ink": INK, "ground": GROUND, "colours": COLOURS}
    page = str(printable(_environment(template.parent).get_template(template.name).render(themes=themes, **values)))
    return page.replace("<!-- scripts -->", _scripts(page), 1)


@functools.cache  # with its compiled templates: the page of a search is rendered again and again
def _environment(folder: Path) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, FOLDER]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,  # another version of the program may be checked out while a search runs
    )
    environment.filters |= {"brief": brief, "breakable": breakable}
    return environment


def _scripts(page: str) -> str:
    """Return the scripts that a page needs. Text of a user cannot look like a figure's class: its quotes are escaped."""
    scripts = []
    if 'class="steps"' in page:
        scripts.append(f"<script>{_script('slider.js')}</script>")
    if 'class="chart"' in page:
        scripts.append('<p id="marked" role="status" hidden></p>')
        scripts.append(f'<script type="text/plain" id="plotly">{plotly()}</script>')
        scripts.append(f"<script>{_script('charts.js')}</script>")
    return "\n".join(scripts)


@functools.cache
def _script(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def breakable(key: str) -> Markup:
    """Return a setting's name that may be broken before a dot or an underscore; not a number in it."""
    return Markup(re.sub(r"([._])(?!\d)", r"<wbr>\1", str(escape(key))))
