"""What a search shows while it runs, and what it leaves behind."""

import csv
import datetime
import html
import json
import re
import shlex
from pathlib import Path

import numpy as np
import optuna
import pytest
import yaml
from optuna.trial import TrialState, create_trial
from PIL import Image
from rich.console import Console

from experiments.cli.compose import compose_config
from experiments.records.folders import RunFolder
from experiments.records.journal import Journal, curve
from sweeps.analysis import plots
from sweeps.analysis.champion import find_winner
from sweeps.analysis.comparison import Candidate, compare
from sweeps.analysis.confirm import candidates
from sweeps.analysis.importances import as_suggested, comparable, fanova, ped_anova
from sweeps.analysis.report import _csv, saved_steps, write_report
from sweeps.analysis.trial_charts import _span
from sweeps.display.events import TrialBegan, TrialEnded, TrialProgressed
from sweeps.display.search import SearchDisplay
from sweeps.search.session import BEST_SCORE, SearchSession
from sweeps.spec.plan import Plan
from sweeps.spec.read_plan import read_plan
from sweeps.study import attempts, identity, rungs

KEYS = ("model.bn_momentum", "optim.learning_rate")
SPACE = ["search=custom", "model.bn_momentum=interval(0.5,0.99)", "optim.learning_rate=tag(log,interval(5e-5,1e-3))"]


def made_plan(root: Path, *more: str) -> Plan:
    options = [f"records.root={root}", "search.steps=600", "search.trials=8", "eval.every_steps=100"]
    options.append("search.pruner=halving")
    return read_plan([*SPACE, *options, *more])


def made_study(plan: Plan) -> optuna.Study:
    """Eight suggestions of which one was pruned, one failed, and one took two attempts."""
    study = optuna.create_study()
    study.set_user_attr(identity.IDENTITY, {"fid_proxy_id": "cifar_cnn-x"})
    distributions = {dimension.key: dimension.distribution for dimension in plan.space}
    rng = np.random.default_rng(0)

    def add(state: TrialState, params: dict[str, float], scores: dict[int, float], **attributes: object) -> None:
        value = scores[600] if state == TrialState.COMPLETE else None
        system = (
            {"failed_trial": 3, "retry_history": [3]}
            if attributes.get("origin") == 3 and "outcome" in attributes
            else {}
        )
        study.add_trial(
            create_trial(
                state=state,
                value=value,
                params=params,
                distributions=distributions,
                user_attrs=attributes,
                system_attrs=system,
                intermediate_values=scores,
            )
        )

    def params(bn: float) -> dict[str, float]:
        return {"model.bn_momentum": bn, "optim.learning_rate": float(rng.uniform(1e-4, 9e-4))}

    add(
        TrialState.COMPLETE,
        {"model.bn_momentum": 0.8, "optim.learning_rate": 2e-4},
        {300: 30.0, 600: 20.0},
        origin=0,
        baseline=True,
    )
    for origin, score in ((1, 18.0), (2, 25.0)):
        add(TrialState.COMPLETE, params(0.6 + origin / 10), {300: 30.0, 600: score}, origin=origin, outcome="complete")
    broken = params(0.9)
    add(TrialState.FAIL, broken, {300: 28.0}, origin=3)  # interrupted
    add(TrialState.COMPLETE, broken, {300: 28.0, 600: 15.5}, origin=3, outcome="complete")
    add(TrialState.PRUNED, params(0.55), {200: 50.0}, origin=4, outcome="behind at step 200")
    add(TrialState.FAIL, params(0.65), {}, origin=5, outcome="d_loss is nan at step 12")
    for origin, score in ((6, 21.0), (7, 19.0)):
        add(TrialState.COMPLETE, params(0.5 + origin / 20), {300: 30.0, 600: score}, origin=origin, outcome="complete")
    return study


def made_runs(plan: Plan) -> None:
    for number in (0, 1, 3):
        samples = RunFolder(plan.records.runs / attempts.run_name("gan", number)).samples
        samples.mkdir(parents=True)
        Image.fromarray(np.full((138, 138, 3), 80 * (number + 1) % 256, np.uint8)).save(
            samples / "samples_00000600.png"
        )


def test_report(tmp_path: Path) -> None:
    plan = made_plan(tmp_path)
    study = made_study(plan)
    made_runs(plan)
    plan.folder.path.mkdir(parents=True)
    wanted = candidates(plan, study.get_trials())
    assert [each.title for each in wanted] == ["tutorial", "trial-0003", "trial-0001", "trial-0007"]
    for each, scores in zip(wanted, ([20, 22, 21], [16, 15, 17], [19, 20, 21], [30, 31, 32]), strict=True):
        each.scores = [float(score) for score in scores]
        each.seeds, each.final = [1, 2, 3], [14.0, 13.0, 15.0]
    comparison = compare(wanted)
    report = write_report(plan, study, comparison, 15.9)

    assert [file.name for file in report.pictures] == ["contact_sheet.png"]
    with Image.open(report.pictures[0]) as image:
        assert min(image.size) > 200
    best = yaml.safe_load(report.best.read_text())
    assert (best["trial"], best["search_score"], best["confirmed_score"]) == (3, 15.5, 16.0)
    assert best["seeds"] == 3
    assert list(best["race"]) == ["tutorial", "trial-0003", "trial-0001", "trial-0007"]
    assert best["race"]["trial-0003"] == {1: 16.0, 2: 15.0, 3: 17.0}
    assert best["run"] == "gan-confirm-trial-0003-seed-2"  # the best of its seeds at the end
    winner = compose_config(best["overrides"])
    command = report.best.read_text().splitlines()[2].removeprefix("#   ")
    assert command.startswith("python experiments/run.py ")
    trained = compose_config(shlex.split(command)[2:])
    assert trained.model.bn_momentum == winner.model.bn_momentum == 0.9
    assert trained.train.steps == 15000  # the tutorial's length, not a trial's
    assert trained.eval.every_steps == 500

    rows = list(csv.DictReader(report.trials.read_text().splitlines()))
    assert [row["trial"] for row in rows] == [str(k) for k in range(8)]
    assert [row["state"] for row in rows].count("COMPLETE") == 6
    assert (rows[3]["score"], rows[3]["steps"], rows[3]["run"]) == ("15.5", "600", "gan-trial-0003")
    assert rows[4]["outcome"] == "behind at step 200"

    page = report.page.read_text()
    assert page.index("trial-0003 is better") < page.index("Contact sheet") < page.index("<h2>Trials")
    assert re.findall(r"<h2>(.*?)</h2>", page) == [
        "Confirmation", "Contact sheet", "Search", "History", "Scores on the way", "Parallel coordinates", "Slices", "Trials",
    ]  # fmt: skip
    assert page.count('<img src="data:image/jpeg;base64,') == 2 + 3  # on the way, and the contact sheet
    # Without JavaScript: race, history, scores on the way, parallel coordinates and slices.
    assert page.count("<svg ") == 4 + len(KEYS)
    assert "Importances and contours take 15 trials" in page  # there are six
    assert len(page) < 3_000_000
    assert not re.findall(r"https?://(?!127\.0\.0\.1:5000|www\.w3\.org/)", page)  # names, not addresses that it asks
    assert "Pruning saved 400 of 4,200 updates" in page
    assert "d_loss is nan at step 12" in page


@pytest.mark.parametrize(
    ("scores", "run", "alias", "words"),
    [
        (
            [[87], [90], [95]],
            "gan-confirm-tutorial-seed-1",
            "candidate",
            "Keep the tutorial's settings: 87 against 90 for ",
        ),
        ([[90], [87], [95]], "gan-confirm-trial-0003-seed-1", "candidate", "trial-0003 is not shown to be better: 87 "),
        ([[20, 21], [9, 10], [11, 12]], "gan-confirm-trial-0003-seed-1", "champion", "trial-0003 is better: 9.5 "),
        (None, "gan-trial-0003", "candidate", "not confirmed on fresh seeds"),
        ([[], [], []], "gan-trial-0003", "candidate", "No training on a fresh seed came to its end: "),
    ],
)
def test_the_winner_is_who_won(
    scores: list[list[float]] | None, run: str, alias: str, words: str, tmp_path: Path
) -> None:
    plan = made_plan(tmp_path)
    study = made_study(plan)
    plan.folder.path.mkdir(parents=True)
    comparison = None
    if scores is not None:
        wanted = candidates(plan, study.get_trials())[:3]
        for each, own in zip(wanted, scores, strict=True):
            each.scores = each.final = [float(score) for score in own]
            each.seeds = list(range(1, len(own) + 1))
        comparison = compare(wanted, plan.baseline_name)
    report = write_report(plan, study, comparison, None)
    assert report.winner is not None
    assert (report.winner.run.name, report.winner.alias) == (run, alias)
    assert report.winner.words.startswith(words)
    text, page = report.best.read_text(), html.unescape(report.page.read_text())
    best = yaml.safe_load(text)
    assert (best["run"], best["better"]) == (run, alias == "champion")
    assert words in text
    assert words[4:] in page
    trained = compose_config(shlex.split(text.splitlines()[2].removeprefix("#   "))[2:])
    assert trained == compose_config(best["overrides"])
    if "tutorial" in run:
        assert trained == compose_config(["experiment=tutorial", f"records.root={tmp_path}"])
        assert "Train with the tutorial's settings:" in page
    else:
        assert trained.model.bn_momentum == 0.9
    assert "nan" not in text + report.winner.words


def test_where_no_trial_beats_the_baseline_it_wins_unconfirmed_too(tmp_path: Path) -> None:
    plan = made_plan(tmp_path)
    study = made_study(plan)
    first = create_trial(
        value=1.5, params=plan.baseline, distributions={d.key: d.distribution for d in plan.space},
        user_attrs={attempts.ORIGIN: 0, attempts.BASELINE: True},
    )  # fmt: skip
    trials = [first, *(trial for trial in study.get_trials() if attempts.origin(trial) != 0)]
    winner = find_winner(plan, trials, None)
    assert winner is not None
    assert winner.is_baseline
    assert winner.words.startswith("Keep the tutorial's settings: 1.5 against 15.5 for the best trial (one seed each")
    alone = find_winner(plan, [first], None)
    assert alone is not None
    assert alone.words.startswith("Keep the tutorial's settings: no other trial ended")


def test_numbers_in_figures_are_those_of_the_suggestions(tmp_path: Path) -> None:
    plan = made_plan(tmp_path)
    trials = attempts.counted(made_study(plan).get_trials())
    copied = as_suggested(trials).get_trials()
    assert [t.number for t in copied] == [attempts.origin(t) for t in copied] == list(range(8))
    assert copied[3].value == 15.5
    assert saved_steps(plan, trials) == (400, 7 * 600)


def test_importances_take_fifteen_trials() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    for importances in (fanova, ped_anova):
        assert importances(study) == {}
    for _ in range(15):
        assert fanova(study) == ped_anova(study) == {}
        trial = study.ask({key: optuna.distributions.FloatDistribution(0, 1) for key in KEYS})
        study.tell(trial, 10 * trial.params[KEYS[0]] + 0.1 * trial.params[KEYS[1]])
    for importances in (fanova, ped_anova):
        fractions = importances(study)
        assert list(fractions) == list(KEYS)
        assert fractions[KEYS[0]] > 0.7
    assert sum(ped_anova(study).values()) == pytest.approx(1)


def test_equal_scores_have_no_importances() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    for _ in range(16):
        study.tell(study.ask({KEYS[0]: optuna.distributions.FloatDistribution(0, 1)}), 9.0)
    assert fanova(study) == ped_anova(study) == {}


def test_the_baseline_of_a_grid_is_none_of_its_trials(tmp_path: Path) -> None:
    plan = read_plan(["search=custom", "search.sampler=grid", "model.dropout=0.1,0.4", f"records.root={tmp_path}"])
    plan.folder.path.mkdir(parents=True)
    study = optuna.create_study()
    study.set_user_attr(identity.IDENTITY, {"fid_proxy_id": "cifar_cnn-x"})
    for score in (9.0, 10.0):
        study.tell(study.ask({dimension.key: dimension.distribution for dimension in plan.space}), score)
    wanted = candidates(plan, study.get_trials())[:2]
    for candidate, score in zip(wanted, (5.0, 7.0), strict=True):
        candidate.seeds, candidate.scores, candidate.final = [1], [score], [score]
    report = write_report(plan, study, compare(wanted, plan.baseline_name), None)
    best = yaml.safe_load(report.best.read_text())
    assert (best["trial"], best["run"]) == (None, "gan-confirm-tutorial-seed-1")


def test_the_table_of_trials_tells_null_from_what_means_nothing() -> None:
    noise = "train.label_noise=interval(0,0.3) when train.loss=bce"
    plan = read_plan(["search=custom", "optim.generator_learning_rate=null,1e-4", "train.loss=bce,hinge", noise])
    trial = create_trial(
        value=9.0,
        params={"optim.generator_learning_rate": None, "train.loss": "hinge"},
        distributions={d.key: d.distribution for d in plan.space if d.key != "train.label_noise"},
        user_attrs={attempts.ORIGIN: 0},
    )
    (row,) = csv.DictReader(_csv(plan, [trial], [trial]).splitlines())
    assert (row["optim.generator_learning_rate"], row["train.label_noise"]) == ("null", "")


def test_the_time_of_a_trial_is_that_of_all_its_attempts() -> None:
    plan = read_plan(SPACE)
    begin = datetime.datetime(2026, 1, 1)  # as Optuna has it, without a time zone
    every = []
    for seconds in (60, 180):
        trial = create_trial(value=9.0, user_attrs={attempts.ORIGIN: 0})
        trial.datetime_start, trial.datetime_complete = begin, begin + datetime.timedelta(seconds=seconds)
        every.append(trial)
    (row,) = csv.DictReader(_csv(plan, every[1:], every).splitlines())
    assert row["seconds"] == "240.0"


def test_the_night_before_a_dead_worker_was_noticed_is_no_training(tmp_path: Path) -> None:
    plan = made_plan(tmp_path)
    begin = datetime.datetime(2026, 11, 1, 20)
    trial = create_trial(state=TrialState.FAIL, user_attrs={attempts.ORIGIN: 0})
    trial.datetime_start, trial.datetime_complete = begin, begin + datetime.timedelta(hours=12)
    assert attempts.ended_at(plan, trial) == trial.datetime_complete  # its records are on another host
    run = attempts.run_of(plan, trial)
    run.path.mkdir(parents=True)
    lines = [
        {"time": int((begin + datetime.timedelta(minutes=m)).timestamp() * 1000), "kind": "status", "status": "RUNNING"}
        for m in (-60, 5, 800)
    ]  # of an attempt before, of this one, of the one after
    run.journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert attempts.ended_at(plan, trial) == begin + datetime.timedelta(minutes=5)
    assert _span(plan, trial, datetime.datetime.now())[1] == begin + datetime.timedelta(minutes=5)
    trial.user_attrs[attempts.OUTCOME] = "d_loss is nan"  # it said itself when it ended
    assert attempts.ended_at(plan, trial) == trial.datetime_complete
    del trial.user_attrs[attempts.OUTCOME]
    run.journal.write_bytes(b"{damaged}\n")
    assert attempts.ended_at(plan, trial) == trial.datetime_complete


def test_importances_leave_out_what_no_setting_explains_by_itself() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    for _ in range(100):
        trial = study.ask({key: optuna.distributions.FloatDistribution(-1, 1) for key in KEYS})
        study.tell(trial, trial.params[KEYS[0]] * trial.params[KEYS[1]])  # only together
    assert sum(fanova(study).values()) < 0.75


def test_without_confirmation_there_is_a_best_and_no_result(tmp_path: Path) -> None:
    plan = made_plan(tmp_path, "data=folder", "data.path=b\udcfccher")  # in no encoding
    plan.folder.path.mkdir(parents=True)
    report = write_report(plan, made_study(plan), None, None)
    assert r"b\udcfccher" in report.best.read_text()
    assert "not confirmed on fresh seeds" in report.best.read_text()
    assert yaml.safe_load(report.best.read_text())["trial"] == 3
    assert "Not confirmed on fresh seeds" in report.page.read_text()
    assert report.pictures == []  # no run left samples
    assert "Contact sheet" not in report.page.read_text()


def test_a_tutorial_that_wins_is_not_confirmed_twice(tmp_path: Path) -> None:
    chosen = candidates(made_plan(tmp_path), made_study(made_plan(tmp_path)).get_trials())
    assert chosen[0] == Candidate("tutorial", {}, 20.0, origin=0)
    assert all(candidate.params != {"model.bn_momentum": 0.8, "optim.learning_rate": 2e-4} for candidate in chosen[1:])


def test_plain_lines_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = made_plan(tmp_path)
    with SearchDisplay(Console(width=200), plan, []) as display:
        display.event(TrialBegan(0, 0, {"model.bn_momentum": 0.8, "optim.learning_rate": 2e-4}))
        display.event(TrialProgressed(0, 300, 21.5))
        display.event(TrialEnded(0, "COMPLETE", score=20.25))
        display.event(TrialBegan(1, 1, {"model.bn_momentum": 0.9, "optim.learning_rate": 1e-3}))
        display.event(TrialProgressed(1, 200, 50.0))
        display.event(TrialEnded(1, "PRUNED", "behind at step 200"))
    assert capsys.readouterr().out.splitlines() == [
        "trial    0  begins: bn_momentum 0.8  learning_rate 2e-4",
        "trial    0  score 20.25",
        "trial    1  begins: bn_momentum 0.9  learning_rate 0.001",
        "trial    1  pruned: behind at step 200",
    ]


def test_a_table_on_a_terminal(tmp_path: Path) -> None:
    plan = made_plan(tmp_path)
    console = Console(width=160, force_terminal=True, record=True, color_system=None)
    with SearchDisplay(console, plan, made_study(plan).get_trials()) as display:
        display.event(TrialBegan(9, 3, {"model.bn_momentum": 0.9, "optim.learning_rate": 5e-4}))
        display.event(TrialProgressed(9, 450))
    printed = console.export_text()
    assert "7 of 8 trials" in printed
    assert "best 18 (trial 1)" in printed
    line = next(line for line in printed.splitlines() if line.split()[::2][:2] == ["3", "running"])
    assert line.split() == ["3", "15.5", "running", "450", "0.9", "5e-4"]  # its score is that of the attempt before
    assert any(line.split()[:2] == ["5", "failed"] and "d_loss is nan" in line for line in printed.splitlines())


def test_what_is_known_of_interrupted_trials_is_shown_at_once(tmp_path: Path) -> None:
    plan = made_plan(tmp_path)
    study = made_study(plan)
    trial = study.ask({dimension.key: dimension.distribution for dimension in plan.space})
    trial.set_user_attr(attempts.ORIGIN, 8)
    trial.report(33.25, 400)
    study.tell(trial, state=TrialState.FAIL)
    attempts.requeue_lost(plan, study)  # as the next session begins
    console = Console(width=100, force_terminal=True, record=True, color_system=None)
    display = SearchDisplay(console, plan, study.get_trials())
    console.print(display._table())
    before = next(line for line in console.export_text().splitlines() if line.split()[:1] == ["8"])
    assert before.split()[:4] == ["8", "33.2", "waiting", "400"]
    display.event(TrialBegan(trial.number + 1, 8, trial.params))
    console.print(display._table())
    after = next(line for line in console.export_text().splitlines() if line.split()[:1] == ["8"])
    assert after == before.replace("waiting", "running")


def test_the_best_score_so_far_counts_each_trial_once(tmp_path: Path) -> None:
    """Also where two trials end between two looks at the study."""
    plan = made_plan(tmp_path)
    study = made_study(plan)
    plan.folder.path.mkdir(parents=True)
    search = SearchSession(plan, study, Console(quiet=True), lambda: False)
    search.journal = Journal(plan.folder)
    done = attempts.finished(study.get_trials())
    for trial in done[:2]:
        search.note(TrialEnded(trial.number, "COMPLETE", score=trial.value), seconds_left=60.0)
    study.add_trial(create_trial(params=done[0].params, distributions=done[0].distributions, value=12.5))
    search.note(TrialEnded(study.trials[-1].number, "COMPLETE", score=12.5), seconds_left=60.0)
    search.journal.close()
    assert curve(plan.folder.journal, BEST_SCORE) == ([len(done), len(done) + 1], [15.5, 12.5])


@pytest.mark.slow
def test_ten_thousand_trials_have_a_report(tmp_path: Path) -> None:
    plan = made_plan(tmp_path)
    study = optuna.create_study()
    study.set_user_attr(identity.IDENTITY, {"fid_proxy_id": "cifar_cnn-x"})
    distributions = {dimension.key: dimension.distribution for dimension in plan.space}
    rng = np.random.default_rng(0)

    def trial(number: int) -> optuna.trial.FrozenTrial:
        params = {"model.bn_momentum": rng.uniform(0.5, 0.99), "optim.learning_rate": rng.uniform(1e-4, 9e-4)}
        scores = {step: float(40 - step / 30 + rng.normal()) for step in range(100, 601 if number % 3 else 301, 100)}
        state = TrialState.COMPLETE if number % 3 else TrialState.PRUNED
        value = scores[600] if number % 3 else None
        return create_trial(
            state=state, value=value, params=params, distributions=distributions,
            user_attrs={attempts.ORIGIN: number}, intermediate_values=scores,
        )  # fmt: skip

    study.add_trials([trial(number) for number in range(10_000)])
    plan.folder.path.mkdir(parents=True)
    report = write_report(plan, study, None, None)
    assert len(report.trials.read_text().splitlines()) == 10_001
    page = report.page.read_text()
    assert page.count("<tr") > 10_000
    assert len(page) < 20_000_000


def test_a_report_of_trials_that_grow(tmp_path: Path) -> None:
    options = ["search.steps=600", "search.min_steps=100", "search.trials=8", "search.confirm.seeds=0"]
    plan = read_plan([*SPACE, *options, f"records.root={tmp_path}"])
    assert plan.rungs == (100, 250, 600)
    plan.folder.path.mkdir(parents=True)
    study = optuna.create_study()
    study.set_user_attr(identity.IDENTITY, {"fid_proxy_id": "cifar_cnn-x"})
    distributions = {dimension.key: dimension.distribution for dimension in plan.space}
    for number, length in enumerate((3, 1, 1, 1, 2, 1, 1)):
        steps = plan.rungs[:length]
        is_baseline = number == 0
        attributes = {attempts.ORIGIN: number} | (
            {attempts.BASELINE: True} if is_baseline else {rungs.RUNG: length - 1}
        )
        study.add_trial(
            create_trial(
                state=TrialState.COMPLETE if is_baseline else TrialState.PRUNED,
                value=20.0 if is_baseline else None,
                params={"model.bn_momentum": 0.5 + number / 20, "optim.learning_rate": 1e-4 * (number + 1)},
                distributions=distributions,
                user_attrs={
                    **attributes,
                    attempts.OUTCOME: "complete" if is_baseline else f"paused at step {steps[-1]}",
                },
                intermediate_values={step: 50.0 - number - step / 100 for step in steps},
            )
        )
    report = write_report(plan, study, None, None)
    rows = list(csv.DictReader(report.trials.read_text().splitlines()))
    assert [row["state"] for row in rows] == ["COMPLETE"] + ["PAUSED"] * 6
    assert [row["steps"] for row in rows] == ["600", "100", "100", "100", "250", "100", "100"]
    page = " ".join(report.page.read_text().split())
    assert "1 trial completed, 6 paused, 0 pruned, 0 failed" in page
    assert re.findall(r"<tr><td>(\S+)</td><td>(\d*)</td><td>(\d*)</td><td>(\d*)</td> <td class", page) == [
        ("100", "6", "1", "5"),
        ("250", "1", "0", "1"),
        ("600", "0", "", ""),
    ]
    assert (
        '<span data-key="6">trial 6 (43)</span>, <span data-key="5">trial 5 (44)</span>' in page
    )  # of the paused ones
    assert "Short trials saved 2,850 of 4,200 updates" in page
    assert report.importances.read_text() == "setting,fraction\n"  # of seven scores
    for number in range(7, 15):
        study.add_trial(
            create_trial(
                state=TrialState.PRUNED, params={"model.bn_momentum": 0.5 + number / 40, "optim.learning_rate": 1e-4},
                distributions=distributions, intermediate_values={100: 20.0 + number},
                user_attrs={attempts.ORIGIN: number, attempts.OUTCOME: "paused at step 100"},
            )
        )  # fmt: skip
    report = write_report(plan, study, None, None)
    rows = list(csv.DictReader(report.importances.read_text().splitlines()))
    assert {row["setting"]: float(row["fraction"]) for row in rows} == fanova(study, plan)
    assert {row["setting"] for row in rows} == set(KEYS)  # of fifteen, all at 100
    assert [trial.value for trial in comparable(plan, study.get_trials())][:2] == [27.0, 28.0]


def test_of_many_settings_samples_name_those_that_differ(tmp_path: Path) -> None:
    plan = read_plan(["search=levers", f"records.root={tmp_path}"])
    params = {**plan.baseline, "train.d_steps": 2, "train.horizontal_flip": True, "model.dropout": 0.5}

    def lines() -> list[str]:
        made = create_trial(
            value=1.0, params=params, distributions={d.key: d.distribution for d in plan.space if d.key in params}
        )
        return plots._settings(plan, made)

    assert lines() == ["d_steps 2", "horizontal_flip true", "dropout 0.5"]
    params |= {
        "train.lecam": 0.3,
        "train.consistency": 1,
        "train.batch_size": 64,
        "optim.beta_1": 0,
        "optim.beta_2": 0.9,
    }
    params |= {"model.latent_dim": 32, "model.generator.width": 64}
    assert len(lines()) == 9
    assert lines()[-1] == "and 2 more"
    few = made_plan(tmp_path)
    trial = create_trial(value=1.0, params=few.baseline, distributions={d.key: d.distribution for d in few.space})
    assert len(plots._settings(few, trial)) == len(KEYS)
