"""sweeps/optuna_search.py as a user starts it."""

import csv
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from conftest import NARROW, ROOT, RunProgram, Started
from mlflow import MlflowClient

from experiments.cli.compose import compose_config
from experiments.records.journal import last_status
from gan.errors import ConfigError
from sweeps import grid, optuna_search

SCRIPT = "sweeps/optuna_search.py"
TINY = [
    "search.steps=6", "eval.every_steps=2", "eval.num_images=20", "eval.final_num_images=20", "search.pruner=none",
    "search.confirm.top=1", "search.confirm.seeds=2", "search.workers=2", "train.batch_size=4", *NARROW,
]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model.bn_momentum=interval(0.99,0.5)"], "low end is below its high end"),
        (["model.bn_momentun=interval(0,1)"], "did you mean 'model.bn_momentum'?"),
        (["search.trials=0"], "search.trials must be in [2, 100000]; got 0"),
        (["search.confirm.top=99"], "search.confirm.top must be at most 19"),
        (["search.sampler=gp"], 'pip install -e ".[gp]"'),
        (["data=cifar10", "data.path=/nowhere"], "data.path must be"),
    ],
)
def test_mistakes(arguments: list[str], message: str, program: RunProgram, tmp_path: Path) -> None:
    """One line, exit code 2, nothing written."""
    result = program(*arguments, f"records.root={tmp_path / 'records'}", script=SCRIPT)
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert message in result.stderr
    assert not list(tmp_path.rglob("*.db"))
    assert not list(tmp_path.rglob("studies/*"))


def test_a_worker_joins_a_study_and_searches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optuna_search, "join", lambda arguments: 7)
    monkeypatch.setattr(optuna_search, "search", lambda plan, arguments: 8)
    arguments = ["search.storage=sqlite:////nowhere/x.db", "model.bn_momentum=0.5,0.8", "model.dropout=0.1,0.2"]
    assert optuna_search.main([*arguments, "search.role=worker"]) == 7
    assert optuna_search.main(arguments) == 8


@pytest.mark.parametrize(
    ("space", "problem"),
    [
        (["model.dropout=0.1,0.2"], "a map must be of two settings.* got 'model.dropout'"),
        (["model.dropout=0.1,0.2", "seed=1", "model.bn_momentum=0.5,0.8", "train.loss=bce,hinge"], "of two settings"),
        (
            ["model.dropout=range(0,0.9,0.01)", "model.bn_momentum=range(0,0.9,0.1)"],
            "at most 400 .* got '90 x 9 = 810'",
        ),
    ],
)
def test_a_map_has_two_settings_and_can_be_read(
    space: list[str], problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grid, "search", lambda plan, arguments: 0)
    with pytest.raises(ConfigError, match=problem):
        grid.main(space)
    assert grid.main(["model.dropout=0.1,0.2", "model.bn_momentum=0.5,0.8"]) == 0


def test_a_mistake_loads_nothing_heavy(program: RunProgram, tmp_path: Path) -> None:
    code = f"""
import atexit, runpy, sys
sys.argv = ["x", "search.trials=0"]
atexit.register(lambda: print("LOADED", *({{"tensorflow", "keras", "mlflow", "matplotlib", "scipy"}} & sys.modules.keys())))
runpy.run_path({str(ROOT / SCRIPT)!r}, run_name="__main__")
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "LOADED"
    assert result.returncode == 2


def test_help_names_every_setting(program: RunProgram) -> None:
    result = program("--help", script=SCRIPT)
    assert result.returncode == 0
    for key in ("search.trials=20", "search.confirm.top=3", "search.hours=none", "search.dry_run=false"):
        assert key in result.stdout


def test_two_searches_of_one_name_at_once_are_refused(program: RunProgram, tmp_path: Path) -> None:
    from filelock import FileLock

    folder = tmp_path / "studies" / "gan"
    folder.mkdir(parents=True)
    with FileLock(folder / ".lock"):
        result = program("data=embedded", f"records.root={tmp_path}", script=SCRIPT)
    assert result.returncode == 2
    assert result.stderr == "error: search.study must be free; got 'gan' (another process is using it)\n"


def test_a_studies_db_that_is_no_database_is_left_alone(program: RunProgram, tmp_path: Path) -> None:
    (tmp_path / "studies.db").write_text("something else " * 100)
    result = program("data=embedded", f"records.root={tmp_path}", script=SCRIPT)
    assert result.returncode == 2
    assert "studies.db Optuna can use" in result.stderr
    assert result.stderr.count("\n") == 1
    assert (tmp_path / "studies.db").read_text() == "something else " * 100


def test_a_dry_run_writes_nothing(program: RunProgram, tmp_path: Path) -> None:
    """Nor does it stumble over the words of a download, which is tried in vain."""
    root = f"records.root={tmp_path / 'records'}"
    result = program(*TINY, "search.dry_run=true", root, script=SCRIPT, https_proxy="http://127.0.0.1:9")
    assert result.returncode == 0, result.stderr
    assert "interval(0.5, 0.99)" in result.stdout
    suggested = re.findall(r"^trial \d  (.*)", result.stdout, re.MULTILINE)
    assert len(suggested) == 5
    assert suggested[0].startswith("bn_momentum 0.78/0.82/0.8  leaky_relu_alpha 0.2/0.25  label_noise 0.05")
    assert "ms per update with 2 at a time" in result.stdout
    assert not (tmp_path / "records").exists()


def mlflow_runs(root: Path) -> dict[str, dict[str, str]]:
    """Status, parent and trial's state of MLflow's runs, by name."""
    query = """select r.name, r.status, r.run_uuid,
        (select value from tags t where t.run_uuid = r.run_uuid and t.key = 'mlflow.parentRunId'),
        (select value from tags t where t.run_uuid = r.run_uuid and t.key = 'optuna.trial_state'),
        (select value from params p where p.run_uuid = r.run_uuid and p.key = 'optuna.trial_number') from runs r"""
    keys = ("status", "id", "parent", "state", "number")
    connection = sqlite3.connect(root / "mlflow.db")
    try:
        return {name: dict(zip(keys, rest, strict=True)) for name, *rest in connection.execute(query)}
    finally:
        connection.close()


def test_a_search_killed_and_taken_up_again_ends_with_a_result(program: RunProgram, npz: Path, tmp_path: Path) -> None:
    """kill -9 of the search in the middle, the same command again, then Ctrl-C in the confirmation, then to the end."""
    arguments = ["data=npz", f"data.path={npz}", *TINY, "search.trials=2", f"records.root={tmp_path}"]
    log = tmp_path / "log"

    def until(done: Callable[[], bool]) -> Started:
        log.unlink(missing_ok=True)
        search = Started(ROOT / SCRIPT, *arguments, log=log)
        search.wait_for(done, 300)
        return search

    killed = until(lambda: "trial    1  begins" in log.read_text())
    assert 'http-equiv="refresh"' in (tmp_path / "studies" / "gan" / "report.html").read_text()
    killed.process.kill()
    killed.end()
    stopped = until(lambda: any(tmp_path.glob("runs/gan-confirm-*/metrics.jsonl")))
    os.killpg(stopped.process.pid, signal.SIGINT)  # as a terminal sends it
    assert stopped.process.wait(120) == 130
    assert re.search(r"^next     python sweeps/optuna_search\.py ", log.read_text(), re.MULTILINE)
    page = (tmp_path / "studies" / "gan" / "report.html").read_text()
    assert "Stopped. The command below resumes it." in page
    assert 'http-equiv="refresh"' not in page
    begun = sorted((tmp_path / "runs").glob("gan-confirm-*/metrics.jsonl"))
    assert begun
    assert {last_status(file) for file in begun} <= {"KILLED", "FINISHED", ""}  # none FAILED

    told = tmp_path / "told"
    result = program(*arguments, f"search.notify='tee {told}'", script=SCRIPT)
    assert result.returncode == 0, result.stderr
    assert re.match(r"Study gan: (trial-000\d is |Keep the tutorial's settings: )", told.read_text())
    assert str(told) not in (tmp_path / "studies" / "gan" / "run.json").read_text()  # it may hold a secret
    assert re.search(r"^result   (trial-000\d is |Keep the tutorial's settings: )", result.stdout, re.MULTILINE)
    folder = tmp_path / "studies" / "gan"
    with open(folder / "trials.csv") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["trial"] for row in rows] == ["0", "1"]
    assert {row["state"] for row in rows} == {"COMPLETE"}
    best = yaml.safe_load((folder / "best.yaml").read_text())
    won = compose_config(best["overrides"]).model
    if best["run"].startswith("gan-confirm-tutorial-"):
        assert won.discriminator.bn_momentum == [0.82, 0.82, 0.8]
    else:
        assert won.bn_momentum == float(rows[best["trial"]]["model.bn_momentum"])
    kept = {path.parent.name for path in tmp_path.glob("runs/*/checkpoints") if list(path.glob("*.npz"))}
    lowest = min(rows, key=lambda row: float(row["score"]))["run"]
    needed = {"gan-trial-0000", f"gan-trial-{best['trial']:04d}", lowest}
    assert {row["run"] for row in rows} & kept == needed
    assert best["run"] in kept
    page = (folder / "report.html").read_text()
    assert "data:image/jpeg" in page  # the contact sheet
    assert "trial-000" in page
    assert "http://127.0.0.1:5000/#/experiments/" in page
    assert 'src="http' not in page  # self-contained

    runs = mlflow_runs(tmp_path)
    study = runs.pop("study gan")
    assert study["status"] == "FINISHED"
    assert {run["parent"] for run in runs.values()} == {study["id"]}
    assert {run["status"] for run in runs.values()} == {"FINISHED"}
    column = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}").get_run(runs["trial-0000"]["id"]).data.params
    assert column["model.bn_momentum"] == "0.78/0.82/0.8"
    trials = {name: run for name, run in runs.items() if name.startswith("trial-")}
    assert {name: run["number"] for name, run in trials.items()} == {f"trial-000{k}": str(k) for k in range(2)}
    assert {run["state"] for run in trials.values()} == {"COMPLETE"}
    assert sum(name.startswith("confirm ") for name in runs) == 4

    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    alias = "champion" if best["better"] else "candidate"
    assert f'mlflow.pyfunc.load_model("models:/gan@{alias}")' in result.stdout
    winner = client.get_model_version_by_alias("gan", alias)
    assert client.get_registered_model("gan").aliases == {alias: winner.version}
    assert (
        client.get_run(winner.run_id).info.run_name
        == f"confirm {best['run'].split('-', 2)[2].replace('-seed-', ', seed ')}"
    )
    assert winner.description in result.stdout
    shown = client.get_run(study["id"]).data
    result_line = re.search(r"^result   (.*)", result.stdout, re.MULTILINE)
    assert result_line is not None and shown.tags["result"].startswith(result_line[1][:20])
    note = shown.tags["mlflow.note.content"]
    assert note.startswith(f"**{shown.tags['result']}.**")
    assert f"get-artifact?path=plots%2Fcontact_sheet.png&run_uuid={study['id']}" in note
    assert shown.metrics["eval/fid_proxy"] == float(f"{best['confirmed_score']:.4g}")
    assert shown.metrics["final/fid_proxy"] > 0
    registered = client.get_logged_model(winner.source.removeprefix("models:/")).tags["mlflow.modelVersions"]
    assert json.loads(registered) == [{"name": "gan", "version": winner.version}]

    again = program(*arguments, script=SCRIPT)  # all is done: the result once more
    assert again.returncode == 0
    assert winner.description in again.stdout
    assert len(mlflow_runs(tmp_path)) == len(runs) + 1
    assert len(client.search_model_versions("name='gan'")) == 1

    # Without confirmation the best trial is a candidate; its generator is made of its last checkpoint.
    trial = program(*arguments, "search.confirm.seeds=0", script=SCRIPT)
    assert trial.returncode == 0, trial.stderr
    best = yaml.safe_load((folder / "best.yaml").read_text())
    assert best["run"] == f"gan-trial-{best['trial']:04d}"
    winner = client.get_model_version_by_alias("gan", "candidate")
    assert client.get_registered_model("gan").aliases == {"candidate": winner.version}
    assert client.get_run(winner.run_id).data.tags["optuna.trial_number"] is not None
    made = program(
        "run=best:gan", f"records.root={tmp_path}", "out=x.png", script="experiments/generate.py", cwd=tmp_path
    )
    assert f"run      {best['run']}, step 6" in made.stdout
    refused = program(*arguments, "search.steps=9", script=SCRIPT)
    assert refused.returncode == 2
    assert "search.steps: 6 in the study, 9 now" in refused.stderr
