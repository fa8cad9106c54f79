"""MLflow's database and files, moved, copied, lost or elsewhere."""

import contextlib
import json
import os
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.tracking._tracking_service.utils import _artifact_repos_cache
from rich.console import Console

from experiments import compare, evaluate, run, sync
from experiments.compare import Comparison
from experiments.evaluate import Evaluation
from experiments.records.folders import Records, RunFolder, write_json
from experiments.records.journal import Journal
from experiments.records.status import RunStatus
from experiments.settings.schema import RecordsConfig
from experiments.sync import Sync
from experiments.tracking import connection
from experiments.tracking.address import database_uri, fix_tracking_uri, tracking_uri
from experiments.tracking.connection import RunDeleted
from experiments.tracking.delivered import mark_restored
from experiments.tracking.delivery import Delivery
from experiments.tracking.relocation import PLACES, relocate
from experiments.tracking.sync import deliver
from gan.errors import ConfigError
from sweeps import optuna_search

FACTS = {
    "created": 1_700_000_000_000,
    "params": {"model.bn_momentum": 0.8},
    "tags": {"dataset": "npz"},
    "dataset": {"name": "npz", "description": "npz x", "sha256": "ab" * 32, "shape": [64, 32, 32, 3], "dtype": "uint8"},
}


@pytest.fixture
def records(tmp_path: Path, mlflow_database: Path) -> Records:
    records = Records(tmp_path / "a 100% root")
    records.root.mkdir()
    shutil.copy(mlflow_database, records.database)
    return records


def made(records: Records, name: str, parent: RunFolder | None = None) -> RunFolder:
    """A run that was delivered whole: a curve, an image and a file."""
    folder = RunFolder((records.studies if name == "study" else records.runs) / name)
    folder.plots.mkdir(parents=True)
    folder.config.touch()
    tags = {**FACTS["tags"], "run_folder": f"{folder.path.parent.name}/{name}"}  # type: ignore[dict-item]
    facts = {**FACTS, "tags": tags, **({"parent": f"studies/{parent.name}"} if parent else {})}
    write_json(folder.facts, facts)
    journal = Journal(folder)
    journal.scalars(1, {"a": 1.0})
    journal.scalars(2, {"a": 2.0, "b": 0.5})
    journal.image(1, "samples", np.zeros((8, 8, 3), np.uint8))
    (folder.plots / "losses.png").write_bytes(b"png")
    journal.artifact(folder.plots / "losses.png")
    journal.status(RunStatus.FINISHED)
    journal.close()
    assert Delivery(folder).deliver() == []
    return folder


def seen(folder: RunFolder) -> tuple[MlflowClient, Run]:
    """The one run that the store has of this folder, whole."""
    client = MlflowClient(database_uri(folder.records))
    runs = client.search_runs(["1"], f"tags.run_folder LIKE '%{folder.name}'")
    assert [run.info.run_id for run in runs] == folder.mlflow_run_ids()
    (run,) = runs
    assert run.info.status == "FINISHED"
    assert [m.step for m in client.get_metric_history(run.info.run_id, "a")] == [1, 2]
    assert [m.step for m in client.get_metric_history(run.info.run_id, "b")] == [2]
    assert len(client.list_artifacts(run.info.run_id, "images")) == 2  # the image and its thumbnail
    assert [file.path for file in client.list_artifacts(run.info.run_id, "plots")] == ["plots/losses.png"]
    assert run.info.artifact_uri.startswith(folder.records.artifacts.as_uri() + "/")
    return client, run


def files(root: Path) -> set[tuple[Path, int]]:
    return {(file, file.stat().st_mtime_ns) for file in root.rglob("*") if file.is_file()}


@contextlib.contextmanager
def opened(database: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        yield connection


def in_the_form_of_before(folder: RunFolder) -> None:
    """Its note of deliveries has the whole address, and its experiment no tag."""
    stores = json.loads(folder.delivery.read_text())["stores"]
    write_json(folder.delivery, {"stores": {database_uri(folder.records): stores["mlflow.db"]}})
    with opened(folder.records.database) as connection:
        connection.execute("DELETE FROM experiment_tags")


@pytest.mark.parametrize("before", [False, True], ids=["now", "of_before"])
@pytest.mark.parametrize("copied", [False, True], ids=["moved", "copied"])
def test_records_can_be_moved_and_copied(copied: bool, before: bool, records: Records, tmp_path: Path) -> None:
    folder, other = made(records, "run"), made(records, "other")
    client, run = seen(folder)
    model = client.create_logged_model("1", "generator", run.info.run_id)
    client.create_registered_model("study")
    client.create_model_version("study", f"models:/{model.model_id}", model_id=model.model_id)
    outside = client.create_experiment("mine", "file:///elsewhere/artifacts")
    if before:
        in_the_form_of_before(folder)
        in_the_form_of_before(other)
    originals = files(records.root)
    place = Records(tmp_path / "elsewhere" / "records")
    (shutil.copytree if copied else shutil.move)(records.root, place.root)
    _artifact_repos_cache.clear()  # MLflow's, as in another process

    folder, other = RunFolder(place.runs / "run"), RunFolder(place.runs / "other")
    journal = Journal(folder)
    journal.image(2, "samples", np.ones((8, 8, 3), np.uint8))
    journal.close()
    assert Delivery(folder).deliver() == []
    client = MlflowClient(database_uri(place))
    assert folder.mlflow_run_ids() == [run.info.run_id]
    assert len(client.list_artifacts(run.info.run_id, "images")) == 4
    seen(other)
    assert client.get_experiment("1").artifact_location == place.artifacts.as_uri()
    assert client.get_logged_model(model.model_id).artifact_location.startswith(place.artifacts.as_uri() + "/models/")
    assert client.get_model_version_download_uri("study", "1").startswith(place.artifacts.as_uri() + "/models/")
    assert client.get_experiment(outside).artifact_location == "file:///elsewhere/artifacts"
    assert files(records.root) == originals if copied else not records.root.exists()


def test_a_run_of_another_host_gets_points_of_earlier_steps(records: Records) -> None:
    folder = made(records, "run")
    mark_restored(folder)
    journal = Journal(folder)
    journal.scalars(2, {"b": 0.7})  # which the other host has delivered
    journal.late_scalars(1, {"b": 0.25})
    journal.close()
    assert Delivery(folder).deliver() == []
    (run_id,) = folder.mlflow_run_ids()
    history = MlflowClient(database_uri(records)).get_metric_history(run_id, "b")
    assert sorted((point.step, point.value) for point in history) == [(1, 0.25), (2, 0.5)]


def test_runs_do_not_wait_for_a_server_in_turn(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(*_: object) -> None:
        raise AssertionError("a server is asked under a lock")

    monkeypatch.setattr(connection, "_creating", locked)
    client = MlflowClient(database_uri(records))  # in place of a server's
    first = connection.find_experiment(client, records, "http://127.0.0.1:9")
    assert connection.find_experiment(client, records, "http://127.0.0.1:9").experiment_id == first.experiment_id


@pytest.mark.parametrize(
    ("former", "here"), [("/a", "/a/b"), ("/a/b", "/a"), ("/a", "/ab"), ("/ab", "/a"), ("/a b", "/a%20b")]
)
def test_a_folder_may_move_into_itself_or_out(former: str, here: str, tmp_path: Path) -> None:
    before, now = Path(f"{tmp_path}{former}"), Path(f"{tmp_path}{here}")
    now.mkdir(parents=True)
    with opened(now / "mlflow.db") as connection:
        connection.execute("CREATE TABLE experiments (experiment_id, name, artifact_location)")
        connection.execute("CREATE TABLE experiment_tags (experiment_id, key)")
        for table in dict(PLACES[1:]):
            connection.execute(
                f"CREATE TABLE {table} ({', '.join(column for place, column in PLACES if place == table)})"
            )
        rows = [(1, "gan", (before / "artifacts").as_uri()), (2, "a", f"{before}/2"), (3, "b", "file:///b/artifacts")]
        rows.append((4, "c", (now / "artifacts" / "4").as_uri()))  # made here, before the others were put right
        connection.executemany("INSERT INTO experiments VALUES (?, ?, ?)", rows)
    assert relocate(now / "mlflow.db", copies=True) == [before]
    assert relocate(now / "mlflow.db", copies=True) == []
    with opened(now / "mlflow.db") as connection:
        places = [place for (place,) in connection.execute("SELECT artifact_location FROM experiments")]
    right = (now / "artifacts").as_uri()
    assert places == [right, f"{now}/2", "file:///b/artifacts", f"{right}/4"]


def database_lost(folder: RunFolder) -> None:
    folder.records.database.unlink()


def database_empty(folder: RunFolder) -> None:
    folder.records.database.unlink()
    connection.open_store(folder.records)


def collected(folder: RunFolder) -> None:
    """As `mlflow gc` does with a deleted run."""
    (run_id,) = folder.mlflow_run_ids()
    SqlAlchemyStore(database_uri(folder.records), folder.records.artifacts.as_uri())._hard_delete_run(run_id)


def files_lost(folder: RunFolder) -> None:
    shutil.rmtree(folder.records.artifacts)


def picture_lost(folder: RunFolder) -> None:
    (image,) = folder.records.artifacts.glob("*/artifacts/images/samples+step+1+*.png")
    image.unlink()
    next(image.parent.iterdir()).unlink()


def points_lost(folder: RunFolder) -> None:
    """As in a database from a backup."""
    with opened(folder.records.database) as connection:
        connection.execute("DELETE FROM metrics WHERE step = 2")


RUN_LOST = [database_lost, database_empty, collected]


@pytest.mark.parametrize(
    ("lose", "going_on"),
    [
        *((lose, True) for lose in RUN_LOST),
        *((lose, False) for lose in (collected, files_lost, picture_lost, points_lost)),
    ],
)
def test_what_the_store_lost_is_delivered_anew_and_once(
    lose: Callable[[RunFolder], None], going_on: bool, records: Records
) -> None:
    folder = made(records, "run")
    delivery = Delivery(folder)
    delivery.deliver()
    (first,) = folder.mlflow_run_ids()
    lose(folder)
    if going_on:  # the training, whose process had the store open
        journal = Journal(folder)
        journal.status(RunStatus.FINISHED)
        journal.close()
        assert delivery.deliver() == []
    for _ in range(2):
        assert Delivery(folder).deliver() == []
        seen(folder)
    assert (folder.mlflow_run_ids() == [first]) == (lose not in RUN_LOST)


def test_a_run_that_somebody_deleted_stays_deleted(records: Records) -> None:
    folder = made(records, "run")
    client, run = seen(folder)
    client.delete_run(run.info.run_id)
    restore = f"MLFLOW_TRACKING_URI='{database_uri(records)}' mlflow runs restore --run-id {run.info.run_id}"
    with pytest.raises(RunDeleted, match=rf"deleted \({re.escape(restore)} brings it back"):
        Delivery(folder).deliver()
    console = Console(record=True, width=1000, quiet=False)
    assert deliver(folder, console)
    assert f"run: left alone in {database_uri(records)}: MLflow's run is deleted" in console.export_text()
    client.restore_run(run.info.run_id)
    assert Delivery(folder).deliver() == []
    seen(folder)


def test_a_trial_gets_the_study_that_was_delivered_anew(records: Records, capsys: pytest.CaptureFixture[str]) -> None:
    study = made(records, "study")
    trial = made(records, "trial", study)
    assert [seen(trial)[1].data.tags["mlflow.parentRunId"]] == study.mlflow_run_ids()
    collected(study)
    assert sync.main(Sync(["trial"], RecordsConfig(str(records.root)))) == 0
    assert capsys.readouterr().out.count(f"delivered to {database_uri(records)}") == 2
    (parent,) = study.mlflow_run_ids()
    assert seen(trial)[1].data.tags["mlflow.parentRunId"] == parent
    for folder in (study, trial):
        collected(folder)
    with pytest.raises(RuntimeError, match="studies/study, which the run is part of, is not in MLflow yet"):
        Delivery(trial).deliver()


def test_a_champion_is_the_model_that_won_though_its_run_trained_on(records: Records) -> None:
    folder = made(records, "first")
    client, run = seen(folder)
    won, later = (
        client.create_logged_model("1", "generator", run.info.run_id, tags={"journal_time": str(time)})
        for time in (1, 2**60)
    )
    journal = Journal(folder)
    journal.winner("gan", "champion", "note")
    journal.close()
    for lost in (False, True):
        if lost:
            files_lost(folder)  # all is delivered anew
        Delivery(folder).deliver()
        version = client.get_model_version_by_alias("gan", "champion")
        assert (int(version.version), version.source) == (1, f"models:/{won.model_id}")
        assert version.source != f"models:/{later.model_id}"


def test_the_last_champion_stays_when_an_earlier_one_is_delivered_anew(records: Records) -> None:
    folders = [made(records, "first"), made(records, "second")]
    client, _ = seen(folders[0])
    for folder in folders:
        (run_id,) = folder.mlflow_run_ids()
        client.create_logged_model("1", "generator", run_id)
        journal = Journal(folder)
        journal.winner("gan", "champion", "note")
        journal.close()
        Delivery(folder).deliver()
    assert client.get_model_version_by_alias("gan", "champion").run_id == run_id
    files_lost(folders[0])
    Delivery(folders[0]).deliver()
    assert client.get_model_version_by_alias("gan", "champion").run_id == run_id
    client.delete_registered_model("gan")
    for folder in reversed(folders):
        Delivery(folder).deliver()
    assert client.get_model_version_by_alias("gan", "champion").run_id == run_id


def test_runs_are_delivered_with_the_records_that_they_are_of(
    records: Records, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, here = made(records, "run"), Records(tmp_path / "here")
    assert sync.main(Sync([str(folder.path)], RecordsConfig(str(here.root)))) == 0
    said = capsys.readouterr().out
    assert f"run: delivered to {database_uri(records)}" in said
    assert f"next     python experiments/ui.py 'records.root={records.root}'" in said
    assert not here.root.exists()


def test_what_fails_is_not_taken_for_delivered_where_mlflow_may_write_later(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_LOGGING", "true")
    folder = made(records, "run")
    journal = Journal(folder)
    journal.scalars(3, {"a": 3.0})
    journal.close()

    def refused(*_: object, **__: object) -> None:
        raise RuntimeError("locked")

    with monkeypatch.context() as patch:
        patch.setattr("mlflow.store.tracking.sqlalchemy_store.SqlAlchemyStore.log_batch", refused)
        with pytest.raises(RuntimeError, match="locked"):
            Delivery(folder).deliver()
    assert Delivery(folder).deliver() == []
    client = MlflowClient(database_uri(records))
    assert [point.step for point in client.get_metric_history(folder.mlflow_run_ids()[0], "a")] == [1, 2, 3]


def test_a_relative_database_is_one_place(
    records: Records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = made(records, "run")
    first, second = tmp_path / "first", tmp_path / "second"
    for place in (first, second):
        place.mkdir()
        monkeypatch.chdir(place)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///rel.db")
        fix_tracking_uri()
        monkeypatch.chdir(tmp_path)
        assert sync.main(Sync(["all"], RecordsConfig(str(records.root)))) == 0
        assert f"run: delivered to sqlite:///{place}/rel.db" in capsys.readouterr().out
        client = MlflowClient(f"sqlite:///{place}/rel.db")
        (run,) = client.search_runs(["1"])
        assert run.info.run_id == folder.mlflow_run_ids()[-1]
        assert run.info.artifact_uri.startswith(f"{place.as_uri()}/artifacts/")
    assert not (tmp_path / "rel.db").exists()
    assert json.loads(folder.delivery.read_text())["stores"].keys() == {
        "mlflow.db", f"sqlite:///{first}/rel.db", f"sqlite:///{second}/rel.db",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("address", "uri"),
    [
        ("sqlite:///rel.db", "sqlite:///{here}/rel.db"),
        (" sqlite:///./x/../rel.db\r\n", "sqlite:///{here}/rel.db"),
        ("sqlite+pysqlite:///a%20b.db?timeout=5", "sqlite:///{here}/a b.db?timeout=5"),
        ("sqlite:////abs/100%25.db", "sqlite:////abs/100%25.db"),
        ("sqlite:///~/x.db", "sqlite:///{home}/x.db"),
        ("https://me:secret@host:5000/mlflow/", "https://me:secret@host:5000/mlflow"),
        ("postgresql+psycopg2://host/runs", "postgresql+psycopg2://host/runs"),
        ("databricks", "databricks"),
        ("databricks://profile", "databricks://profile"),
    ],
)
def test_an_address_means_one_place(address: str, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    assert tracking_uri(Records(tmp_path)) == uri.format(here=tmp_path, home=Path.home())


@pytest.mark.parametrize("value", ["", " ", "\n"])
def test_an_empty_address_or_name_is_none(value: str, records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", value)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", value)
    assert tracking_uri(records) == database_uri(records)
    folder = made(records, "run")
    client, run = seen(folder)
    assert client.get_experiment(run.info.experiment_id).name == "gan"


WRONG = {
    "mlruns": "plain files", "./mlruns": "plain files", "file:/tmp/x": "plain files", "127.0.0.1:5000": "http://host:5000",
    "localhost:5000": "http://host:5000", "nonsense://x": "http://host:5000", "http://": "http://host:5000",
    "http://host:many": "http://host:5000", "sqlite://": "an SQLite file", "sqlite:///:memory:": "an SQLite file",
    "sqlite://rel.db": "an SQLite file", "sqlite:rel.db": "an SQLite file", "sqlite:////tmp": "/tmp is a folder",
}  # fmt: skip


@pytest.mark.parametrize(("address", "words"), WRONG.items())
def test_an_address_that_mlflow_cannot_use_is_one_line(
    address: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    with pytest.raises(ConfigError, match=rf"^MLFLOW_TRACKING_URI must be .*; got '{address}' \(") as raised:
        fix_tracking_uri()
    assert words in str(raised.value)


def test_a_wrong_address_is_said_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "mlruns")
    root = str(tmp_path / "r")
    place = RecordsConfig(root=root)
    for program in (
        lambda: run.main([f"records.root={root}", "data=embedded"]),
        lambda: run.main(["-m", "seed=0,1", f"records.root={root}", "data=embedded"]),
        lambda: optuna_search.main([f"records.root={root}", "data=embedded"]),
        lambda: sync.main(Sync(["all"], place)),
        lambda: evaluate.main(Evaluation(run="last", records=place)),
        lambda: compare.main(Comparison(run=["a", "b"], records=place)),
    ):
        with pytest.raises(ConfigError, match="MLFLOW_TRACKING_URI must be the address"):
            program()
    assert list(tmp_path.iterdir()) == []


def test_two_records_in_one_process_stay_apart(tmp_path: Path, mlflow_database: Path) -> None:
    for name in ("a", "b"):
        records = Records(tmp_path / name)
        records.root.mkdir()
        shutil.copy(mlflow_database, records.database)
        seen(made(records, "run"))
        assert "MLFLOW_TRACKING_URI" not in os.environ
