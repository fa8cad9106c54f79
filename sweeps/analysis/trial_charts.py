"""Charts of a search's trials: their scores, where they were paused, when they ran, what suggested them.

A colour means the same in all of them; see STATES.
"""

import datetime
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.trial import FrozenTrial

from experiments.reports.charts import Chart, escaped
from gan import metric_names
from sweeps.analysis import trial_rows
from sweeps.spec.plan import Plan
from sweeps.study import attempts, rungs
from sweeps.study.states import State
from sweeps.study.suggestions import KIND, LINEAR, MUTATION, PRIOR, RANDOM, TPE

# By the word for a state: colour and symbol.
STATES = {
    "failed": ("var(--ink)", "x"),
    "pruned": ("var(--c4)", "x"),
    "paused": ("#888888", "circle-open"),
    "stopped": ("var(--c1)", "circle-open"),
    "complete": ("var(--c0)", "circle"),
    "running": ("var(--c1)", "circle"),
    "baseline": ("var(--ink)", "diamond"),
    "best": ("var(--good)", "star"),
}
KINDS = {RANDOM: "#888888", PRIOR: "var(--c2)", TPE: "var(--c5)", MUTATION: "var(--c3)", LINEAR: "var(--c0)"}
WINDOW = 10  # suggestions, of which fractions are taken
SHOWN = 0.95  # of the scores a chart begins with; the others are in reach by zooming out
FAR = 4.0  # times the score that so many are below: up to there all are shown
TOO_FAR = 20.0  # times the median, where more of them are beyond
MOST_MARKERS = 1500
FEW = 10  # trials, each of which has a tick
POINTED_AT = 60  # places along the time of a search, at which its bars can be pointed at
CLOSEST = 0.07  # two marks on an axis, as a fraction of it


def trial_charts(plan: Plan, every: Sequence[FrozenTrial]) -> list[Chart]:
    """Return the charts that can be drawn of a study at any time, quickly enough to do so while it runs.

    Args:
        plan: of the search.
        every: all attempts of its study.
    """
    trials = [trial for trial in attempts.counted(every) if attempts.ORIGIN in trial.user_attrs]
    groups = by_state(plan, trials)
    charts = [_history(plan, groups), _curves(plan, trials, groups), _suggested(trials), _timeline(plan, every)]
    return [chart for chart in charts if chart is not None]


def by_state(plan: Plan, trials: Sequence[FrozenTrial]) -> dict[str, list[FrozenTrial]]:
    """Return the trials by the words of STATES, the best and the baseline each by itself."""
    done = attempts.finished(trials)
    groups: dict[str, list[FrozenTrial]] = {name: [] for name in STATES}
    for trial in sorted(trials, key=attempts.origin):
        if attempts.is_baseline(plan, trial) and not attempts.is_repeat(trial):
            name = "baseline"
        elif done and trial.number == done[0].number:
            name = "best"
        else:
            name = _word(trial)
        groups[name].append(trial)
    return {name: group for name, group in groups.items() if group}


def _word(trial: FrozenTrial) -> str:
    """Return the word for a trial's state; one that waits for a worker counts as running."""
    state = attempts.state_name(trial)
    return (State.RUNNING if state == State.WAITING else state).word


def _history(plan: Plan, groups: Mapping[str, Sequence[FrozenTrial]]) -> Chart | None:
    """Return each trial's score in the order of the suggestions, and the best so far."""
    data: list[dict[str, Any]] = []
    scores: list[float] = []
    for name, group in groups.items():
        shown = [trial for trial in group if trial_rows.last_score(trial) is not None]
        colour, symbol = STATES[name]
        if shown:
            values = [trial_rows.last_score(trial) for trial in shown]
            scores += [value for value in values if value is not None]
            data.append(
                {
                    "type": "scatter", "mode": "markers", "name": _name(plan, name),
                    "x": [attempts.origin(trial) for trial in shown], "y": values,
                    "marker": {"color": colour, "symbol": symbol, "size": 12 if symbol in ("star", "diamond") else 8},
                    "customdata": [attempts.origin(trial) for trial in shown],
                    "hovertemplate": "trial %{customdata}: %{y:.4~g}<extra></extra>",
                }
            )  # fmt: skip
    done = sorted(attempts.finished([t for group in groups.values() for t in group]), key=attempts.origin)
    best, lowest = float("inf"), []
    for trial in done:
        assert trial.value is not None
        best = min(best, trial.value)
        lowest.append(best)
    if done:
        line = {"color": "var(--good)", "width": 2, "shape": "hv"}
        data.insert(
            0, {"type": "scatter", "mode": "lines", "name": "best so far", "x": [attempts.origin(t) for t in done],
                "y": lowest, "line": line, "hoverinfo": "skip"},
        )  # fmt: skip
    few = {"dtick": 1} if sum(map(len, groups.values())) <= FEW else {}  # or there would be a trial 0.5
    layout = {"xaxis": {"title": {"text": "trial"}, **few}, "yaxis": _score_axis(scores)}
    words = "Each trial at its last score; lower is better. The line: the best of those that came to their end."
    return Chart("history", {"data": data, "layout": layout}, words) if scores else None


def _curves(plan: Plan, trials: Sequence[FrozenTrial], groups: Mapping[str, Sequence[FrozenTrial]]) -> Chart | None:
    """Return the scores of all trials over their updates; a line a trial, a colour a state."""
    data: list[dict[str, Any]] = []
    scores: list[float] = []
    count = sum(len(trial.intermediate_values) for trial in trials)
    mode = "lines+markers" if count <= MOST_MARKERS else "lines"  # of thousands, browsers draw them for minutes
    for name, group in groups.items():
        x: list[int | None] = []
        y: list[float | None] = []
        keys: list[int] = []
        for trial in filter(lambda trial: trial.intermediate_values, group):
            points = sorted(trial.intermediate_values.items())
            scores += [score for _, score in points]
            x += [*(step for step, _ in points), None]
            y += [*(score for _, score in points), None]
            keys += [attempts.origin(trial)] * (len(points) + 1)
        if not keys:
            continue
        colour, symbol = STATES[name]
        is_special = name in ("best", "baseline")
        data.append(
            {
                "type": "scatter", "mode": mode, "name": _name(plan, name), "x": x, "y": y,
                "customdata": keys, "hovertemplate": "trial %{customdata}: %{y:.4~g} at step %{x:,}<extra></extra>",
                "opacity": 1 if is_special or name == "running" else 0.6,
                "line": {"color": colour, "width": 3 if is_special else 1.3, "dash": "dash" if name == "baseline" else "solid"},
                "marker": {"color": colour, "symbol": "x" if symbol == "x" else "circle", "size": 4},
            }
        )  # fmt: skip
    if not scores:
        return None
    data += _stops(plan, trials)
    inner = plan.rungs[:-1]
    lines = [
        {"type": "line", "x0": step, "x1": step, "y0": 0, "y1": 1, "yref": "paper",
         "line": {"color": "#888888", "dash": "dot", "width": 1}}
        for step in inner
    ]  # fmt: skip
    axis: dict[str, Any] = {"title": {"text": "updates"}, "tickformat": ",.0f", "range": [0, plan.search.steps * 1.02]}
    if inner:
        axis["tickvals"] = _apart([0, *plan.rungs], plan.search.steps)
    layout = {"xaxis": axis, "yaxis": _score_axis(scores), "shapes": lines, "height": 480}
    words = f"The mean of the last {metric_names.LAST_SCORES} scores, by which trials are ranked; lower is better."
    if inner:
        words += (
            " Dotted lines: the lengths at which trials are paused (a circle), and the best of every "
            f"{plan.search.eta} are promoted (a triangle)."
        )
    return Chart("scores on the way", {"data": data, "layout": layout}, words)


def _stops(plan: Plan, trials: Sequence[FrozenTrial]) -> list[dict[str, Any]]:
    """Return marks where trials were paused, and where they were promoted from."""
    marks: dict[str, list[tuple[int, int]]] = {"promoted": [], "paused here": []}
    for trial in trials:
        if attempts.is_baseline(plan, trial):
            continue
        for step in plan.rungs[: rungs.rung_of(plan, trial)]:
            if step in trial.intermediate_values:
                marks["promoted"].append((step, attempts.origin(trial)))
        if (step := attempts.paused_at(trial) or 0) in trial.intermediate_values:
            marks["paused here"].append((step, attempts.origin(trial)))
    by_origin = {attempts.origin(trial): trial for trial in trials}
    looks = {
        "promoted": {"symbol": "triangle-up", "size": 10, "color": "var(--c2)"},
        "paused here": {"symbol": "circle-open", "size": 8, "color": "#888888"},
    }
    return [
        {
            "type": "scatter", "mode": "markers", "name": name, "x": [step for step, _ in places],
            "y": [by_origin[origin].intermediate_values[step] for step, origin in places], "marker": looks[name],
            "hoverinfo": "skip",
        }
        for name, places in marks.items() if places
    ]  # fmt: skip


def _apart(steps: Sequence[int], longest: int) -> list[int]:
    """Return those of some marks on an axis that do not run into each other, the last among them."""
    shown: list[int] = []
    for step in reversed(steps):
        if not shown or shown[0] - step >= CLOSEST * longest:
            shown.insert(0, step)
    return shown


def _suggested(trials: Sequence[FrozenTrial]) -> Chart | None:
    """Return how the fractions of suggestions of each kind changed during a search by PriorBand or the linear sampler."""
    kinds = [trial.user_attrs[KIND] for trial in sorted(trials, key=attempts.origin) if KIND in trial.user_attrs]
    if len(kinds) < WINDOW:
        return None
    origins = [attempts.origin(t) for t in sorted(trials, key=attempts.origin) if KIND in t.user_attrs]
    data = []
    for kind, colour in KINDS.items():
        if kind in kinds:
            windows = [Counter(kinds[max(k + 1 - WINDOW, 0) : k + 1]) for k in range(len(kinds))]
            fractions = [window[kind] / window.total() for window in windows]
            data.append(
                {"type": "scatter", "mode": "lines", "name": kind, "x": origins, "y": fractions, "stackgroup": "all",
                 "line": {"color": colour, "width": 1}, "hovertemplate": f"{kind}: %{{y:.0%}}<extra></extra>"}
            )  # fmt: skip
    layout = {
        "height": 280, "xaxis": {"title": {"text": "trial"}}, "hovermode": "x",
        "yaxis": {"title": {"text": "fraction"}, "range": [0, 1], "tickformat": ".0%"},
    }  # fmt: skip
    words = f"What suggested the settings: fractions of each trial and up to {WINDOW - 1} before it."
    return Chart("what suggested the trials", {"data": data, "layout": layout}, words)


def _timeline(plan: Plan, every: Sequence[FrozenTrial]) -> Chart | None:
    """Return which worker trained which trial when, all attempts."""
    now = datetime.datetime.now()
    ran = [t for t in every if attempts.WORKER in t.user_attrs and t.datetime_start]
    if not ran:
        return None
    workers = sorted({str(trial.user_attrs[attempts.WORKER]) for trial in ran})
    names = {worker: f"worker {k}" for k, worker in enumerate(workers, 1)}
    spans = {t.number: _span(plan, t, now) for t in ran}
    whole = max(end for _, end in spans.values()) - min(begin for begin, _ in spans.values())
    every_so_often = max(whole / POINTED_AT, datetime.timedelta(seconds=0.1))
    data: list[dict[str, Any]] = []
    for word in STATES:
        group = [trial for trial in ran if _word(trial) == word]
        x: list[str | None] = []
        y: list[str | None] = []
        keys: list[int] = []
        places: list[tuple[str, str, int]] = []  # along the bars: a line can be pointed at only where it has a point
        for trial in group:
            (begin, end), worker = spans[trial.number], str(trial.user_attrs[attempts.WORKER])
            x += [begin.isoformat(sep=" "), end.isoformat(sep=" "), None]
            y += [names[worker], names[worker], None]
            keys += [attempts.origin(trial)] * 3
            count = 1 + math.ceil((end - begin) / every_so_often)
            at = [(begin + (end - begin) * (k + 0.5) / count).isoformat(sep=" ") for k in range(count)]
            places += [(time, names[worker], attempts.origin(trial)) for time in at]
        if group:
            data.append(
                {"type": "scatter", "mode": "lines", "name": word, "x": x, "y": y, "customdata": keys,
                 "line": {"color": STATES[word][0], "width": 12}, "hoverinfo": "skip"}
            )  # fmt: skip
            times, rows, of = zip(*places, strict=True)
            data.append(
                {"type": "scatter", "mode": "markers", "x": times, "y": rows, "customdata": of, "meta": "hover",
                 "marker": {"opacity": 0, "size": 12}, "showlegend": False,
                 "hovertemplate": f"trial %{{customdata}} {word}<br>%{{x}}<extra></extra>"}
            )  # fmt: skip
    layout = {
        "height": 140 + 32 * len(workers), "xaxis": {"type": "date", "nticks": 4, "tickangle": 0},
        "yaxis": {"type": "category", "categoryorder": "array", "categoryarray": list(names.values())[::-1],
                  "range": [-0.6, len(names) - 0.4]},
    }  # fmt: skip
    return Chart("workers", {"data": data, "layout": layout}, "Who trained which trial when. Gaps are waits or stops.")


def _span(plan: Plan, trial: FrozenTrial, now: datetime.datetime) -> tuple[datetime.datetime, datetime.datetime]:
    """Return when a trial began and ended; the clock of the host that ended it may be behind."""
    begin = trial.datetime_start
    assert begin is not None
    return begin, max(begin, attempts.ended_at(plan, trial) or now)


def _name(plan: Plan, state: str) -> str:
    """Return what a legend calls a state."""
    return escaped({"baseline": plan.preset, "best": "best trial"}.get(state, state))


def _score_axis(scores: Sequence[float]) -> dict[str, Any]:
    return {"title": {"text": "score"}, "range": [0, 1.08 * highest_shown(scores)]}


def highest_shown(scores: Sequence[float]) -> float:
    """Return up to where an axis shows scores at first: a few that are far above the rest do not flatten it."""
    finite = sorted(score for score in scores if score < float("inf"))
    usual = finite[int(SHOWN * (len(finite) - 1))] if finite else 1.0
    if finite and usual > (limit := TOO_FAR * finite[len(finite) // 2]) > 0:
        usual = max(score for score in finite if score <= limit)
    return finite[-1] if finite and finite[-1] <= FAR * usual else usual
