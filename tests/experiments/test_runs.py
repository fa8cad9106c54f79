"""The list of runs, removing some, and freeing disk: on recorded runs."""

import errno
import io
import os
import re
import shutil
import threading
from pathlib import Path

import optuna
import pytest
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException
from recorded_runs import CHECKPOINT, make_old, make_run, make_study, make_trial
from rich.console import Console

from experiments import runs
from experiments.housekeeping import removing, repairing, words
from experiments.records.folders import Records, RunFolder, read_json, write_json
from experiments.records.journal import Journal
from experiments.records.overview import Overview, read_runs
from experiments.records.status import RunState, RunStatus
from experiments.reports.run_rows import read_rows
from experiments.reports.run_table import lines as list_lines
from experiments.tracking import removal
from experiments.tracking.address import database_uri
from experiments.tracking.delivery import Delivery
from gan.checkpoint import CheckpointError
from gan.errors import ConfigError

NOBODY = 2**30  # no process has this number


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(tmp_path / "r")


@pytest.fixture
def tracked(records: Records, mlflow_database: Path) -> Records:
    """Records whose MLflow has its tables."""
    records.root.mkdir()
    shutil.copy(mlflow_database, records.database)
    return records


def call(records: Records, *arguments: str) -> int:
    return runs.main([*arguments, f"records.root={records.root}"])


def delivered(run: RunFolder) -> str:
    """Deliver a run to MLflow with a file, a model and a registered version; return its id there."""
    file = run.path / "note.txt"
    file.write_text("x" * 100)
    journal = Journal(run)
    journal.artifact(file)
    journal.close()
    Delivery(run).deliver()
    (run_id,) = run.mlflow_run_ids()
    client = MlflowClient(database_uri(run.records))
    model = client.create_logged_model(client.get_run(run_id).info.experiment_id, "generator", source_run_id=run_id)
    client.log_model_artifact(model.model_id, str(file))
    client.create_registered_model(run.name)
    client.create_model_version(run.name, f"models:/{model.model_id}", run_id, model_id=model.model_id)
    return run_id


def lines(text: str) -> list[list[str]]:
    return [re.split(r" {2,}", line.strip()) for line in text.splitlines()]


def test_the_list_says_what_each_run_is(records: Records, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(records, "old", ["experiment=quick", "optim.learning_rate=1e-4", "name=old"], age=7200)
    make_run(records, "broken", status=RunStatus.FAILED, final=None, scores=[50.0], age=600)
    make_run(records, "killed", status=RunStatus.RUNNING, final=None, scores=[], age=300)
    make_study(records, "ships", "ships-trial-0001", 1)
    make_trial(records, "ships", 0, "COMPLETE", scores=[40, 30, 20])
    make_trial(records, "ships", 1, "COMPLETE", rate=3e-4, scores=[12, 8, 7])
    make_trial(records, "ships", 2, "PAUSED", scores=[1])
    assert call(records) == 0
    header, ships, killed, broken, old, disk = lines(capsys.readouterr().out)
    assert header == ["name", "state", "FID proxy", "images", "step", "size", "age", "differs", "study"]
    assert ships[:5] == ["ships", "finished", "9", "2,000", "300"]
    assert ships[-2:] == ["search of 3 trials, learning_rate 3e-4", "a search"]
    assert killed[:2] == ["killed", "interrupted"]
    assert broken[:5] == ["broken", "failed", "50", "2,000", "100"]
    assert old[:5] == ["old", "finished", "9", "5,000", "300"]
    assert old[-2:] == ["2 h", "quick, learning_rate 1e-4"]
    assert disk[0] == "disk" and disk[1].endswith("kB")
    call(records, "study=ships", "sort=score")
    assert [line[0] for line in lines(capsys.readouterr().out)[1:4]] == [f"ships-trial-000{n}" for n in (2, 1, 0)]
    call(records, "trials=true", "state=paused", "state=failed")
    assert [line[0] for line in lines(capsys.readouterr().out)[1:3]] == ["ships-trial-0002", "broken"]
    call(records, "name=o*", "top=1")
    assert [line[0] for line in lines(capsys.readouterr().out)] == ["name", "old", "rows", "disk"]


def test_the_list_has_notes_where_there_are_some(records: Records, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(records, "plain")
    run = make_run(records, "wide", age=600)
    write_json(run.facts, {**read_json(run.facts), "note": "D is wider"})
    call(records)
    header, plain, wide, _ = lines(capsys.readouterr().out)
    assert (header[-1], plain[-1], wide[-1]) == ("note", "quick", "D is wider")
    narrow = Console(width=60, force_terminal=True, file=io.StringIO())
    assert [line.plain for line in list_lines(read_rows(records), narrow)][-1] == "  D is wider"


def test_the_list_says_what_scores_are_of_where_that_differs(
    records: Records, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(records, "first")
    assert call(records) == 0
    assert " of " not in capsys.readouterr().out.splitlines()[0]
    other = make_run(records, "second")
    facts = read_json(other.facts)
    facts["dataset"] |= {"sha256": "cd" * 32, "name": "cifar10", "class_names": ["horse"]}
    write_json(other.facts, facts)
    assert call(records) == 0
    assert "cifar10 horse" in capsys.readouterr().out


def test_the_list_has_the_length_that_a_run_was_resumed_to(records: Records) -> None:
    arguments = ["experiment=quick", "train.steps=300", "seed=1"]
    make_run(records, "first", arguments, tags={"train.steps": "300"})  # resumed as it was
    make_run(records, "second", arguments, tags={"train.steps": "900"})
    make_run(records, "third", tags={"train.steps": "900"})
    differs = {row.name: row.differs for row in read_rows(records)}
    assert differs == {
        "first": "quick, steps 300, seed 1", "second": "quick, seed 1, steps 900", "third": "quick, steps 900",
    }  # fmt: skip


def test_a_stopped_run_is_listed_with_the_step_that_it_resumes_from(records: Records) -> None:
    for name, status in (("stopped", RunStatus.KILLED), ("done", RunStatus.FINISHED)):
        run = make_run(records, name, status=status)
        for file in ("step_00000350.npz", "step_half.npz"):
            (run.checkpoints.folder / file).touch()
    assert {row.name: row.step for row in read_rows(records)} == {"stopped": 350, "done": 300}


@pytest.mark.parametrize("width", [60, 80, 100])
def test_the_list_fits_a_terminal(records: Records, width: int) -> None:
    make_run(records, "quick-lr1e-4-momentum0.85-translation-seed12", [
        "experiment=quick", "optim.learning_rate=1e-4", "model.bn_momentum=0.85", "train.augment=translation", "seed=12"
    ])  # fmt: skip
    make_run(records, "mine", ["experiment=quick", "optim.learning_rate=0.0001", "model.bn_momentum=0.85"])
    make_study(records, "ships")
    make_trial(records, "ships", 0, "RUNNING")
    console = Console(width=width, force_terminal=True, file=io.StringIO())
    text = [line.plain for line in list_lines(read_rows(records), console)]
    assert max(map(len, text)) <= width
    for title in ("name", "state", "FID proxy", "size", "age"):
        assert title in text[0]
    assert ("images" in text[0]) == (width >= 80)
    assert "  quick, learning_rate 1e-4, bn_momentum 0.85" in text
    assert any(line.startswith("quick-lr1e-4-momentum0.85-translation-seed12") for line in text)  # whole, to be copied
    assert sum("momentum" in line for line in text) == 2  # what a name says is not said again


def test_markup_and_damage_are_shown_as_they_are(records: Records, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(records, "bold", ["experiment=quick", "'train.augment=[red]x'"])
    damaged = make_run(records, "damaged")
    damaged.facts.write_text("{")
    half = make_run(records, "half", status=RunStatus.KILLED)
    with open(half.journal, "a") as stream:
        stream.write('{"time": 1, "status"')  # a kill in the middle of a line
    assert call(records) == 0
    shown = {line[0]: line for line in lines(capsys.readouterr().out)}
    assert shown["damaged"][1] == "damaged"
    assert shown["half"][1] == "stopped"
    assert "augment [red]x" in shown["bold"][-1]


def test_a_run_that_is_removed_meanwhile_is_not_listed(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(records, "stays")
    gone = make_run(records, "gone")
    every = records.all_runs()
    monkeypatch.setattr(Records, "all_runs", lambda _: every)
    shutil.rmtree(gone.path)
    assert [run.name for run in read_runs(records)] == ["stays"]
    assert Overview(gone, {}, RunState.DAMAGED).created == 0.0


def test_a_setting_that_looks_like_a_number_stays_a_text(records: Records, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(records, "heir", ["experiment=quick", "train.init_from=12e45678", "data.class_id=nan"])
    assert call(records) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "init_from 12e45678" in shown
    assert "class_id nan" in shown


def test_mistakes_are_one_line(records: Records) -> None:
    make_run(records, "first")
    make_study(records, "ships")
    make_trial(records, "ships", 1, "PAUSED")
    for arguments, message in (
        (["remove", "first"], "the command must be one of list, rm, tidy, repair; got 'remove'"),
        (["state=done"], "state must be one of running, finished"),
        (["state=finish"], r"got 'finish' \(did you mean 'finished'\?\)"),
        (["rm", "first", "--yes"], r"an argument must be key=value; got '--yes' \(did you mean yes=...\?\)"),
        (["study=shops"], r"study must be a search with trials; got 'shops' \(known: ships\)"),
        (["rm"], "run must be given"),
        (["rm", "second"], "run must be last, or a run's MLflow id, name or folder; got 'second'"),
        (["rm", "first"], "yes must be true where nobody can be asked"),
        (["tidy", "paused=true"], "paused must be false without study=<name>"),
        (["tidy", "study=shops"], "study must be a search; got 'shops'"),
        (["tidy", "study=ships", "paused=true"], "yes must be true where nobody can be asked"),
    ):
        with pytest.raises(ConfigError, match=message):
            call(records, *arguments)
    assert {run.name for run in records.all_runs()} == {"first", "ships-trial-0001"}


def test_rm_removes_folder_row_files_and_models(tracked: Records, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = make_run(tracked, "first"), make_run(tracked, "second")
    run_id, kept_id = delivered(first), delivered(second)
    assert call(tracked, "rm", "fir*", "yes=true") == 0
    assert "removed  1 run" in capsys.readouterr().out
    client = MlflowClient(database_uri(tracked))
    experiment = client.get_run(kept_id).info.experiment_id
    assert [run.info.run_id for run in client.search_runs([experiment], run_view_type=ViewType.ALL)] == [kept_id]
    assert [model.source_run_id for model in client.search_logged_models([experiment])] == [kept_id]
    assert [model.name for model in client.search_registered_models()] == ["second"]
    assert not list(tracked.artifacts.glob(f"{run_id}*"))
    assert len(list(tracked.artifacts.glob("models/*"))) == 1
    assert [run.name for run in tracked.all_runs()] == ["second"]
    assert not tracked.removed.exists()


def test_rm_removes_no_run_of_other_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, other = Records(tmp_path / "here"), Records(tmp_path / "other")
    for records in (here, other):
        make_run(records, "first")
    folder = other.runs / "first"
    with pytest.raises(
        ConfigError, match=rf"run must be one of {here.root}; .*other records: records.root={other.root}"
    ):
        call(here, "rm", str(folder), "yes=true")
    assert (folder / "config.yaml").is_file()
    monkeypatch.chdir(other.runs)  # where a folder has the name
    assert call(here, "rm", "first", "yes=true") == 0
    assert (folder / "config.yaml").is_file()
    assert not here.runs.joinpath("first").exists()


@pytest.mark.parametrize("linked", ["runs", "run"])
def test_rm_removes_runs_on_another_disk(tracked: Records, linked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tracked, "first")
    run_id = delivered(run)
    elsewhere = tracked.root.with_name("disk")
    elsewhere.mkdir()
    moved = tracked.runs if linked == "runs" else run.path
    shutil.move(moved, elsewhere / moved.name)
    moved.symlink_to(elsewhere / moved.name)
    rename = Path.rename

    def within_a_disk(path: Path, target: Path) -> Path:
        if linked == "runs" and path.parent == tracked.runs:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", within_a_disk)
    assert call(tracked, "rm", "first", "yes=true") == 0
    assert not list(elsewhere.rglob("*.npz"))
    assert not tracked.removed.exists()
    assert tracked.all_runs() == []
    client = MlflowClient(database_uri(tracked))
    assert run_id not in {each.info.run_id for each in client.search_runs(["1"], run_view_type=ViewType.ALL)}


def test_an_end_of_input_is_a_no(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(records, "first")
    monkeypatch.setattr(words.sys, "stdin", type("Terminal", (), {"isatty": lambda self: True})())

    def ctrl_d(question: str) -> str:
        raise EOFError

    monkeypatch.setattr("builtins.input", ctrl_d)
    assert call(records, "rm", "first") == 1
    assert (records.runs / "first").exists()


def test_rm_asks(records: Records, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(records, "first")
    monkeypatch.setattr(words.sys, "stdin", type("Terminal", (), {"isatty": lambda self: True})())
    asked: list[str] = []
    monkeypatch.setattr("builtins.input", lambda question: asked.append(question) or "n")
    assert call(records, "rm", "first") == 1
    assert asked[0].startswith("remove 1 run here and in MLflow, 4")
    assert (records.runs / "first").exists()
    monkeypatch.setattr("builtins.input", lambda question: "y")
    assert call(records, "rm", "first") == 0
    assert not (records.runs / "first").exists()


def test_rm_refuses_what_is_in_use_and_winners(records: Records) -> None:
    busy = make_run(records, "busy")
    study = make_study(records, "ships", "ships-trial-0001", 1)
    for number in (0, 1):
        make_trial(records, "ships", number, "COMPLETE")
    with (
        busy.owned(),
        pytest.raises(ConfigError, match="run must be one that no process trains or delivers; got 'busy'"),
    ):
        call(records, "rm", "busy", "yes=true", "force=true")
    with study.owned(), pytest.raises(ConfigError, match="study must be one that is not running; got 'ships'"):
        call(records, "rm", "ships-trial-0000", "yes=true")
    with pytest.raises(ConfigError, match="no winner of a search, unless force=true; got 'ships-trial-0001'"):
        call(records, "rm", "ships-trial-000*", "yes=true")
    assert len(records.all_runs()) == 3  # not even the other trial
    confirmed = make_study(records, "boats", "boats-confirm-trial-0002-seed-1", 2)
    make_trial(records, "boats", 2, "COMPLETE")
    with pytest.raises(ConfigError, match="not the best trial of a search, unless force=true; got 'boats-trial-0002'"):
        call(records, "rm", "boats-trial-0002", "yes=true")
    assert call(records, "rm", "boats-trial-0002", "yes=true", "force=true") == 0
    shutil.rmtree(confirmed.path)
    assert call(records, "rm", "best:ships", "yes=true", "force=true") == 0
    assert {run.name for run in records.all_runs()} == {"busy", "ships-trial-0000"}


def test_rm_reads_the_winner_of_each_search_once(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    make_study(records, "ships", "ships-trial-0000")
    for number in range(4):
        make_trial(records, "ships", number, "COMPLETE")
    read: list[str] = []
    monkeypatch.setattr(removing, "read_best", lambda folder: read.append(folder.name) or {})
    assert call(records, "rm", "ships-trial-*", "yes=true") == 0
    assert read == ["ships"]


def test_rm_removes_a_whole_search(tracked: Records, capsys: pytest.CaptureFixture[str]) -> None:
    study = make_study(tracked, "ships", "ships-trial-0001", 1)
    trials = [make_trial(tracked, "ships", number, "COMPLETE") for number in (0, 1)]
    kept_id = delivered(make_run(tracked, "first"))
    for folder in (study, *trials):
        delivered(folder)
    for name in ("ships", "planes"):
        optuna.create_study(storage=tracked.studies_address, study_name=name)
    with pytest.raises(ConfigError, match=r"study must be a search; got 'shipz' \(known: ships\)"):
        call(tracked, "rm", "study=shipz", "yes=true")
    with study.owned(), pytest.raises(ConfigError, match="study must be one that is not running; got 'ships'"):
        call(tracked, "rm", "study=ships", "yes=true")
    assert call(tracked, "rm", "study=ships", "yes=true") == 0
    assert "removed  2 runs and the search ships" in capsys.readouterr().out
    assert [run.name for run in tracked.all_runs()] == ["first"]
    assert not tracked.all_studies() and not tracked.removed.exists()
    assert optuna.get_all_study_names(tracked.studies_address) == ["planes"]
    client = MlflowClient(database_uri(tracked))
    experiment = client.get_run(kept_id).info.experiment_id
    assert [run.info.run_id for run in client.search_runs([experiment], run_view_type=ViewType.ALL)] == [kept_id]


def test_rm_finishes_a_search_whose_removal_was_killed(
    records: Records, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_study(records, "ships", "ships-trial-0001", 1)
    make_trial(records, "ships", 1, "COMPLETE")
    optuna.create_study(storage=records.studies_address, study_name="ships")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(removing, "move_aside", lambda folder: (_ for _ in ()).throw(KeyboardInterrupt))
        call(records, "rm", "study=ships", "yes=true")
    assert [folder.name for folder in records.all_studies()] == ["ships"]
    assert call(records, "rm", "study=ships", "yes=true") == 0
    assert "removed  1 run and the search ships" in capsys.readouterr().out
    assert not records.all_studies() and not records.removed.exists()


def test_rm_leaves_a_study_in_a_shared_database(records: Records, capsys: pytest.CaptureFixture[str]) -> None:
    study = make_study(records, "ships", "ships-trial-0001", 1)
    facts = read_json(study.facts)
    write_json(study.facts, {**facts, "params": {"search.storage": "postgresql://host/studies"}})
    assert call(records, "rm", "study=ships", "yes=true") == 0
    assert "left     the study in postgresql://host/studies" in capsys.readouterr().out
    assert not records.all_studies()


def test_rm_says_what_an_unreachable_mlflow_still_has(
    tracked: Records, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tracked, "first")
    run_id = delivered(run)
    away = "http://127.0.0.1:9"
    note = read_json(run.delivery)
    note["stores"][away] = {"offset": 0, "refused": [], "run_id": "cd" * 16}
    write_json(run.delivery, note)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert call(tracked, "rm", "first", "yes=true") == 1
    out = capsys.readouterr().out
    command = f"next     python experiments/runs.py repair records.root={tracked.root}"
    assert f"left     what {away} has of them: " in out and command in out
    assert not (tracked.runs / "first").exists()
    assert not list(tracked.artifacts.glob(f"{run_id}*"))  # what could be removed is
    (left,) = tracked.removed.rglob("*.*")
    assert list(read_json(left)["stores"]) == [away]
    assert call(tracked, "tidy") == 1  # it removes the rest, too, and cannot either
    monkeypatch.setattr(removal, "connect", lambda records, uri: None)  # it can be reached again, and has nothing
    monkeypatch.setattr(removal, "remove_from_mlflow", lambda client, run_id, uri: True)
    assert call(tracked, "rm", "first", "yes=true") == 0
    assert f"{away} keeps the runs' rows as deleted ones" in " ".join(capsys.readouterr().out.split())
    assert not tracked.removed.exists()


def test_files_that_cannot_be_removed_keep_their_run_in_mlflow(
    tracked: Records, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = delivered(make_run(tracked, "first"))
    place = tracked.artifacts / run_id / "artifacts"
    shutil.rmtree(place)
    place.write_text("no folder")
    assert call(tracked, "rm", "first", "yes=true") == 1
    assert "left     what mlflow.db has of them: [Errno 20] Not a directory" in " ".join(
        capsys.readouterr().out.split(" ")
    )
    assert MlflowClient(database_uri(tracked)).get_run(run_id).info.lifecycle_stage == "active"
    place.unlink()
    assert call(tracked, "repair") == 0
    assert not tracked.removed.exists()


def test_one_process_at_a_time_removes(records: Records) -> None:
    removal.set_aside(make_run(records, "first"))
    with FileLock(records.root / "removed.lock"):
        other = threading.Thread(target=removal.finish, args=[records])
        other.start()
        other.join(0.2)
        assert (records.removed / "first" / "config.yaml").exists()
    other.join()
    assert not records.removed.exists()


@pytest.mark.parametrize(
    ("place", "reference"),
    [("_remove_from", "first"), ("_remove_files", "first"), ("_remove_from", "fir*"), ("_remove_from", "")],
)
def test_a_killed_rm_is_finished_by_the_same_command(
    tracked: Records, place: str, reference: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """reference: how the run is called; empty for its id in MLflow."""
    run_id = delivered(make_run(tracked, "first"))
    make_run(tracked, "second")

    class Killed(BaseException):
        pass

    def kill(*_: object) -> str:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(removal, place, kill)
        with pytest.raises(Killed):
            call(tracked, "rm", "first", "yes=true")
    assert [run.name for run in tracked.all_runs()] == ["second"]  # no program sees half a run
    assert tracked.find_run("last").name == "second"
    with pytest.raises(ConfigError, match="run must be a name, as long as a removal is not finished; got 'last'"):
        call(tracked, "rm", "last", "yes=true")  # it would be the second
    assert call(tracked, "rm", reference or run_id, "yes=true") == 0
    assert not tracked.removed.exists()
    assert [run.name for run in tracked.all_runs()] == ["second"]
    client = MlflowClient(database_uri(tracked))
    assert not client.search_runs(["1"], run_view_type=ViewType.ALL)
    assert not list(tracked.artifacts.glob(f"{run_id}*"))


def checkpoints(records: Records) -> set[str]:
    return {run.name for run in records.all_runs() if run.checkpoints.all_files()}


@pytest.fixture
def search(records: Records) -> Records:
    """A search that is over: a trial in each state, and a race that trial 1 won against trial 2 and the baseline."""
    make_study(records, "s", "s-confirm-trial-0001-seed-1", 1)
    for number, state in enumerate(["COMPLETE", "COMPLETE", "COMPLETE", "PAUSED", "PRUNED", "FAIL", "KILLED"]):
        make_trial(records, "s", number, state)
    make_trial(
        records, "s", 8, "COMPLETE", scores=[3, 2, 1]
    )  # the lowest score of the search, that the race did not confirm
    make_trial(
        records, "s", 7, "FAIL", tags={"optuna.trial_state": "FAIL", "failure_kind": "records", "failure": "full"}
    )
    for title in ("tutorial", "trial-0001", "trial-0002"):
        make_run(records, f"s-confirm-{title}-seed-1", study="s", tags={"confirms": title})
    no_memory = {"confirms": "trial-0002", "failure_kind": "out_of_memory", "failure": "no memory"}
    make_run(records, "s-confirm-trial-0002-seed-2", study="s", status=RunStatus.FAILED, final=None, tags=no_memory)
    make_trial(records, "s", 9, "PRUNED", tags={"optuna.trial_state": "PRUNED", "resumed_by_hand": "true"})
    make_run(records, "mine")
    return records


NEEDED = {
    f"s-trial-000{number}" for number in (0, 1, 3, 6, 7, 8, 9)
}  # baseline, winner, paused, interrupted, full disk, best, by hand
NEEDED |= {"s-confirm-tutorial-seed-1", "s-confirm-trial-0001-seed-1", "s-confirm-trial-0002-seed-2", "mine"}
UNNEEDED = {"s-trial-0002", "s-trial-0004", "s-trial-0005", "s-confirm-trial-0002-seed-1"}


def test_tidy_frees_what_never_trains_on(search: Records, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(search, "tidy", "dry_run=true") == 0
    assert checkpoints(search) == NEEDED | UNNEEDED
    assert f"would    free {4 * 3 * CHECKPOINT // 1000} kB" in capsys.readouterr().out
    assert call(search, "tidy") == 0
    out = capsys.readouterr().out
    assert "checkpoints of 4 runs (2 beaten, 1 pruned, 1 failed), 12 kB" in " ".join(out.split())
    assert "freed    12 kB" in out
    assert checkpoints(search) == NEEDED
    freed = RunFolder(search.runs / "s-trial-0004")
    assert freed.journal.exists() and freed.config.exists()
    with pytest.raises(CheckpointError, match=r"were removed: freed by python experiments/runs\.py tidy"):
        freed.checkpoints.find("last")
    assert call(search, "tidy") == 0
    assert "freed    0 B" in capsys.readouterr().out


def test_paused_trials_lose_theirs_only_when_asked(search: Records, capsys: pytest.CaptureFixture[str]) -> None:
    call(search, "tidy", "study=s")
    assert "1 trial with 3.0 kB: a larger budget may promote" in " ".join(capsys.readouterr().out.split())
    assert checkpoints(search) == NEEDED
    assert call(search, "tidy", "study=s", "paused=true", "yes=true") == 0
    assert "trains it from its beginning" in " ".join(capsys.readouterr().out.split())
    assert checkpoints(search) == NEEDED - {"s-trial-0003"}


def test_what_was_resumed_while_somebody_was_asked_keeps_its_checkpoints(
    search: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resumed(*_: object) -> bool:
        journal = Journal(RunFolder(search.runs / "s-trial-0003"))
        journal.tags({"resumed_by_hand": "true"})
        journal.status(RunStatus.RUNNING)
        journal.status(RunStatus.FINISHED)
        journal.close()
        return True

    monkeypatch.setattr("experiments.housekeeping.tidying.agreed", resumed)
    assert call(search, "tidy", "study=s", "paused=true") == 0
    assert checkpoints(search) == NEEDED


def test_before_a_search_is_over_nobody_is_beaten(records: Records) -> None:
    make_study(records, "s", state=RunStatus.KILLED)
    for number, state in enumerate(["COMPLETE", "COMPLETE", "PRUNED"]):
        make_trial(records, "s", number, state)
    call(records, "tidy")
    assert checkpoints(records) == {"s-trial-0000", "s-trial-0001"}


def test_tidy_leaves_a_running_search_alone(search: Records, capsys: pytest.CaptureFixture[str]) -> None:
    with RunFolder(search.studies / "s").owned():
        assert call(search, "tidy") == 0
        assert "s: left alone, it is running" in capsys.readouterr().out
        with pytest.raises(ConfigError, match="study must be one that no process searches; got 's'"):
            call(search, "tidy", "study=s")
    assert checkpoints(search) == NEEDED | UNNEEDED


def test_tidy_removes_what_killed_processes_left(records: Records, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(records, "first")
    left = [
        records.runs / "never-began", run.path / f".config.yaml.{NOBODY}.tmp", records.root / ".unfinished-mlflow-ab.db",
        run.checkpoints.folder / f".step_00000300.npz.{NOBODY}.tmp", run.path / f".generator.{NOBODY}.keras",
        records.root / f".index.html.{NOBODY}.tmp", records.cache / "xla" / f".program.{NOBODY}.tmp",
        records.comparisons / "mine" / f".index.html.{NOBODY}-0a1b2c3d.tmp",
    ]  # fmt: skip
    left[0].mkdir()
    (left[0] / "run.json").write_text("{}")
    half_removed = records.runs / "half-removed"
    half_removed.mkdir()
    (half_removed / "metrics.jsonl").write_text("")
    left.append(half_removed)
    young = records.runs / "begins"
    young.mkdir()
    for file in left[1:-1]:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("half")
    at_it = run.checkpoints.folder / f".best.npz.{os.getpid()}.tmp"  # of a live process, on a slow disk
    at_it.write_text("half")
    for path in (*left, at_it):
        make_old(path)
    assert call(records, "tidy", "dry_run=true") == 0
    assert all(path.exists() for path in left)
    assert call(records, "tidy") == 0
    assert not any(path.exists() for path in left)
    assert young.exists() and run.config.exists() and at_it.exists()


def test_tidy_leaves_what_is_a_persons(records: Records, tmp_path: Path) -> None:
    """A folder of kept runs among the runs, and a link to another one."""
    archive, elsewhere = records.runs / "archive", tmp_path / "elsewhere"
    shutil.copytree(make_run(records, "first").path, archive / "first")
    elsewhere.mkdir()
    (elsewhere / "metrics.jsonl").write_text("")
    (records.runs / "link").symlink_to(elsewhere)
    for path in (archive, elsewhere):
        make_old(path)
    assert call(records, "tidy") == 0
    assert (archive / "first" / "config.yaml").exists()
    assert (records.runs / "link" / "metrics.jsonl").exists()


def test_repair_leaves_runs_of_other_records_that_share_the_database(
    tracked: Records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Records(tmp_path / "other")
    run, gone = make_run(other, "theirs"), make_run(tracked, "gone")
    with monkeypatch.context() as patched:
        patched.setenv("MLFLOW_TRACKING_URI", database_uri(tracked))
        Delivery(run).deliver()
    Delivery(gone).deliver()
    shutil.rmtree(gone.path)
    assert call(tracked, "repair", "remove=true", "yes=true") == 0
    client = MlflowClient(database_uri(tracked))
    left = client.search_runs([each.experiment_id for each in client.search_experiments()])
    assert [each.info.run_id for each in left] == run.mlflow_run_ids()


def test_a_removal_whose_server_is_gone_can_be_given_up(
    tracked: Records, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    away = "http://127.0.0.1:9"
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for number, name in enumerate(("first", "second", "third")):
        run = make_run(tracked, name, age=60 - number)
        write_json(run.delivery, {"stores": {away: {"offset": 0, "refused": [], "run_id": f"{number:032}"}}})
    assert call(tracked, "rm", "first", "yes=true") == 1
    assert "removed  1 run," in capsys.readouterr().out
    assert call(tracked, "rm", "last", "yes=true") == 1  # what is left is the server's alone
    assert "removed  1 run," in capsys.readouterr().out
    assert call(tracked, "tidy") == 1
    assert "freed    0 B" in capsys.readouterr().out
    assert call(tracked, "repair", "forget=true", "yes=true") == 1  # the second is not delivered
    out = capsys.readouterr().out
    assert f"forgot   what {away} has of removed runs\n" in out and "left " not in out
    assert not tracked.removed.exists()
    assert [run.name for run in tracked.all_runs()] == ["second"]


def test_a_server_that_fails_while_it_is_repaired_is_one_line(
    tracked: Records, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = make_run(tracked, "gone")
    Delivery(gone).deliver()
    shutil.rmtree(gone.path)

    def refuse(client: object, run_id: str, uri: str) -> bool:
        raise MlflowException("(sqlite3.OperationalError) attempt to write a readonly database")

    monkeypatch.setattr(repairing, "remove_from_mlflow", refuse)
    assert call(tracked, "repair", "remove=true", "yes=true") == 1
    assert "cannot be asked: attempt to write a readonly database" in " ".join(capsys.readouterr().out.split())


def test_a_copied_folder_is_a_run_of_its_own(tracked: Records) -> None:
    run = make_run(tracked, "first")
    run_id = delivered(run)
    copies = [RunFolder(tracked.runs / name) for name in ("fork", "other")]
    for copy in copies:
        shutil.copytree(run.path, copy.path)
    Delivery(copies[0]).deliver()
    (own,) = copies[0].mlflow_run_ids()
    client = MlflowClient(database_uri(tracked))
    assert own != run_id
    assert client.get_run(own).info.run_name == "fork"
    copies[0].delivery.unlink()  # the note of it is lost
    Delivery(copies[0]).deliver()
    assert copies[0].mlflow_run_ids() == [own]
    for copy in copies:
        assert call(tracked, "rm", copy.name, "yes=true") == 0
    assert client.get_run(run_id).info.lifecycle_stage == "active"
    run.path.rename(tracked.runs / "renamed")
    (tracked.runs / "renamed" / "tracking.json").unlink()
    Delivery(RunFolder(tracked.runs / "renamed")).deliver()
    assert RunFolder(tracked.runs / "renamed").mlflow_run_ids() == [run_id]


def test_repair_says_what_is_whole_and_what_is_not(tracked: Records, capsys: pytest.CaptureFixture[str]) -> None:
    make_study(tracked, "s", "s-trial-0001", 1)
    trial, first, gone = make_trial(tracked, "s", 0, "COMPLETE"), make_run(tracked, "first"), make_run(tracked, "gone")
    for run in (RunFolder(tracked.studies / "s"), trial, first, gone):
        facts = read_json(run.facts)
        facts["dataset"] = read_json(first.facts)["dataset"]
        facts["tags"]["run_folder"] = run.path.relative_to(tracked.root).as_posix()
        write_json(run.facts, facts)
        Delivery(run).deliver()
    late, deleted, busy = (make_run(tracked, name) for name in ("late", "deleted", "busy"))
    Delivery(deleted).deliver()
    MlflowClient(database_uri(tracked)).delete_run(deleted.mlflow_run_ids()[0])
    shutil.rmtree(gone.path)
    moved = Records(tracked.root.rename(tracked.root.with_name("moved")))
    with RunFolder(moved.runs / busy.name).owned():  # it is being trained, and delivered
        assert call(moved, "repair") == 1
    said = {line[0]: " ".join(line[1:]) for line in lines(capsys.readouterr().out)}
    assert said["moved"].startswith(f"from {tracked.root}: ")
    assert said["behind"] == "MLflow lacks records of late"
    assert said["deleted"].startswith("in MLflow, but not here: deleted")
    assert said["lost"] == "gone (runs/gone): in MLflow, but not here; remove=true removes them"
    assert said["broken"] == "best:s is s-trial-0001, which is gone; rm study=s removes the search"
    assert said["next"] == f"python experiments/sync.py all records.root={moved.root}"
    for run in (late, busy):
        Delivery(RunFolder(moved.runs / run.name)).deliver()
    call(moved, "rm", "deleted", "yes=true")
    (moved.studies / "s" / "best.yaml").write_text("trial: 0\nrun: s-trial-0000\n")
    assert call(moved, "repair", "remove=true", "yes=true") == 0
    assert "whole    4 runs and 1 search: folders and MLflow say the same" in capsys.readouterr().out


def test_repair_sees_what_is_damaged_or_lost_on_either_side(
    tracked: Records, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("files-lost", "journal-damaged", "settings-gone", "settings-damaged", "refused", "moved", "whole")
    made = {name: make_run(tracked, name) for name in names}
    for run in made.values():
        delivered(run)
    run_id = made["files-lost"].mlflow_run_ids()[0]
    shutil.rmtree(tracked.artifacts / run_id)
    with open(made["journal-damaged"].journal, "r+b") as journal:
        journal.write(b"#")
    made["settings-gone"].config.unlink()
    made["settings-damaged"].config.write_text("")
    note = read_json(made["refused"].delivery)
    next(iter(note["stores"].values()))["refused"].append({})
    write_json(made["refused"].delivery, note)
    facts = read_json(made["moved"].facts)
    write_json(made["moved"].facts, facts | {"params": facts["params"] | {"data.path": "/gone"}})  # where it began
    made["moved"].config.write_text(f"data:\n  path: {tracked.root}\n")  # and where it was resumed
    assert call(tracked, "repair") == 1
    said = capsys.readouterr().out
    assert "behind   MLflow lacks records of files-lost, refused\n" in said
    assert re.search(r"broken   journal-damaged: .*metrics\.jsonl", said)
    assert "broken   settings-gone: its config.yaml is gone" in said
    assert "broken   settings-damaged: its config.yaml is damaged" in said
    assert "whole:" not in said and "moved:" not in said


def test_repair_looks_into_every_experiment_and_makes_none(tracked: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tracked, "first")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    Delivery(run).deliver()
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME")
    assert call(tracked, "repair") == 0
    experiments = MlflowClient(database_uri(tracked)).search_experiments()
    assert {experiment.name for experiment in experiments} == {"mine", "Default"}
    (run_id,) = run.mlflow_run_ids()
    run.delivery.unlink()
    Delivery(run).deliver()  # the note is lost: the run is found where it is
    assert run.mlflow_run_ids() == [run_id]
    shutil.rmtree(run.path)
    assert call(tracked, "repair") == 1


def test_databases_that_cannot_be_opened_are_one_line(records: Records, capsys: pytest.CaptureFixture[str]) -> None:
    make_study(records, "ships", "ships-trial-0001", 1)
    for file in (records.database, records.studies_database):
        file.write_text("no database")
    assert call(records, "repair") == 1
    said = " ".join(capsys.readouterr().out.split())
    assert f"MLflow sqlite:///{records.database} cannot be asked: file is not a database" in said
    with pytest.raises(
        ConfigError, match=r"study must be in a database that Optuna can open; got 'ships' \(.*studies.db"
    ):
        call(records, "rm", "study=ships", "yes=true")
    records.studies_database.unlink()
    assert call(records, "rm", "study=ships", "yes=true") == 0


def test_commands_have_help(capsys: pytest.CaptureFixture[str]) -> None:
    for command, settings in runs.COMMANDS.items():
        assert runs.main([command, "--help"]) == 0
        assert "records.root" in capsys.readouterr().out, settings
