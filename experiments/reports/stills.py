"""A chart as a still, for browsers without JavaScript: an SVG in the colours of the page, whatever its theme.

Matplotlib draws it from the same figure as Plotly.
"""

import html
import io
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from markupsafe import Markup, escape

from experiments.reports import figures
from experiments.reports.charts import Chart

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE = (9.0, 3.6)  # inches
WIDE_LABELS = 40  # letters of all names on an axis together, of which they run into each other
MOST_MARKERS = 400  # on lines: more would make the page large
MOST_LINES = 200  # of parallel coordinates, the best ones
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
    """Return a chart with its still."""
    layout = chart.figure["layout"]
    colours = _Colours()
    ink = colours("var(--ink)")
    inks = dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), ink
    ) | {"grid.color": colours("var(--grid)")}  # fmt: skip
    with matplotlib.rc_context(SETTINGS | inks | {"svg.hashsalt": chart.title}):  # type: ignore[arg-type]
        width = (
            SIZE[0] * max(layout.get("meta", {}).get("width", 720), chart.least_width) / 720
        )  # a small or a wide one
        figure = figures.new_figure(width, SIZE[1] * layout.get("height", 420) / 420)
        figure.patch.set_alpha(0)
        axes = figure.subplots()
        axes.patch.set_alpha(0)
        for name, axis in (("xaxis", axes.xaxis), ("yaxis", axes.yaxis)):
            if order := layout.get(name, {}).get("categoryarray"):  # or they would stand in the order of the points
                texts = list(map(_text, order))
                axis.update_units(texts)  # type: ignore[no-untyped-call]
                if name == "xaxis" and sum(max(map(len, text.split("\n"))) for text in texts) > WIDE_LABELS:
                    axes.tick_params(axis="x", labelsize="small")
        for trace in chart.figure["data"]:
            _draw(axes, trace, colours, is_date=layout.get("xaxis", {}).get("type") == "date")
        _arrange(axes, layout, colours)
        if len(axes.get_legend_handles_labels()[1]) > 1:
            figure.legend(loc="outside upper left", ncols=4)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{escape(chart.title)}" ', 1)
    return replace(chart, still=Markup(re.sub(r"\s*\n\s*", " ", colours.restore(svg))))


def _draw(axes: "Axes", trace: Mapping[str, Any], colours: _Colours, is_date: bool) -> None:
    """Draw one of Plotly's traces."""
    if trace.get("meta") == "hover":
        return
    label = _text(trace["name"]) if "name" in trace and trace.get("showlegend", True) else None
    marker, line = trace.get("marker", {}), trace.get("line", {})
    if trace["type"] == "parcoords":
        _draw_parallel(axes, trace, colours)
        return
    if trace["type"] == "heatmap":
        scores = np.array(trace["z"], float)
        image = axes.imshow(scores, cmap="viridis_r", aspect="auto", origin="lower")
        for (row, column), text in np.ndenumerate(np.array(trace["text"])):
            has_score = np.isfinite(scores[row, column])
            ink = figures.ink_on(image.to_rgba(scores[row, column])) if has_score else colours("var(--ink)")
            axes.text(column, row, text or "none", ha="center", va="center", color=ink)
        axes.figure.colorbar(image, ax=axes, label=trace["colorbar"]["title"]["text"])
        axes.grid(False)
        axes.set_xticks(range(len(trace["x"])), map(_text, trace["x"]))
        axes.set_yticks(range(len(trace["y"])), map(_text, trace["y"]))
        return
    if trace["type"] == "contour":
        mesh = axes.pcolormesh(trace["x"], trace["y"], trace["z"], cmap="viridis_r", shading="nearest", rasterized=True)
        axes.figure.colorbar(mesh, ax=axes, label="score")
        return
    mode = trace.get("mode", "lines")
    if mode == "text":  # on a map, which has it
        return
    colour = colours(line.get("color") or marker.get("color") or "var(--c0)")
    x, y = ([_shown(value) for value in trace[name]] for name in ("x", "y"))
    if is_date:
        x = [np.datetime64(value, "us") if isinstance(value, str) else np.datetime64("NaT") for value in x]
    if any(isinstance(value, str) for value in y) and "lines" in mode:  # bars: names have no number for a gap
        for k in range(0, len(x), 3):
            axes.plot(x[k : k + 2], y[k : k + 2], color=colour, label=label, alpha=trace.get("opacity", 1),
                      linewidth=line["width"] * 0.75, solid_capstyle="butt")  # fmt: skip
            label = None
        return
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
        markerfacecolor="none" if symbol.endswith("open") else colour, clip_on=trace.get("cliponaxis", True),
    )  # fmt: skip


def _draw_parallel(axes: "Axes", trace: Mapping[str, Any], colours: _Colours) -> None:
    """Draw a line for each trial across all axes, the better the stronger its colour."""
    dimensions = trace["dimensions"]
    ranges = np.array([each["range"] for each in dimensions], float)
    places = (np.array([each["values"] for each in dimensions], float) - ranges[:, :1]) / np.diff(ranges)
    look, count = trace["line"], places.shape[1]
    better = np.ones(count)
    if "cmin" in look:  # the lower half of the scale is grey
        better = 2 * (np.array(look["color"], float) - look["cmin"]) / (look["cmax"] - look["cmin"]) - 1
    for k in range(min(count, MOST_LINES))[::-1]:  # the best is drawn last
        axes.plot(places[:, k], color="#999999", alpha=0.5, linewidth=0.8)
        if better[k] > 0:
            axes.plot(places[:, k], color=colours("var(--good)"), alpha=min(better[k], 1), linewidth=1)
    axes.set_axis_off()
    for at, each in enumerate(dimensions):
        axes.axvline(at, color=colours("var(--ink)"), linewidth=0.8)
        axes.text(at, 1.06, each["label"], rotation=20, ha="left", va="bottom")
        low, high = each["range"]
        for tick, text in zip(each["tickvals"], each["ticktext"], strict=True):
            axes.text(at - 0.03, (tick - low) / (high - low), text, ha="right", va="center", fontsize=7)


def _shown(value: Any) -> Any:
    """Return a value as Matplotlib has it: no gap is None."""
    return float("nan") if value is None else _text(value) if isinstance(value, str) else value


def _text(text: str) -> str:
    """Return a text without Plotly's markup."""
    return html.unescape(text.replace("<br>", "\n"))


def _arrange(axes: "Axes", layout: Mapping[str, Any], colours: _Colours) -> None:
    """Set titles, scales, ranges and ticks as the layout has them."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.ticker import MultipleLocator, NullLocator, StrMethodFormatter

    for name, axis in (("xaxis", axes.xaxis), ("yaxis", axes.yaxis)):
        wanted = layout.get(name, {})
        axis.set_label_text(wanted.get("title", {}).get("text", ""))
        if wanted.get("type") == "date":
            locator = AutoDateLocator()  # type: ignore[no-untyped-call]
            axis.set_major_locator(locator)
            axis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
        is_log = wanted.get("type") == "log"
        if is_log:
            (axes.set_xscale if name == "xaxis" else axes.set_yscale)("log")
            axis.set_minor_locator(NullLocator())
        limits = axes.set_xlim if name == "xaxis" else axes.set_ylim
        if "range" in wanted:
            limits(*(10**v if is_log else v for v in wanted["range"]))
        elif wanted.get("rangemode") == "tozero":
            limits(0, None)
        if "dtick" in wanted:
            axis.set_major_locator(MultipleLocator(wanted["dtick"]))
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
