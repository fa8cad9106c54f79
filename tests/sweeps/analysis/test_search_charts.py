"""Charts of a search: which trials they show, and where."""

import datetime
import itertools
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import plotly.graph_objects
import pytest
from optuna.trial import TrialState, create_trial

from experiments.reports.charts import Chart
from experiments.reports.stills import with_still
from sweeps.analysis.comparison import Candidate, after_seed
from sweeps.analysis.race_chart import race_chart
from sweeps.analysis.space_charts import _slice, importance_charts, space_charts
from sweeps.analysis.trial_charts import STATES, highest_shown, trial_charts
from sweeps.spec.plan import Plan
from sweeps.spec.read_plan import read_plan
from sweeps.study import attempts, rungs
from sweeps.study.suggestions import KIND, MUTATION, RANDOM

SPACE = [
    "search=custom", "optim.learning_rate=tag(log,interval(1e-5,1e-3))", "model.dropout=interval(0,0.5)",
    "train.loss=choice(bce,hinge)", "train.label_noise=interval(0,0.3) when train.loss=bce",
    "search.steps=600", "search.min_steps=100",
]  # fmt: skip
RUNGS = (100, 250, 600)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return read_plan([*SPACE, f"records.root={tmp_path_factory.mktemp('charts')}"])


def trial(plan: Plan, number: int, scores: dict[int, float], state: str, **attributes: Any) -> optuna.trial.FrozenTrial:
    params: dict[str, Any] = {"optim.learning_rate": 1e-5 * 1.2**number, "model.dropout": 0.5 * (number * 7 % 20) / 20}
    params["train.loss"] = ("bce", "hinge")[number % 2]
    if params["train.loss"] == "bce":
        params["train.label_noise"] = 0.01 * number
    words = {"paused": f"paused at step {max(scores, default=0)}", "pruned": "behind", "complete": "complete"}
    states = {"complete": TrialState.COMPLETE, "failed": TrialState.FAIL, "running": TrialState.RUNNING}
    outcome = {attempts.OUTCOME: words[state]} if state in words else {}
    made = create_trial(
        state=states.get(state, TrialState.PRUNED), value=scores[600] if state == "complete" else None, params=params,
        distributions={d.key: d.distribution for d in plan.space if d.key in params}, intermediate_values=scores,
        user_attrs={attempts.ORIGIN: number, KIND: RANDOM if number < 10 else MUTATION, attempts.WORKER: f"h:{number % 2}"}
        | outcome | attributes,
    )  # fmt: skip
    made.datetime_start = datetime.datetime(2026, 1, 1, 12, number)
    made.datetime_complete = None if state == "running" else made.datetime_start + datetime.timedelta(seconds=50)
    return made


@pytest.fixture(scope="module")
def every(plan: Plan) -> list[optuna.trial.FrozenTrial]:
    """The baseline and a better trial are complete, one of 250 and many of 100 are paused; others ended or run."""
    full = {100: 50.0, 250: 30.0, 600: 20.0}
    made = [
        trial(plan, 0, full, "complete", **{attempts.BASELINE: True}),
        trial(plan, 1, {100: 49.0, 250: 28.0, 600: 18.0}, "complete", **{rungs.RUNG: 2}),
        trial(plan, 2, {100: 48.0, 250: 27.0}, "paused", **{rungs.RUNG: 1}),
        trial(plan, 3, {}, "failed", outcome="d_loss is nan"),
        trial(plan, 4, {100: 1e9}, "pruned"),
        trial(plan, 5, {50: 60.0}, "running"),
    ]
    made += [trial(plan, number, {100: 40.0 + number}, "paused") for number in range(6, 20)]
    study = optuna.create_study()
    study.add_trials(made)
    return study.get_trials()


def by_name(chart: Chart) -> dict[str, dict[str, Any]]:
    return {trace["name"]: trace for trace in chart.figure["data"] if "name" in trace}


def test_each_trial_is_where_its_scores_are(plan: Plan, every: list[optuna.trial.FrozenTrial]) -> None:
    history, curves, suggested, timeline = trial_charts(plan, every)
    traces = by_name(history)
    assert list(traces) == ["best so far", "pruned", "paused", "running", "tutorial", "best trial"]
    assert (traces["best so far"]["x"], traces["best so far"]["y"]) == ([0, 1], [20.0, 18.0])
    assert traces["paused"]["customdata"] == traces["paused"]["x"] == [2, *range(6, 20)]
    assert traces["paused"]["y"][:2] == [27.0, 46.0]
    assert history.figure["layout"]["yaxis"]["range"][1] < 70  # one that failed does not flatten the others

    traces = by_name(curves)
    best = traces["best trial"]
    assert (best["x"], best["y"]) == ([100, 250, 600, None], [49.0, 28.0, 18.0, None])
    assert best["customdata"] == [1] * 4
    assert traces["promoted"]["x"] == [100, 250, 100]  # trial 1 twice, trial 2 once
    assert traces["promoted"]["y"] == [49.0, 28.0, 48.0]
    assert traces["paused here"]["x"] == [250] + [100] * 14
    assert [line["x0"] for line in curves.figure["layout"]["shapes"]] == list(RUNGS[:-1])
    assert curves.figure["layout"]["xaxis"]["tickvals"] == [0, *RUNGS]

    fractions = by_name(suggested)
    assert fractions[RANDOM]["y"][9] == 1
    assert fractions[MUTATION]["y"][14] == pytest.approx(0.5)
    assert by_name(timeline)["complete"]["y"] == ["worker 1", "worker 1", None, "worker 2", "worker 2", None]
    assert by_name(timeline)["running"]["y"] == ["worker 2", "worker 2", None]  # no gap: it is at it
    pointed = [trace for trace in timeline.figure["data"] if trace.get("meta") == "hover"]
    bars = {(trace["name"], key) for trace in timeline.figure["data"] if "name" in trace for key in trace["customdata"]}
    assert {key for trace in pointed for key in trace["customdata"]} == {key for _, key in bars}


def test_a_colour_means_the_same_in_a_slice(plan: Plan, every: list[optuna.trial.FrozenTrial]) -> None:
    _, slices = space_charts(plan, every)
    marks = {key: trace["marker"] for trace in slices[0].figure["data"] for key in trace["customdata"]}
    for number, word in ((0, "baseline"), (1, "best"), (2, "paused"), (6, "paused"), (4, "pruned")):
        assert (marks[number]["color"], marks[number]["symbol"]) == STATES[word], number


def test_importances_have_settings_that_not_all_trials_have(plan: Plan, every: list[optuna.trial.FrozenTrial]) -> None:
    chart = importance_charts(plan, every, {"train.loss": 0.4}, {"train.loss": 0.7, "train.label_noise": 0.3})[0]
    fanova, decisive = chart.figure["data"]
    assert fanova["y"] == decisive["y"] == ["label_noise", "loss"]
    assert (fanova["x"], decisive["x"]) == ([None, 0.4], [0.3, 0.7])
    assert "Settings that not all trials have are in PED-ANOVA alone." in chart.caption


def test_many_that_diverged_do_not_flatten_the_others() -> None:
    assert highest_shown([*range(20, 80), *[4e5] * 10]) == 79
    assert highest_shown([*range(20, 80), 300]) == 300
    assert highest_shown([5.0] * 5) == 5.0


def test_a_search_with_one_length_has_no_rungs_on_its_charts(every: list[optuna.trial.FrozenTrial]) -> None:
    flat = read_plan([*SPACE[:-1], "search.pruner=none"])
    _, curves, *_ = trial_charts(flat, every[:2])
    assert curves.figure["layout"]["shapes"] == []
    assert "tickvals" not in curves.figure["layout"]["xaxis"]
    assert trial_charts(flat, []) == []


def test_settings_are_compared_at_one_length(plan: Plan, every: list[optuna.trial.FrozenTrial]) -> None:
    parallel, slices = space_charts(plan, every)
    assert parallel is not None
    (lines,) = parallel.figure["data"]
    shown = {0, 1, 2, 4, *range(6, 20)}  # those with a score at 100 updates: sixteen are too few at 250
    assert set(lines["customdata"]) == shown
    assert "at 100 updates" in parallel.caption
    score, rate, _, loss, noise = lines["dimensions"]
    assert [d["label"] for d in lines["dimensions"]] == ["score", "learning_rate", "dropout", "loss", "label_noise"]
    where = dict(
        zip(
            lines["customdata"],
            zip(score["values"], rate["values"], loss["values"], noise["values"], strict=True),
            strict=True,
        )
    )
    assert where[2] == (48.0, pytest.approx(math.log10(1.44e-5)), 0, 0.02)
    assert where[1][2] == 1
    assert where[1][3] == noise["range"][0] < 0  # it has none: below all that do
    assert (noise["ticktext"][0], loss["ticktext"]) == ("none", ["bce", "hinge"])
    for dimension in lines["dimensions"]:
        low, high = dimension["range"]
        assert (dimension["tickvals"][0], dimension["tickvals"][-1]) == (low, high)  # its line is whole
        assert all(low <= value <= high for value in dimension["values"])
        places = [(tick - low) / (high - low) for tick in dimension["tickvals"]]
        assert all(b - a > 0.05 for a, b in itertools.pairwise(places))  # ticks do not overlap

    assert [chart.title for chart in slices] == [dimension.key for dimension in plan.space]
    assert {key for trace in slices[3].figure["data"] for key in trace["customdata"]} == {
        n for n in shown if n % 2 == 0
    }
    assert slices[0].figure["layout"]["xaxis"]["type"] == "log"
    assert space_charts(plan, every[:1]) == (None, [])


def test_importances_stand_with_their_names(plan: Plan, every: list[optuna.trial.FrozenTrial]) -> None:
    assert importance_charts(plan, every, {}, {}) == []
    fanova = {"optim.learning_rate": 0.7, "train.loss": 0.2, "model.dropout": 0.1}
    importances, contour = importance_charts(plan, every, fanova, {"optim.learning_rate": 0.9, "train.loss": 0.1})
    traces = by_name(importances)
    assert traces["fANOVA"]["y"] == ["dropout", "loss", "learning_rate"]  # the largest on top
    assert (traces["fANOVA"]["x"], traces["PED-ANOVA"]["x"]) == ([0.1, 0.2, 0.7], [None, 0.1, 0.9])
    titles = [contour.figure["layout"][axis]["title"]["text"] for axis in ("xaxis", "yaxis")]
    assert titles == ["optim.learning_rate", "model.dropout"]  # numbers alone


def test_contours_lie_where_their_trials_do(tmp_path: Path) -> None:
    """Scores that are linear in two settings with steps are so on the whole map, from the first value to the last."""
    keys = "model.latent_dim", "model.dropout"
    ranges = [f"{keys[0]}=range(16,129,16)", f"{keys[1]}=range(0,0.41,0.1)"]
    plan = read_plan(["search=custom", *ranges, "search.pruner=none", f"records.root={tmp_path}"])
    places = [(size, dropout) for size in (16, 64, 128) for dropout in (0.0, 0.1, 0.2, 0.3, 0.4)]
    every = [
        create_trial(
            value=size + 100 * dropout, params=dict(zip(keys, (size, dropout), strict=True)),
            distributions={d.key: d.distribution for d in plan.space}, intermediate_values={5000: size + 100 * dropout},
            user_attrs={attempts.ORIGIN: number, attempts.OUTCOME: attempts.COMPLETE},
        )
        for number, (size, dropout) in enumerate(places)
    ]  # fmt: skip
    *_, contour = importance_charts(plan, every, dict(zip(keys, (0.9, 0.1), strict=True)), {})
    lines = contour.figure["data"][0]
    assert (lines["x"][0], lines["x"][-1], lines["y"][0], lines["y"][-1]) == pytest.approx((16, 128, 0, 0.4))
    low = np.array(lines["x"]) <= 64  # the worst tenth of the scores, all in one colour, are right of it
    expected = np.add.outer(100 * np.array(lines["y"]), np.array(lines["x"])[low])
    np.testing.assert_allclose(np.array(lines["z"])[:, low], expected)


def test_a_race_has_its_seeds_and_intervals() -> None:
    baseline = Candidate("tutorial", {}, 20.0, seeds=[1, 2], scores=[20.0, 21.0])
    better = Candidate("trial-0003", {}, 9.0, seeds=[1, 2], scores=[10.0, 11.0], origin=3)
    assert race_chart([Candidate("tutorial", {}, None), better.__class__("trial-0003", {}, 9.0, origin=3)]) is None
    after_seed(baseline, [better], 1, 5)
    chart = race_chart([baseline, better])
    assert chart is not None
    seeds, mean, interval = (trace for trace in chart.figure["data"] if trace["y"][0] == "trial-0003")
    assert (seeds["x"], seeds["text"], seeds["customdata"]) == ([10.0, 11.0], ["seed 1", "seed 2"], [3, 3])
    assert mean["x"] == [10.5]
    assert interval["x"][0] < 10.5 < interval["x"][1] < 20.5  # left of the baseline's mean, the dashed line
    assert chart.figure["layout"]["shapes"][0]["x0"] == 20.5
    baseline.seeds.append(3)
    baseline.scores.append(50.0)  # the other one had left: its difference is from 20.5, not from the mean of now
    chart = race_chart([baseline, better])
    assert chart is not None
    assert len([trace for trace in chart.figure["data"] if trace["y"][0] == "trial-0003"]) == 2


def test_plotly_takes_all_charts_and_each_has_a_still(plan: Plan, every: list[optuna.trial.FrozenTrial]) -> None:
    parallel, slices = space_charts(plan, every)
    assert parallel is not None
    fractions = {"optim.learning_rate": 0.7, "model.dropout": 0.3}
    charts = [*trial_charts(plan, every), parallel, *slices, *importance_charts(plan, every, fractions, fractions)]
    for chart in charts:
        plotly.graph_objects.Figure(chart.figure)  # it refuses what Plotly does not know
        assert "NaN" not in chart.json and "Infinity" not in chart.json
    stills = {chart.title: str(with_still(chart).still) for chart in charts}
    bars, lines, contour = (stills[title] for title in ("workers", "parallel coordinates", "contour"))
    for text in ("worker 1", "complete", "paused"):
        assert f">{text}<" in bars
    names = [each["label"] for each in parallel.figure["data"][0]["dimensions"]]
    assert re.findall(r"rotate\(-20\)[^>]*>([^<]+)<", lines) == names
    assert lines.count("var(--good)") > 1 and lines.count("#999999") == len(parallel.figure["data"][0]["customdata"])
    assert "data:image/png;base64," in contour and ">score<" in contour
    history = stills["history"]
    assert "var(--ink)" in history and "var(--good)" in history
    assert not re.search(r"#0f\d\d1f|<metadata|\bhttp://matplotlib", history)


def test_slices_show_the_worst_trial_unless_it_is_far_off(plan: Plan) -> None:
    study = optuna.create_study()
    study.add_trials([trial(plan, number, {100: score}, "paused") for number, score in enumerate((50.0, 60.0, 90.0))])
    _, slices = space_charts(plan, study.get_trials())
    assert slices[0].figure["layout"]["yaxis"]["range"][1] > 90
    study.add_trial(trial(plan, 3, {100: 900.0}, "paused"))
    _, slices = space_charts(plan, study.get_trials())
    assert 90 < slices[0].figure["layout"]["yaxis"]["range"][1] < 200


def test_names_with_markup_are_shown_to_the_letter(plan: Plan, every: list[optuna.trial.FrozenTrial]) -> None:
    evil = Candidate("<b>x</b>", {}, 1.0, seeds=[1], scores=[1.0])
    chart = race_chart([evil])
    assert chart is not None
    assert chart.figure["data"][0]["y"] == ["&lt;b&gt;x&lt;/b&gt;"]  # Plotly would take markup for its own
    still = with_still(chart).still
    assert "&lt;b&gt;x&lt;/b&gt;" in still and "<b>x" not in still and "&amp;lt;" not in still


def test_choices_stand_in_their_order_in_a_still() -> None:
    layout = {"xaxis": {"type": "category", "categoryarray": ["5e-05", "0.0002", "0.001"]}, "yaxis": {}}
    points = {"type": "scatter", "mode": "markers", "x": ["0.001", "5e-05"], "y": [1.0, 2.0]}
    still = str(with_still(Chart("slice", {"data": [points], "layout": layout})).still)
    assert re.findall(r">(5e-05|0.0002|0.001)<", still) == ["5e-05", "0.0002", "0.001"]


def test_a_trial_that_ended_before_it_began_breaks_nothing(plan: Plan, every: list[optuna.trial.FrozenTrial]) -> None:
    """By the clocks of two hosts, or in the night in which they go back."""
    late = trial(plan, 20, {}, "failed", outcome="its images are gone")
    assert late.datetime_start is not None
    late.datetime_complete = late.datetime_start - datetime.timedelta(hours=1)
    coming = trial(plan, 21, {}, "running")
    coming.datetime_start = datetime.datetime.now() + datetime.timedelta(hours=1)
    for odd in (late, coming):
        study = optuna.create_study()
        study.add_trials([*every[:3], odd])
        (timeline,) = (chart for chart in trial_charts(plan, study.get_trials()) if chart.title == "workers")
        lines = [each for each in timeline.figure["data"] if each["mode"] == "lines"]
        ends = {
            key: each["x"][place] for each in lines for place, key in enumerate(each["customdata"]) if place % 3 == 1
        }
        assert ends[attempts.origin(odd)] == odd.datetime_start.isoformat(sep=" ")


def test_trials_outside_of_the_present_space_and_failed_scores_break_nothing(
    plan: Plan, every: list[optuna.trial.FrozenTrial]
) -> None:
    """As a page that cannot be drawn would end the search."""
    narrow = read_plan([*SPACE[:2], "model.dropout=interval(0,0.2)", "train.loss=choice(bce,relativistic)", *SPACE[4:]])
    study = optuna.create_study()
    study.add_trials([*every[:19], trial(plan, 19, {100: math.inf}, "paused")])
    parallel, _ = space_charts(narrow, study.get_trials())
    assert parallel is not None
    (lines,) = parallel.figure["data"]
    assert set(lines["customdata"]) <= {n for n in range(19) if n % 2 == 0}  # of bce alone
    assert set(lines["dimensions"][3]["values"]) == {0}


def test_a_choice_of_several_parts_has_a_line_for_each(tmp_path: Path) -> None:
    plan = read_plan(
        ["search=custom", "train.augment=choice(none,color,color+translation)", f"records.root={tmp_path}"]
    )
    (dimension,) = plan.space
    trial = optuna.trial.create_trial(
        params={"train.augment": "color+translation"},
        distributions={"train.augment": dimension.distribution},
        value=9.0,
    )
    chart = _slice(dimension, [trial], {})
    assert chart is not None
    (points,) = chart.figure["data"]
    assert points["x"] == ["color+<br>translation"]
    assert points["x"][0] in chart.figure["layout"]["xaxis"]["categoryarray"]
    assert chart.figure["layout"]["height"] > 240
    still = str(with_still(chart).still)
    assert ">color+</" in still and ">translation</" in still
