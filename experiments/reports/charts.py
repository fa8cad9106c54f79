"""Interactive charts: Plotly draws them in the browser, from inside the page.

A chart is a dictionary as Plotly has it, `{"data": [...], "layout": {...}}`, which `charts.js` draws in the look of the
page. Three conventions:

- Colours are the page's, `var(--c0)` and the like: they change with the theme.
- `customdata` holds, for each point, the key of what it belongs to, a trial or a run. Whatever has the key that is
  under the pointer is marked in all charts, and in tables whose rows have it as `data-key`. A trace whose `meta` is
  `hover` is only there to be pointed at.
- Titles and ticks are short; the caption explains.
"""

import base64
import functools
import gzip
import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

DIGITS = 9  # of a number in a chart: a hover rounds it once more


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
        return htmlsafe_json_dumps(_plain(self.figure), separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def escaped(text: object) -> str:
    """Return a text as Plotly shows it to the letter: it would take markup for its own."""
    return html.escape(str(text), quote=False)


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
    from plotly.offline import get_plotlyjs

    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()


def padded(low: float, high: float) -> list[float]:
    """Return a range of an axis with some space at both ends."""
    pad = 0.05 * (high - low) or 1.0
    return [low - pad, high + pad]
