"""A chart as a still, for browsers without JavaScript: an SVG in the colours of the page, whatever its theme.

Matplotlib draws it from the same figure as Plotly: points, lines and heat maps. Of parallel coordinates, contours
and times there is none.
"""

import html
import io
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import matplotlib
from markupsafe import Markup, escape

from experiments.reports import figures
from experiments.reports.charts import Chart

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE = (9.0, 3.6)  # inches
MOST_MARKERS = 400  # on lines: more would make the page large
DRAWN = ("scatter", "heatmap")
MARKERS = {
    "x": "x",
    "circle": "o",
    "circle-open": "o",
    "triangle-up": "^",
    "diamond": "D",
    "diamond-open": "D",
    "star": "*",
}
DASHES = {"solid": "-", "dash": "--", "dot": ":"}
SETTINGS = {
    "svg.fonttype": "none", "font.family": "sans-serif", "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "axes.axisbelow": True, "legend.frameon": False, "legend.fontsize": 9, "font.size": 9, "text.parse_math": False,
}  # fmt: skip


class _Colours:
    """Stands for the page's variables while Matplotlib draws: a colour that nothing else has for each."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def __call__(self, colour: str) -> str:
        variable = re.fullmatch(r"var\((--[\w-]+)\)", colour)
        return self._names.setdefault(variable[1], f"#0f{len(self._names):02d}1f") if variable else colour

    def restore(self, svg: str) -> str:
        for name, colour in self._names.items():
            svg = svg.replace(colour, f"var({name})")
        return svg


def with_still(chart: Chart) -> Chart:
    """Return a chart with its still, if it can have one."""
    layout = chart.figure["layout"]
    if any(trace["type"] not in DRAWN for trace in chart.figure["data"]) or layout["xaxis"].get("type") == "date":
        return chart
    colours = _Colours()
    ink = colours("var(--ink)")
    inks = dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), ink
    ) | {"grid.color": colours("var(--grid)")}  # fmt: skip
    with matplotlib.rc_context(SETTINGS | inks | {"svg.hashsalt": chart.title}):  # type: ignore[arg-type]
        width = SIZE[0] * layout.get("meta", {}).get("width", 720) / 720  # of a small one
        figure = figures.new_figure(width, SIZE[1] * layout.get("height", 420) / 420)
        figure.patch.set_alpha(0)
        axes = figure.subplots()
        axes.patch.set_alpha(0)
        for name, axis in (("xaxis", axes.xaxis), ("yaxis", axes.yaxis)):
            if order := layout.get(name, {}).get("categoryarray"):  # or they would stand in the order of the points
                axis.update_units(list(map(html.unescape, order)))  # type: ignore[no-untyped-call]
        for trace in chart.figure["data"]:
            _draw(axes, trace, colours)
        _arrange(axes, layout, colours)
        if len(axes.get_legend_handles_labels()[1]) > 1:
            figure.legend(loc="outside upper left", ncols=4)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{escape(chart.title)}" ', 1)
    return replace(chart, still=Markup(re.sub(r"\s*\n\s*", " ", colours.restore(svg))))


def _draw(axes: "Axes", trace: Mapping[str, Any], colours: _Colours) -> None:
    """Draw one of Plotly's traces."""
    label = html.unescape(trace["name"]) if "name" in trace and trace.get("showlegend", True) else None
    marker, line = trace.get("marker", {}), trace.get("line", {})
    if trace["type"] == "heatmap":
        axes.imshow(trace["z"], cmap="viridis_r", aspect="auto", origin="lower")
        axes.set_xticks(range(len(trace["x"])), map(html.unescape, trace["x"]))
        axes.set_yticks(range(len(trace["y"])), map(html.unescape, trace["y"]))
        return
    mode = trace.get("mode", "lines")
    colour = colours(line.get("color") or marker.get("color") or "var(--c0)")
    x, y = ([_shown(value) for value in trace[name]] for name in ("x", "y"))
    if trace.get("stackgroup"):
        bottom = getattr(axes, "_stacked", [0.0] * len(y))
        top = [a + b for a, b in zip(bottom, y, strict=True)]
        axes.fill_between(x, bottom, top, color=colour, alpha=0.6, label=label, linewidth=0)
        axes._stacked = top  # type: ignore[attr-defined]
        return
    symbol = str(marker.get("symbol", "circle"))
    has_markers = "markers" in mode and ("lines" not in mode or len(x) <= MOST_MARKERS)
    axes.plot(
        x, y, color=colour, label=label, alpha=trace.get("opacity", 1), linewidth=line.get("width", 2) * 0.75,
        linestyle=DASHES[line.get("dash", "solid")] if "lines" in mode else "none",
        drawstyle="steps-post" if line.get("shape") == "hv" else "default",
        marker=MARKERS[symbol] if has_markers else "none", markersize=marker.get("size", 6) * 0.75,
        markerfacecolor="none" if symbol.endswith("open") else colour,
    )  # fmt: skip


def _shown(value: Any) -> Any:
    """Return a value as Matplotlib has it: no gap is None, and markup is no more escaped."""
    return float("nan") if value is None else html.unescape(value) if isinstance(value, str) else value


def _arrange(axes: "Axes", layout: Mapping[str, Any], colours: _Colours) -> None:
    """Set titles, scales, ranges and ticks as the layout has them."""
    from matplotlib.ticker import NullLocator, StrMethodFormatter

    for name, axis in (("xaxis", axes.xaxis), ("yaxis", axes.yaxis)):
        wanted = layout.get(name, {})
        axis.set_label_text(wanted.get("title", {}).get("text", ""))
        is_log = wanted.get("type") == "log"
        if is_log:
            (axes.set_xscale if name == "xaxis" else axes.set_yscale)("log")
            axis.set_minor_locator(NullLocator())
        limits = axes.set_xlim if name == "xaxis" else axes.set_ylim
        if "range" in wanted:
            limits(*(10**v if is_log else v for v in wanted["range"]))
        elif wanted.get("rangemode") == "tozero":
            limits(0, None)
        if "tickvals" in wanted:
            axis.set_ticks(wanted["tickvals"], wanted.get("ticktext", [f"{tick:,}" for tick in wanted["tickvals"]]))
        elif "tickformat" in wanted:
            axis.set_major_formatter(StrMethodFormatter(f"{{x:{wanted['tickformat']}}}"))
        if wanted.get("autorange") == "reversed":
            axis.set_inverted(True)
    for shape in layout.get("shapes", ()):
        line = shape["line"]
        axes.axvline(
            shape["x0"], color=colours(line["color"]), linestyle=DASHES[line.get("dash", "solid")], linewidth=1
        )
