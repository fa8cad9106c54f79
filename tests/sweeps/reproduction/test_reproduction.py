import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

from experiments.records.folders import Records
from experiments.records.journal import Journal, has_ended
from experiments.records.status import RunStatus
from gan.data.dataset import load_dataset
from gan.errors import ConfigError
from sweeps.reproduce import _handed_on, main
from sweeps.reproduction import trainings as trainings_module
from sweeps.reproduction.figures import curves_figure
from sweeps.reproduction.rows import RUNS, Row, Rows, fill
from sweeps.reproduction.searches import QUICK_SEARCH, SEARCHES
from sweeps.reproduction.settings import PRESETS, Images, Reproduction
from sweeps.reproduction.tables import (
    best_table,
    importances_table,
    lead_table,
    look_table,
    mean_scores_table,
    race_table,
    ranks_table,
    robustness_table,
    scores_table,
    searches_table,
)
from sweeps.reproduction.trainings import (
    SEEDS,
    SHORT,
    SHORT_SEEDS,
    digest,
    digests,
    overrides,
    run_program,
    trainings,
)


def row(preset: str, seed: int, step: int, score: float, outcome: str = "finished", steps: int = 4) -> Row:
    values = {name: str(score) for name in ("fid_proxy", "kid_proxy", "density", "coverage", "nn_distance")}
    identity = {
        "run": f"{preset}-{seed}-{steps}",
        "preset": preset,
        "class": "ship",
        "seed": str(seed),
        "steps": str(steps),
    }
    return {**identity, "step": str(step), "outcome": outcome, **values, "steps_per_second": "8", "seconds": "60"}


def test_rows_are_kept_whole_in_order_and_once_forgotten_are_gone(tmp_path: Path) -> None:
    file = tmp_path / "runs.csv"
    Rows(file, RUNS).add([row("b", 1, 4, 2.0), row("b", 1, 2, 3.0)])
    again = Rows(file, RUNS)
    again.add([row("a", 1, 4, 1.0)])
    assert [(row["run"], row["step"]) for row in Rows(file, RUNS).all] == [
        ("a-1-4", "4"),
        ("b-1-4", "2"),
        ("b-1-4", "4"),
    ]
    again.keep(lambda row: row["preset"] == "b")
    again.add([])
    assert {row["preset"] for row in Rows(file, RUNS).all} == {"b"}
    with pytest.raises(ConfigError, match=r"out must be a folder whose runs\.csv has this program's columns"):
        Rows(file, RUNS[:-1])


def test_tables_have_mean_and_std_of_seeds_and_count_what_failed() -> None:
    rows = [row("tuned", 1, 4, 2.0), row("tuned", 2, 4, 4.0), row("tutorial", 1, 4, 7.0)]
    lines = scores_table(rows, "ship", 4).splitlines()
    assert lines[2].startswith("| 4 | `tuned` | 2 | 3 ± 1.4 | 3 ± 1.4 |")
    assert lines[2].endswith("| 8 ± 0 | 1 ± 0 |")
    assert lines[3].startswith("| 4 | `tutorial` | 1 | 7 | 7 |")
    assert scores_table(rows, "horse", 4) == robustness_table(rows, 5) == "(Still to be made.)\n"
    lost = {**row("tuned", 4, 4, 0.0, "diverged"), "fid_proxy": "", "kid_proxy": ""}  # where it was to be scored
    assert scores_table([*rows, lost], "ship", 4).splitlines() == lines
    rows += [row("tuned", 3, 4, 99.0, "collapsed"), {**row("tuned", 4, 2, 0.0, "diverged"), "fid_proxy": ""}]
    assert robustness_table(rows, 4).splitlines()[2:] == [
        "| `tuned` | 4 | 1 | 1 | 3 ± 1.4 |",
        "| `tutorial` | 1 | 0 | 0 | 7 |",
    ]


def test_tables_of_a_search_have_its_best_trials_and_what_they_depend_on(tmp_path: Path) -> None:
    file = tmp_path / "trials.csv"
    lines = ["trial,state,score,steps,seconds,model.dropout,train.loss,outcome,run"]
    lines.append("0,COMPLETE,9.75,60,1.0,0.25,bce,complete,s-trial-0000")
    for number in range(1, 17):  # the score is ten times the dropout, and the loss means nothing
        loss = ("bce", "hinge")[number % 2]
        lines.append(f"{number},COMPLETE,{number / 2},60,1.0,{number / 20},{loss},complete,s-trial-{number:04d}")
    lines.append("17,PRUNED,,20,1.0,0.1,bce,behind at step 20,s-trial-0017")
    file.write_text("\n".join(lines) + "\n")
    table = best_table(file, count=2).splitlines()
    assert table == [
        "| trial | score | `model.dropout` | `train.loss` |",
        "|---|---|---|---|",
        "| 1 | 0.5 | 0.05 | hinge |",
        "| 2 | 1 | 0.1 | bce |",
        "| 0, the tutorial's | 9.75 | 0.25 | bce |",
        "",
        "17 trials completed, 1 pruned, 0 failed; 1,040 updates in all.",
    ]
    importances = tmp_path / "importances.csv"
    importances.write_text("setting,fraction\nmodel.dropout,0.75\ntrain.loss,0.25\n")
    assert importances_table(importances).splitlines() == [
        "| setting | fraction of the score's variance |",
        "|---|---|",
        "| `model.dropout` | 0.75 |",
        "| `train.loss` | 0.25 |",
    ]
    importances.write_text("setting,fraction\n")
    assert importances_table(importances) == "(Too few trials of one length have a score.)\n"


def test_a_line_a_search_says_what_it_found() -> None:
    found = {
        "arguments": ["search.updates=9"],
        "result": "trial-0003 is better",
        "settings": ["model.dropout=0", "seed=1"],
    }
    assert searches_table({"four_0": found}).splitlines()[2:] == [
        "| four_0 | `search.updates=9` | trial-0003 is better | `model.dropout=0` `seed=1` |"
    ]
    assert searches_table({}) == "(Still to be made.)\n"


def test_a_race_is_shown_with_all_of_its_seeds() -> None:
    race = {"trial-0001": {1: 9.0}, "tutorial": {1: 20.0, 2: 21.0}, "trial-0003": {1: 10.0, 2: 12.0}}
    assert race_table(race).splitlines()[2:] == [
        "| trial-0003 | 2 | 11 ± 1.4 | 10, 12 |",
        "| tutorial | 2 | 20.5 ± 0.71 | 20, 21 |",
        "| trial-0001 | 1 | 9 | 9 |",
    ]
    assert race_table({}) == "(Still to be made.)\n"


def test_all_trials_of_a_search_say_what_their_place_goes_with(tmp_path: Path) -> None:
    file = tmp_path / "trials.csv"
    lines = ["trial,state,score,steps,seconds,optim.beta_2,optim.learning_rate,train.loss,outcome,run"]
    for number in range(12):  # the higher the learning rate the better, by score or by when it was given up
        score, state = ("", "PRUNED") if number < 6 else (f"{40 - number}", "COMPLETE")
        loss, beta = ("hinge" if number in (1, 4, 8, 9) else "bce"), (0.9 if number < 6 else 0.99)
        lines.append(f"{number},{state},{score},{10 * number},1.0,{beta},{(number + 1) / 1e4},{loss},x,s-{number}")
    file.write_text("\n".join(lines) + "\n")
    head, rule, *rows = ranks_table(file).splitlines()
    assert head.count("|") == rule.count("|") == 4
    cells = [row.strip("| ").split(" | ") for row in rows]
    assert [cell[0] for cell in cells] == ["`optim.learning_rate`", "`optim.beta_2`", "`train.loss`"]
    assert cells[0][1] == "higher is better, correlation -1.00"
    assert cells[1][1] == "0.99 3.5, 0.9 9.5"
    assert cells[2][1] == "bce 6.5, hinge 6.5"
    p_values = [float(cell[2]) for cell in cells]
    assert p_values[0] < 1e-6
    assert 1e-3 < p_values[1] < 0.01
    assert p_values[2] == 1
    file.write_text("\n".join(lines[:2]) + "\n")
    assert ranks_table(file) == "(No trial was better than another.)\n"


def test_places_are_of_the_trials_that_a_setting_means_something_in(tmp_path: Path) -> None:
    """Paused trials count by their scores, and a number is no choice because some trials have none."""
    file = tmp_path / "trials.csv"
    lines = ["trial,state,score,steps,seconds,train.loss,train.label_noise,outcome,run"]
    for number in range(8):  # the lower the noise the better; with hinge it means nothing
        lines.append(f"{number},PAUSED,{20 + number},500,1.0,bce,{number / 100},paused at step 500,s-{number}")
        lines.append(f"{number + 8},PAUSED,{40 + number},500,1.0,hinge,,paused at step 500,s-{number + 8}")
    lines.append("16,COMPLETE,90.0,5000,1.0,hinge,,complete,s-16")  # the longest trained
    file.write_text("\n".join(lines) + "\n")
    rows = [line.strip("| ").split(" | ") for line in ranks_table(file).splitlines()[2:]]
    assert [row[:2] for row in rows] == [
        ["`train.label_noise`", "lower is better, correlation 1.00 (8 of 17 trials)"],
        ["`train.loss`", "bce 5.5, hinge 12.1"],
    ]


def test_trainings_looked_at_by_hand_are_a_table(tmp_path: Path) -> None:
    file = tmp_path / "first_look.csv"
    file.write_text("settings,500,1000,2500,coverage,density\na=1 b=2,30.0,20.04,9.994,0.5,1.0\na=2,40,30.5,,,\n")
    assert look_table(file).splitlines() == [
        "| settings | 500 | 1,000 | 2,500 | coverage |",
        "|---|---|---|---|---|",
        "| `a=1 b=2` | 30 | 20 | 9.99 | 0.5 |",
        "| `a=2` | 40 | 30.5 |  |  |",
    ]


def test_a_page_keeps_its_words_and_gets_new_tables() -> None:
    page = "# Title\n\nwords\n<!-- a -->\nold\n<!-- end -->\nmore\n<!-- b -->\n<!-- end -->\n"
    filled = fill(page, {"a": "| new \\1 |\n", "b": "| b |\n", "absent": "x"})
    assert filled == "# Title\n\nwords\n<!-- a -->\n| new \\1 |\n<!-- end -->\nmore\n<!-- b -->\n| b |\n<!-- end -->\n"
    assert fill(filled, {"a": "| new \\1 |\n"}) == filled


def test_curves_have_a_colour_a_preset_and_a_line_a_seed() -> None:
    rows = [row(preset, seed, step, 9.0 / step) for preset in ("a", "b") for seed in (1, 2) for step in (2, 4)]
    (axes,) = curves_figure(rows, "ship", 4).axes
    lines = axes.get_lines()
    assert len({line.get_color() for line in lines}) == 2
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == len(lines) == 4
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b"]  # type: ignore[union-attr]
    axes.figure.canvas.draw()
    assert {"2", "3", "5"} <= {text.get_text() for text in axes.get_yticklabels()}  # not 2 × 10⁰


def test_every_preset_meets_the_same_seeds_classes_and_lengths() -> None:
    every = trainings(quick=False)
    assert len({training.name for training in every}) == len(every)
    work = {p: {(e.of, e.seed, e.steps, e.scored) for e in every if e.preset == p} for p in PRESETS}
    assert len({frozenset(parts) for parts in work.values()}) == 1
    assert sum(training.steps == SHORT for training in every) == len(SHORT_SEEDS) * len(PRESETS)
    assert not set(SEEDS) & set(SHORT_SEEDS)
    for training in every:  # what is scored late must have a checkpoint
        assert all(step % training.scored[0] == 0 for step in training.scored)
        assert training.scored[-1] == training.steps


def test_rows_know_the_settings_that_made_them() -> None:
    from experiments.cli.compose import compose_config

    tutorial = digest(compose_config(["experiment=tutorial"]))
    assert digest(compose_config(["experiment=tutorial", "seed=7", "train.steps=9", "data=embedded"])) == tutorial
    assert digest(compose_config(["experiment=tutorial", "optim.learning_rate=1e-4"])) != tutorial


def test_the_way_is_averaged_run_by_run() -> None:
    curves = [
        {**row("tuned", seed, step, score), "steps": "4"}
        for seed, step, score in ((1, 2, 6.0), (1, 4, 2.0), (2, 2, 8.0))
    ]
    assert mean_scores_table(curves, "ship", 4).splitlines()[2:] == ["| `tuned` | 2 | 1 to 2 | 6 ± 2.8 |"]
    assert mean_scores_table(curves, "ship", 5) == "(Still to be made.)\n"


def test_the_lead_is_that_of_dunnett() -> None:
    rows = [row("tutorial", seed, 4, score) for seed, score in enumerate((12.0, 10.0, 14.0))]
    rows += [row("tuned", seed, 4, score) for seed, score in enumerate((6.0, 8.0, 7.0))]
    # The standard error of the difference is √(2.5 · 2/3) = 1.291; the quantile of t with 4 degrees of freedom 2.776.
    (line,) = lead_table(
        [*rows, row("tuned", 9, 4, 99.0, "diverged"), row("tuned", 1, 2, 7.0)], "tutorial"
    ).splitlines()[2:]
    assert line == "| ship | 4 | `tuned` | 3 and 3 | 5 | 1.42 to 8.58 | 0.018 |"
    horses = [{**each, "class": "horse", "fid_proxy": "1"} for each in rows]  # scores of another class are no matter
    assert lead_table([*rows, *horses], "tutorial").splitlines()[-1] == line
    # A second preset widens the interval: it is one of two comparisons.
    rows += [row("tuned_four", seed, 4, score) for seed, score in enumerate((11.0, 12.5, 13.5))]
    first, second = lead_table(rows, "tutorial").splitlines()[2:]
    assert first == "| ship | 4 | `tuned` | 3 and 3 | 5 | 1.54 to 8.46 | 0.011 |"
    assert second.startswith("| ship | 4 | `tuned_four` | 3 and 3 | -0.333 | ")
    assert lead_table(rows[:4], "tutorial") == "(Still to be made.)\n"


def test_what_was_stopped_does_not_say_its_last_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "any.py").write_text("import sys; print('its address'); sys.exit(int(sys.argv[1]))")
    monkeypatch.setattr(trainings_module, "ROOT", tmp_path)
    assert [run_program("any.py", [code]) for code in ("0", "2", "130", "143")] == [
        "", "its address", "it was stopped", "it was stopped",
    ]  # fmt: skip


def test_a_signal_is_handed_on_to_the_programs_of_a_reproduction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "any.py").write_text(
        "import signal, sys, time; signal.signal(signal.SIGINT, lambda *_: sys.exit(130))\n"
        f"open({str(tmp_path / 'begun')!r}, 'w').close()\ntime.sleep(60)"
    )
    monkeypatch.setattr(trainings_module, "ROOT", tmp_path)
    monkeypatch.setattr("experiments.cli.signals.is_ours", lambda: True)
    begin = time.monotonic()

    def end() -> None:
        while not (tmp_path / "begun").exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    with _handed_on() as caught, ThreadPoolExecutor(1) as pool:
        threading.Thread(target=end, daemon=True).start()
        training = pool.submit(run_program, "any.py", [])
        while not training.done():
            time.sleep(0.02)  # as the main thread waits, where signals come
    assert (training.result(), caught) == ("it was stopped", [signal.SIGTERM])
    assert time.monotonic() - begin < 30


def test_every_preset_is_there_to_be_trained() -> None:
    from experiments.cli.compose import compose_config

    args, every = Reproduction(), trainings(quick=False)
    known = digests(every, args)
    assert known.keys() == {training.name for training in every}
    for training in every[::5]:  # all presets and classes among them
        config = compose_config(overrides(training, args))
        assert (config.train.steps, config.seed) == (training.steps, training.seed)
        assert known[training.name] == digest(config)
    assert len(set(known.values())) == len(PRESETS)


@pytest.mark.parametrize(
    ("has", "arguments", "line"),
    [
        (None, ["data.path=absent"], "error: data.path must be an existing file or folder; got 'absent'"),
        (
            None,
            ["presets=[tutoral]"],
            "error: presets must be some of tutorial, tuned_four, tuned; got 'tutoral' (did you mean 'tutorial'?)",
        ),
        (
            "results-tutorial-ship-5000-seed-101",
            ["data.source=embedded"],
            "error: data must be the images of the numbers",
        ),
        ("another", ["data.source=embedded"], "error: out must be a folder of these trainings alone"),
    ],
)
def test_mistakes_are_one_line_and_lose_no_numbers(
    tmp_path: Path, has: str | None, arguments: list[str], line: str
) -> None:
    file = tmp_path / "results" / "runs.csv"
    if has:
        file.parent.mkdir()
        Rows(file, RUNS).add([{**row("tutorial", 101, 5000, 1.0, steps=5000), "run": has, "dataset": "another"}])
    before = file.read_text() if has else None
    command = [sys.executable, "sweeps/reproduce.py", f"out={tmp_path}", f"records.root={tmp_path / 'records'}"]
    done = subprocess.run([*command, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith(line) and len(done.stderr.splitlines()) == 1
    assert (file.read_text() if file.exists() else None) == before


def test_a_search_that_was_not_made_to_its_end_is_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = Reproduction(out=str(tmp_path), quick=True, dry_run=True, data=Images(source="embedded"))
    args.records.root = str(tmp_path / "records")
    file = tmp_path / "results" / "search_four_0.yaml"
    file.parent.mkdir()
    for arguments, left in ((SEARCHES["four_0"], True), ([*SEARCHES["four_0"], *QUICK_SEARCH], False)):
        file.write_text(yaml.safe_dump({"arguments": arguments}))
        assert main(args) == 0
        assert ("searches  four_0 are left" in capsys.readouterr().out) == left


@pytest.mark.parametrize("text", ["", "- a", "a: [", "\0"])
def test_a_damaged_result_of_a_search_is_one_line(text: str, tmp_path: Path) -> None:
    args = Reproduction(out=str(tmp_path), quick=True, dry_run=True, data=Images(source="embedded"))
    args.records.root = str(tmp_path / "records")
    file = tmp_path / "results" / "search_four_0.yaml"
    file.parent.mkdir()
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"out must be a folder whose search_four_0\.yaml this program wrote"):
        main(args)


def test_what_is_done_is_not_trained_again_unless_its_preset_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = Reproduction(out=str(tmp_path), quick=True, dry_run=True, searches=False, data=Images(source="embedded"))
    args.records.root = str(tmp_path / "records")
    images = load_dataset("embedded", None, "ship", tmp_path / "records" / "cache")
    first, second, _ = trainings(quick=True)
    known = digests([first, second], args)
    (tmp_path / "results").mkdir()
    rows = [
        {**row(training.preset, training.seed, 4, 1.0), "run": training.name, "settings": settings}
        for training, settings in ((first, known[first.name]), (second, "of before"))
    ]
    Rows(tmp_path / "results" / "runs.csv", RUNS).add([{**each, "dataset": images.sha256[:8]} for each in rows])
    assert main(args) == 0
    assert "trainings 2 of 3 are left, 8 updates" in capsys.readouterr().out


def test_a_training_that_lacked_disk_or_memory_has_not_diverged(tmp_path: Path) -> None:
    for number, (failure, ended) in enumerate(
        (
            ("d_loss is nan at step 7; last finite checkpoint: none. Try a lower optim.learning_rate", True),
            ("records cannot be written (No space left on device)", False),
            ("out of memory: MemoryError", False),
            ("", False),  # an error of our own
        )
    ):
        folder = Records(tmp_path).new_run(f"run-{number}", None)
        journal = Journal(folder)
        journal.tags({"threads": "1"} | ({"failure": failure} if failure else {}))
        journal.status(RunStatus.FAILED)
        journal.close()
        assert has_ended(folder.journal) == ended


@pytest.mark.slow
def test_a_quick_reproduction_makes_page_numbers_and_figures_once(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "sweeps/reproduce.py", "quick=true", "data.source=embedded", f"out={out}"]
    command += [f"records.root={tmp_path / 'records'}"]
    first = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "failed" not in first.stdout
    assert {(row["preset"], row["step"]) for row in Rows(out / "results" / "runs.csv", RUNS).all} == {
        (preset, step) for preset in PRESETS for step in ("2", "4")
    }
    page = (out / "results.md").read_text()
    assert all(f"| 4 | `{preset}` | 1 |" in page for preset in PRESETS)
    assert "| 0, the tutorial's |" in page
    found = yaml.safe_load((out / "results" / "search_four_0.yaml").read_text())
    assert found["arguments"][0] == "search.updates=100000" and "not confirmed" in found["result"]
    assert f"| {found['result']} |" in page
    assert str(tmp_path) not in str(found)
    for name in ("results_curves.png", "results_latents.png"):
        assert (out / "images" / name).stat().st_size > 10_000

    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert "trainings 0 of 3 are left" in again.stdout and "searches" not in again.stdout

    # A preset that was changed since is trained anew, but not from what the records have of the old one.
    file = out / "results" / "runs.csv"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(line for line in lines if "-tuned-" not in line))
    config = tmp_path / "records" / "runs" / "results-tuned-ship-4-seed-101" / "config.yaml"
    config.write_text(config.read_text().replace("translation", "cutout"))
    refused = subprocess.run([*command, "searches=false"], cwd=ROOT, capture_output=True, text=True)
    assert refused.returncode == 1
    assert f"there is one of other settings already; delete or rename {config.parent}" in refused.stdout
    assert "-tuned-" not in file.read_text()
