"""Charts of a search's space: what the score depends on, of trials that were trained equally long."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.trial import FrozenTrial

from experiments.cli.progress import short_names
from experiments.reports.charts import Chart, escaped, padded
from experiments.settings.text import brief
from sweeps.analysis.importances import BEST_FRACTION, comparable, length
from sweeps.analysis.trial_charts import STATES, by_state, highest_shown
from sweeps.spec.plan import Plan
from sweeps.spec.space import Dimension, Number, Value, table_text
from sweeps.study import attempts
from sweeps.study.samplers import trials_in_space

WIDTH = 110  # of a dimension in the parallel coordinates, in pixels
GRID = 60  # points of a contour along each axis
POOR = 0.9  # of the scores; those above it have the colour of the worst
NOTHING = "none"  # tick for a setting that a trial does not have


def space_charts(plan: Plan, every: Sequence[FrozenTrial]) -> tuple[Chart | None, list[Chart]]:
    """Return parallel coordinates, and a slice for each setting.

    Args:
        plan: of the search.
        every: all attempts of its study.

    Returns:
        The parallel coordinates, None of fewer than two trials; and the slices, in the order of the space.
    """
    trials = _shown(plan, every)
    if len(trials) < 2:
        return None, []
    steps = length(plan, every)
    groups = by_state(plan, [trial for trial in attempts.counted(every) if attempts.ORIGIN in trial.user_attrs])
    words = {attempts.origin(trial): word for word, group in groups.items() for trial in group}
    slices = [_slice(dimension, trials, words) for dimension in plan.space]
    return _parallel(plan, trials, steps), [chart for chart in slices if chart is not None]


def importance_charts(
    plan: Plan, every: Sequence[FrozenTrial], fanova: Mapping[str, float], ped_anova: Mapping[str, float]
) -> list[Chart]:
    """Return the importances of the settings, and the score over the two most important numbers.

    Args:
        plan: of the search.
        every: all attempts of its study.
        fanova: fractions of the score's variance by setting; none where there are too few trials.
        ped_anova: how much each decides about being among the best.
    """
    if not fanova and not ped_anova:
        return []
    order = sorted({*fanova, *ped_anova}, key=lambda key: (fanova.get(key, 0.0), ped_anova.get(key, 0.0), key))
    names = short_names(order)
    kinds = (("fANOVA", fanova, "circle"), ("PED-ANOVA", ped_anova, "diamond-open"))
    data = [
        {
            "type": "scatter", "mode": "markers", "name": kind, "y": [names[key] for key in order],
            "x": [fractions.get(key) for key in order], "marker": {"color": "var(--ink)", "symbol": symbol, "size": 11},
            "hovertemplate": f"%{{y}}: %{{x:.0%}}<extra>{kind}</extra>", "cliponaxis": False,  # whole at 0 %
        }
        for kind, fractions, symbol in kinds
    ]  # fmt: skip
    layout = {
        "height": 120 + 26 * len(order), "xaxis": {"tickformat": ".0%", "rangemode": "tozero"},
        "yaxis": {"type": "category", "range": [-0.6, len(order) - 0.4]},
    }  # fmt: skip
    trials = _shown(plan, every)
    words = (
        f"Of {len(trials)} trials at {length(plan, every):,} updates. fANOVA: the fraction of the score's variance that "
        f"a setting explains. PED-ANOVA: how much it decides about being among the best {BEST_FRACTION:.0%}."
    )
    if fanova.keys() != ped_anova.keys():
        words += " Settings that not all trials have are in PED-ANOVA alone."
    charts = [Chart("importances", {"data": data, "layout": layout}, words)]
    numbers = [d for key in reversed(order) for d in plan.space if d.key == key and _is_number(d)]
    if len(numbers) > 1 and (contour := _contour(plan, numbers[0], numbers[1], trials)) is not None:
        charts.append(contour)
    return charts


def _shown(plan: Plan, every: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials that can be compared, best first, in the present space: a study may have been extended."""
    trials = trials_in_space(comparable(plan, every), plan)
    return [trial for trial in trials if trial.value is not None and math.isfinite(trial.value)]


def _is_number(dimension: Dimension) -> bool:
    return not isinstance(dimension.distribution, CategoricalDistribution)


def _slice(dimension: Dimension, trials: Sequence[FrozenTrial], words: Mapping[int, str]) -> Chart | None:
    """Return the score over one setting.

    Args:
        dimension: the setting.
        trials: that can be compared.
        words: of STATES for each trial, by its number.
    """
    key = dimension.key
    groups: dict[str, list[FrozenTrial]] = {name: [] for name in STATES}
    for trial in trials:
        if key in trial.params:
            groups[words.get(attempts.origin(trial), "complete")].append(trial)
    if not any(groups.values()):
        return None
    is_number = _is_number(dimension)
    data = [
        {
            "type": "scatter", "mode": "markers", "showlegend": False,
            "x": [t.params[key] if is_number else _in_lines(t.params[key]) for t in group],
            "y": [t.value for t in group], "customdata": [attempts.origin(t) for t in group],
            "hovertemplate": "trial %{customdata}: %{y:.4~g} at %{x}<extra></extra>",
            "marker": {"color": STATES[name][0], "symbol": STATES[name][1], "size": 12 if name in ("baseline", "best") else 7},
        }
        for name, group in groups.items() if group
    ]  # fmt: skip
    values = sorted(trial.value for trial in trials if trial.value is not None)
    axis = _axis(dimension)
    more_lines = max((choice.count("<br>") for choice in axis.get("categoryarray", [])), default=0)
    layout = {
        "height": 240 + 18 * more_lines, "xaxis": axis, "yaxis": {"range": padded(values[0], highest_shown(values))},
        "meta": {"width": 320},
    }  # fmt: skip
    return Chart(key, {"data": data, "layout": layout})


def _highest(values: Sequence[float]) -> float:
    finite = sorted(value for value in values if math.isfinite(value))
    return finite[int(POOR * (len(finite) - 1))] or 1.0 if finite else 1.0


def _in_lines(choice: Value) -> str:
    """Return a choice for an axis: one of several parts, as color+translation, has a line for each."""
    return escaped(table_text(choice)).replace("+", "+<br>")


def _axis(dimension: Dimension) -> dict[str, Any]:
    """Return an axis with the range of a dimension, and a few ticks."""
    d = dimension.distribution
    if isinstance(d, CategoricalDistribution):
        choices = list(map(_in_lines, d.choices))
        limits = [-0.5, len(choices) - 0.5]  # those that no trial has are shown, too
        return {"type": "category", "categoryorder": "array", "categoryarray": choices, "range": limits}
    ticks = _ticks(d)
    axis = {
        "range": padded(_place(dimension, d.low), _place(dimension, d.high)),
        "tickvals": ticks,
        "ticktext": [brief(tick, 6) for tick in ticks],
    }
    return axis | ({"type": "log"} if d.log else {})


def _ticks(d: Number) -> list[float]:
    """Return round numbers in a range."""
    from matplotlib.ticker import LogLocator, MaxNLocator

    if not d.log:
        ticks = MaxNLocator(4, integer=isinstance(d, IntDistribution), steps=[1, 2, 5, 10]).tick_values(d.low, d.high)
    else:
        parts = (1, 2, 5) if d.high / d.low < 30 else (1, 3) if d.high / d.low < 300 else (1,)
        ticks = LogLocator(subs=parts, numticks=9).tick_values(d.low, d.high)
    return [float(f"{tick:.6g}") for tick in ticks if d.low <= tick <= d.high]


def _parallel(plan: Plan, trials: Sequence[FrozenTrial], steps: int) -> Chart:
    """Return a line for each trial through all of its settings and its score."""
    scores = [trial.value if trial.value is not None else math.nan for trial in trials]
    highest = _highest(scores)
    low, top = min(scores), highest_shown(scores)
    top = top if low < top else low + 1
    axis = _with_ends(low, top, {}, (f"{low:.4g}", f"{'≥ ' if max(scores) > top else ''}{top:.4g}"))
    dimensions: list[dict[str, Any]] = [{"label": "score", "values": [min(s, top) for s in scores]} | axis]
    names = short_names([dimension.key for dimension in plan.space])
    for dimension in plan.space:
        if (each := _parallel_axis(dimension, trials)) is not None:
            dimensions.append({"label": names[dimension.key]} | each)
    trace = {
        "type": "parcoords", "customdata": [attempts.origin(trial) for trial in trials], "dimensions": dimensions,
        "line": {
            "color": [-min(score, highest) for score in scores], "cmin": -highest, "cmax": -min(scores),
            "colorscale": [[0, "#999999"], [0.5, "#999999"], [1, "var(--good)"]],
        },
        "labelangle": -20, "unselected": {"line": {"color": "#888888", "opacity": 0.08}},
    }  # fmt: skip
    if highest <= min(scores):
        trace["line"] = {"color": "var(--good)"}
    words = (
        f"{len(trials)} trials at {steps:,} updates, the better the bluer. Drag along an axis to choose a part of it, also "
        "for the table; click it to let go. Drag a name to move its axis."
    )
    layout = {"height": 440, "margin": {"l": 60, "r": 60, "t": 90, "b": 20}}
    return Chart("parallel coordinates", {"data": [trace], "layout": layout}, words, WIDTH * len(dimensions))


def _with_ends(low: float, high: float, ticks: Mapping[float, str], ends: tuple[str, str]) -> dict[str, Any]:
    """Return range and ticks of an axis of parallel coordinates, one at each end: it is drawn from the first to the last.

    Their texts are not escaped: here alone Plotly takes no markup.
    """
    inner = {at: text for at, text in ticks.items() if 0.06 < (at - low) / (high - low) < 0.94}
    shown = {low: ends[0], **inner, high: ends[1]}
    return {"range": [low, high], "tickvals": list(shown), "ticktext": list(shown.values())}


def _parallel_axis(dimension: Dimension, trials: Sequence[FrozenTrial]) -> dict[str, Any] | None:
    """Return where each trial lies along one dimension; those without a value lie below all others."""
    key, d = dimension.key, dimension.distribution
    if not any(key in trial.params for trial in trials):
        return None
    if isinstance(d, CategoricalDistribution):
        marks = {float(index): table_text(choice) for index, choice in enumerate(d.choices)}
    else:
        marks = {_place(dimension, tick): f"{tick:g}" for tick in _ticks(d)}
    at = [_place(dimension, trial.params[key]) if key in trial.params else None for trial in trials]
    places = [*(each for each in at if each is not None), *(_place(dimension, end) for end in _ends(dimension))]
    low, high = min(places), max(places)
    ends = (marks.get(low, f"{_unplaced(dimension, low):.4g}"), marks.get(high, f"{_unplaced(dimension, high):.4g}"))
    if None in at:
        marks, ends = {low: ends[0], **marks}, (NOTHING, ends[1])
        low -= 0.2 * (high - low)
    return {"values": [low if each is None else each for each in at]} | _with_ends(low, high, marks, ends)


def _ends(dimension: Dimension) -> tuple[Value, Value]:
    """Return the first and the last value of a dimension."""
    d = dimension.distribution
    return (d.choices[0], d.choices[-1]) if isinstance(d, CategoricalDistribution) else (d.low, d.high)


def _place(dimension: Dimension, value: Any) -> float:
    """Return where a value lies on an axis, which may be logarithmic; of a choice its index."""
    d = dimension.distribution
    if isinstance(d, CategoricalDistribution):
        return float(d.choices.index(value))
    return math.log10(value) if d.log else float(value)


def _unplaced(dimension: Dimension, place: float) -> float:
    """Return the number at a place of an axis."""
    d = dimension.distribution
    return 10**place if not isinstance(d, CategoricalDistribution) and d.log else place


def _contour(plan: Plan, across: Dimension, down: Dimension, trials: Sequence[FrozenTrial]) -> Chart | None:
    """Return the score over two settings, linear between the trials."""
    from scipy.interpolate import griddata
    from scipy.spatial import QhullError

    both = [trial for trial in trials if across.key in trial.params and down.key in trial.params]
    points = np.array([[_place(d, t.params[d.key]) for d in (across, down)] for t in both])
    ends = {d.key: [_place(d, end) for end in _ends(d)] for d in (across, down)}
    grid = [np.linspace(low, high, GRID) for low, high in ends.values()]
    values = [float(trial.value or math.nan) for trial in both]
    try:
        scores = griddata(points, np.minimum(values, _highest(values)), tuple(np.meshgrid(*grid)), rescale=True)
    except (QhullError, ValueError):  # all on one line
        return None
    axes = {name: _axis(dimension) for name, dimension in (("xaxis", across), ("yaxis", down))}
    for name, dimension in (("xaxis", across), ("yaxis", down)):
        axes[name]["title"] = {"text": dimension.key}
    data = [
        {
            "type": "contour", "z": scores, "x": [_unplaced(across, p) for p in grid[0]], "y": [_unplaced(down, p) for p in grid[1]],
            "colorscale": "Viridis", "reversescale": True, "line": {"width": 0}, "hoverinfo": "skip",
            "colorbar": {"thickness": 12, "outlinewidth": 0, "title": {"text": "score"}},
        },
        {
            "type": "scatter", "mode": "markers", "x": [t.params[across.key] for t in both],
            "y": [t.params[down.key] for t in both], "customdata": [attempts.origin(t) for t in both],
            "showlegend": False, "hovertemplate": "trial %{customdata}: %{text}<extra></extra>",
            "text": [f"{value:.4g}" for value in values],
            "marker": {"color": "#ffffff", "size": 7, "line": {"color": "#000000", "width": 1}},
        },
    ]  # fmt: skip
    words = "Over the two most important numbers, linear between the trials (dots); all other settings differ as well."
    return Chart("contour", {"data": data, "layout": axes | {"height": 480}}, words)
