"""The chart of a confirmation: scores on fresh seeds, and how far each candidate is from the baseline."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.reports.charts import Chart, escaped, padded
from sweeps.analysis.comparison import Candidate


def race_chart(candidates: Sequence[Candidate]) -> Chart | None:
    """Return the scores of each seed, and the differences from the baseline with their intervals.

    Args:
        candidates: the baseline first; each with its scores so far.
    """
    scored = [candidate for candidate in candidates if candidate.scores]
    if not scored:
        return None
    names = [escaped(candidate.title) for candidate in scored]
    colours = {True: "var(--ink)", False: "var(--c0)"}  # whether it is the baseline
    data: list[dict[str, Any]] = []
    for candidate, name in zip(scored, names, strict=True):
        colour = colours[candidate is candidates[0]]
        keys = {"customdata": [candidate.origin] * len(candidate.scores)}
        data.append(
            {"type": "scatter", "mode": "markers", "x": candidate.scores, "y": [name] * len(candidate.scores), **keys,
             "marker": {"color": colour, "symbol": "circle-open", "size": 9}, "showlegend": False,
             "text": [f"seed {seed}" for seed in candidate.seeds] or None,
             "hovertemplate": "%{x:.4~g}, %{text}<extra></extra>"}
        )  # fmt: skip
        data.append(
            {"type": "scatter", "mode": "markers", "x": [candidate.mean], "y": [name], "showlegend": False,
             "customdata": [candidate.origin], "hovertemplate": "mean %{x:.4~g}<extra></extra>",
             "marker": {"color": colour, "symbol": "diamond", "size": 13}}
        )  # fmt: skip
        difference, baseline = candidate.difference, candidates[0]
        if difference is not None and difference.has_interval and len(candidate.scores) == len(baseline.scores):
            # Where the interval ends left of the baseline's mean, it is better. One that left before has another mean
            # of the baseline to be compared with.
            data.append(
                {"type": "scatter", "mode": "lines", "showlegend": False, "hoverinfo": "skip", "y": [name] * 2,
                 "x": [baseline.mean + difference.low, baseline.mean + difference.high],
                 "line": {"color": colour, "width": 5}, "opacity": 0.35}
            )  # fmt: skip
    shapes = []
    if candidates[0].scores:
        middle = candidates[0].mean
        shapes = [{"type": "line", "x0": middle, "x1": middle, "y0": 0, "y1": 1, "yref": "paper",
                   "line": {"color": "var(--ink)", "dash": "dash", "width": 1}}]  # fmt: skip
    layout = {
        "height": 120 + 40 * len(scored), "shapes": shapes,
        "xaxis": {"title": {"text": "score (lower is better)"}} | _range(data),
        "yaxis": {"type": "category", "categoryorder": "array", "categoryarray": names[::-1], "range": [-0.6, len(names) - 0.4]},
    }  # fmt: skip
    words = (
        "Circles: fresh seeds; diamonds: their means. Bars: the 95 % interval of the difference from the baseline, whose "
        "mean is the dashed line; none for a trial that left the race before. A bar that lies left of the line shows that "
        "a trial is better."
    )
    return Chart("race", {"data": data, "layout": layout}, words)


def _range(data: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a range of the scores in which no mark ends at the edge."""
    values = [x for trace in data for x in trace["x"] if math.isfinite(x)]
    return {"range": padded(min(values), max(values))} if values else {}
