"""Records that earlier code made can be read and resumed (tests/records/README.md says how they were made).

Only programs and files are used, none of the project's modules, so that these tests outlive any change of them.
"""

import csv
import json
import re
import runpy
import shlex
import sqlite3
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import ROOT, RunProgram
from PIL import Image

OLD = ROOT / "tests" / "records"
SEARCH = "sweeps/optuna_search.py"
COMPLETE, FAIL = "COMPLETE", "FAIL"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is computed from the data set alone, once for all tests here."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def records(tmp_path: Path, cache: Path) -> Path:
    """The root of the old records, unpacked."""
    root = tmp_path / "records"
    with tarfile.open(OLD / "before_layout.tar.xz") as archive:
        archive.extractall(root, filter="data")
    (root / "cache").symlink_to(cache)
    return root


def start(script: str, records: Path, *arguments: str) -> int:
    """Run a program in this process; its exit code."""
    argv = sys.argv
    sys.argv = [str(ROOT / script), *arguments, f"records.root={records}"]
    try:
        with pytest.raises(SystemExit) as end:
            runpy.run_path(sys.argv[0], run_name="__main__")
    finally:
        sys.argv = argv
    return int(end.value.code or 0)


def journal(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def steps(run: Path, metric: str) -> list[int]:
    """Where a run's journal has a metric, in the order of its lines."""
    return [record["step"] for record in journal(run) if metric in record.get("scalars", {})]


def tag(run: Path, key: str) -> str:
    """The last value of a tag in a run's journal."""
    return str([record["tags"][key] for record in journal(run) if key in record.get("tags", {})][-1])


def status(run: Path) -> str:
    return str([record["status"] for record in journal(run) if "status" in record][-1])


def trained(records: Path) -> dict[str, list[dict[str, Any]]]:
    """All points of all runs, by run."""
    return {run.name: [r for r in journal(run) if "step" in r] for run in sorted((records / "runs").iterdir())}


def trials(records: Path, study: str) -> list[tuple[str, float | None]]:
    """State and score of every attempt, in order."""
    connection = sqlite3.connect(records / "studies.db")
    try:
        query = """select state, value from trials join studies using (study_id) left join trial_values using (trial_id)
            where study_name = ? order by number"""
        return connection.execute(query, (study,)).fetchall()
    finally:
        connection.close()


def search_again(program: RunProgram, records: Path, study: str) -> str:
    """Give the command that a study was made with once more; what it said."""
    command = json.loads((records / "studies" / study / "run.json").read_text())["command"]
    command = command.replace("train.batch_norm", "train.update_rule")
    done = program(*shlex.split(command)[2:], f"records.root={records}", script=SEARCH)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_runs_are_compared(records: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "page"
    assert start("experiments/compare.py", records, "run=finished", "run=batch", f"out={out}") == 0
    printed, page = capsys.readouterr().out, (out / "compare.html").read_text()
    for name in ("finished", "batch"):
        scores = [r["scalars"] for r in journal(records / "runs" / name) if "final/fid_proxy" in r.get("scalars", {})]
        assert f"{scores[-1]['final/fid_proxy']:.4g}" in printed
        assert name in page
    assert page.count('class="chart"') == 1 + 4 + 4  # final scores, scores and losses on the way
    assert "<h2>The same latents" in page


def test_trials_of_a_search_are_compared(records: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert start("experiments/compare.py", records, "study=finished", "run=interrupted", "run=best:early") == 0
    printed = capsys.readouterr().out
    for name in ("finished-trial-0000", "finished-trial-0003", "interrupted", "early-trial-0000"):
        assert name in printed
    assert "finished-trial-0001" not in printed  # it was pruned


@pytest.mark.parametrize("run", ["finished", "interrupted", "best:finished", "MLflow"])
def test_the_same_images_are_generated(run: str, records: Path, tmp_path: Path) -> None:
    """The eval generator of `interrupted` is an average over its updates; `batch` is named by its id in MLflow."""
    name = {"best:finished": "best", "MLflow": "batch"}.get(run, run)
    if run == "MLflow":
        (store,) = json.loads((records / "runs" / name / "tracking.json").read_text())["stores"].values()
        run = store["run_id"]
    out = tmp_path / "x.npz"
    assert start("experiments/generate.py", records, f"run={run}", "num_images=4", f"out={out}") == 0
    with np.load(out) as made, np.load(OLD / "generated.npz") as expected:
        images, expected_images = made["images"].astype(int), expected[name].astype(int)
    assert expected_images.std() > 20
    np.testing.assert_allclose(images, expected_images, rtol=0, atol=1)  # processors round unlike


def test_a_preset_of_that_time_is_asked_for_the_new_key(program: RunProgram, tmp_path: Path) -> None:
    done = program("--config-dir", str(OLD / "presets"), "experiment=batch_norm", f"records.root={tmp_path / 'new'}")
    rule = "train.batch_norm must be written train.update_rule; got 'batch' (in experiment/batch_norm.yaml)"
    assert (done.returncode, done.stderr) == (2, f"error: {rule}\n")
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_an_interrupted_run_is_resumed(program: RunProgram, records: Path) -> None:
    run = records / "runs" / "interrupted"
    before = (run / "metrics.jsonl").read_bytes()
    assert status(run) == "KILLED"
    done = program("resume=interrupted", f"records.root={records}")
    assert done.returncode == 0, done.stderr
    assert (run / "metrics.jsonl").read_bytes().startswith(before)
    assert status(run) == "FINISHED"
    assert tag(run, "resumed_from_step") == "310"
    assert steps(run, "train/d_loss") == list(range(20, 1001, 20))
    assert steps(run, "eval/fid_proxy") == [200, 400, 600, 800, 1000]
    assert steps(run, "final/fid_proxy") == [1000]
    assert [file.name for file in sorted((run / "checkpoints").iterdir())] == ["best.npz", "step_00001000.npz"]
    with Image.open(run / "samples.gif") as animation:
        assert animation.n_frames == 3  # steps 0, 500, 1000


@pytest.mark.parametrize("study", ["finished", "early"])
def test_a_finished_search_says_its_winner_again(study: str, program: RunProgram, records: Path) -> None:
    folder = records / "studies" / study
    winner, table = yaml.safe_load((folder / "best.yaml").read_text()), (folder / "trials.csv").read_text()
    table = table.replace("train.batch_norm", "train.update_rule")
    was_trained, were = trained(records), trials(records, study)
    printed = search_again(program, records, study)
    winner["overrides"].append(f"records.root={records}")  # where they are now
    winner["seeds"] = {"finished": 2, "early": 0}[study]  # which earlier versions did not say
    best = yaml.safe_load((folder / "best.yaml").read_text())
    assert {len(scores) for scores in best.pop("race", {}).values()} == ({2} if study == "finished" else set())
    assert best == winner
    now = (folder / "trials.csv").read_text()
    assert re.sub(r"(?m)^(\d+,PRUNED,)[^,]+,", r"\1,", now) == table  # which had no scores of pruned trials
    assert len(re.findall(r"(?m)^\d+,PRUNED,[\d.]+,", now)) == table.count("PRUNED")
    assert trained(records) == was_trained
    assert trials(records, study) == were
    assert tag(folder, "result") in printed
    page = (folder / "report.html").read_text()
    assert f"{winner['search_score']:.4g}" in page
    assert '<figure class="chart"' in page


@pytest.mark.slow
def test_an_interrupted_search_goes_on(program: RunProgram, records: Path) -> None:
    """Trial 1 was killed once and interrupted once; it is resumed, and one more trial is in the budget."""
    first, second, third = (records / "runs" / f"interrupted-trial-000{k}" for k in range(3))
    before = [(run / "metrics.jsonl").read_bytes() for run in (first, second)]
    assert not third.exists()
    search_again(program, records, "interrupted")
    assert [(run / "metrics.jsonl").read_bytes().startswith(old) for run, old in zip((first, second), before, strict=True)] == [True] * 2  # fmt: skip
    assert steps(first, "train/d_loss") == steps(second, "train/d_loss") == list(range(20, 481, 20))
    assert tag(second, "resumed_from_step") == "322"
    assert steps(third, "eval/fid_proxy") == list(range(80, 481, 80))
    assert [state for state, _ in trials(records, "interrupted")] == [COMPLETE, FAIL, FAIL, COMPLETE, COMPLETE]
    with open(records / "studies" / "interrupted" / "trials.csv") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["run"], row["state"]) for row in rows] == [(run.name, COMPLETE) for run in (first, second, third)]
    best = yaml.safe_load((records / "studies" / "interrupted" / "best.yaml").read_text())
    assert best["run"] == min(rows, key=lambda row: float(row["score"]))["run"]
