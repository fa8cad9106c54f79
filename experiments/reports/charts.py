"""Charts that answer to the hand: Plotly draws them in the browser, from inside the page.

A chart is a dictionary as Plotly has it, `{"data": [...], "layout": {...}}`, which `charts.js` draws in the look of the
page. Three conventions:

- Colours are the page's, `var(--c0)` and the like: they change with the theme.
- `customdata` holds, for each point, the key of what it belongs to, a trial or a run. Whatever has the key that is
  under the pointer is marked in all charts, and in tables whose rows have it as `data-key`.
- Titles and ticks are short; the caption explains.
"""

import base64
import functools
import gzip
import importlib.util
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

DIGITS = 6  # of a number in a chart


@dataclass(frozen=True)
class Chart:
    """One chart of a page.

    Attributes:
        title: of its section.
        figure: what Plotly draws.
        caption: below it.
        least_width: in pixels; where the page is narrower the chart scrolls.
        still: an SVG for browsers without JavaScript.
    """

    title: str
    figure: Mapping[str, Any]
    caption: str = ""
    least_width: int = 0
    still: Markup = Markup()

    @property
    def json(self) -> Markup:
        """The figure for a <script> of the page: no text in it can end that."""
        text = json.dumps(_plain(self.figure), separators=(",", ":"), allow_nan=False, ensure_ascii=False)
        return Markup(text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e"))


def escaped(text: object) -> str:
    """Return a text as Plotly shows it to the letter: it would take markup for its own."""
    return str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: short numbers, null for what is none."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, np.ndarray | Sequence) and not isinstance(value, str):
        return [_plain(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return value


@functools.cache
def plotly() -> str:
    """Return Plotly's script for a page, compressed to a third: charts.js unpacks it."""
    spec = importlib.util.find_spec("plotly")
    assert spec is not None and spec.origin is not None
    source = Path(spec.origin).with_name("package_data") / "plotly.min.js"
    return base64.b64encode(gzip.compress(source.read_bytes(), mtime=0)).decode()
