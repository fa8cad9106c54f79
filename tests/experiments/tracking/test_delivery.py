"""What arrives in MLflow, from a journal alone."""

import contextlib
import errno
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.store.tracking import sqlalchemy_store
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from rich.console import Console

from experiments.records.folders import Records, RunFolder, write_json
from experiments.records.journal import Journal, Scalars, Status, read
from experiments.records.overview import read_run
from experiments.records.status import FailureKind, RunStatus
from experiments.tracking import connection, run_writer, sync
from experiments.tracking.address import public, tracking_uri
from experiments.tracking.connection import UNFINISHED
from experiments.tracking.delivery import Delivery
from experiments.tracking.feeder import Feeder
from experiments.tracking.run_writer import artifact_link

FACTS = {
    "created": 1_700_000_000_000,
    "command": "python experiments/run.py",
    "params": {"model.bn_momentum": 0.8, "model.generator.bn_momentum": [0.78, 0.78], "data.path": None},
    "tags": {"dataset": "npz", "mlflow.note.content": "hello", "run_folder": "/somewhere/run"},
    "dataset": {"name": "npz", "description": "npz x", "sha256": "ab" * 32, "shape": [64, 32, 32, 3], "dtype": "uint8"},
}


@pytest.fixture
def records(tmp_path: Path, mlflow_database: Path) -> Records:
    records = Records(tmp_path / "root with space")
    records.root.mkdir()
    shutil.copy(mlflow_database, records.database)
    return records


@pytest.fixture
def folder(records: Records) -> RunFolder:
    folder = records.new_run("run", None)
    write_json(folder.facts, FACTS)
    return folder


@pytest.fixture
def journal(folder: RunFolder) -> Iterator[Journal]:
    journal = Journal(folder)
    yield journal
    journal.close()


def stored(records: Records, folder: RunFolder) -> tuple[MlflowClient, Run]:
    client = MlflowClient(tracking_uri(records))
    return client, client.get_run(folder.mlflow_run_ids()[-1])


def test_a_run_arrives_whole(records: Records, folder: RunFolder, journal: Journal) -> None:
    for step in range(0, 1500, 50):
        journal.scalars(step, {"train/d_loss": step / 2, "train/g_loss": float(step)})
    journal.image(0, "samples", np.full((8, 8, 3), 7, np.uint8))
    journal.image(250, "samples", np.full((8, 8, 3), 9, np.uint8))
    (folder.path / "plots").mkdir()
    (folder.path / "plots" / "losses.png").write_bytes(b"png")
    journal.artifact(folder.path / "plots" / "losses.png")
    journal.tags({"duration": "3 s"})
    journal.status(RunStatus.FINISHED)
    Delivery(folder).deliver()

    client, run = stored(records, folder)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "run"
    assert run.info.start_time == FACTS["created"]
    assert run.data.params == {k: str(v) for k, v in FACTS["params"].items()}  # type: ignore[attr-defined]
    assert run.data.tags["duration"] == "3 s"
    assert run.data.tags["mlflow.note.content"] == "hello"
    history = client.get_metric_history(run.info.run_id, "train/d_loss")
    assert [(m.step, m.value) for m in history] == [(s, s / 2) for s in range(0, 1500, 50)]
    images = sorted(
        Path(f.path).name for f in client.list_artifacts(run.info.run_id, "images") if f.path.endswith(".png")
    )
    assert [name.split("+")[:3] for name in images] == [["samples", "step", "0"], ["samples", "step", "250"]]
    assert [f.path for f in client.list_artifacts(run.info.run_id, "plots")] == ["plots/losses.png"]
    (dataset,) = run.inputs.dataset_inputs
    assert (dataset.dataset.name, dataset.dataset.digest) == ("npz", "abababab")
    assert dataset.tags[0].value == "training"


@pytest.mark.parametrize(
    ("facts", "profile"),
    [({"class_names": ["ship"]}, {"class_names": ["ship"]}), ({"class_names": []}, {}), ({}, {})],
    ids=["known", "unknown", "of_before"],
)
def test_the_data_set_has_class_names_where_they_are_known(
    facts: dict[str, object], profile: dict[str, object], records: Records, folder: RunFolder, journal: Journal
) -> None:
    write_json(folder.facts, {**FACTS, "dataset": {**FACTS["dataset"], **facts}})  # type: ignore[dict-item]
    Delivery(folder).deliver()
    (dataset,) = stored(records, folder)[1].inputs.dataset_inputs
    assert json.loads(dataset.dataset.profile) == {"num_images": 64, **profile, "sha256": "ab" * 32}


def test_a_name_that_is_not_utf8_reaches_mlflow_spelt_out(
    records: Records, folder: RunFolder, journal: Journal
) -> None:
    name = os.fsdecode(b"/b\xfccher")
    facts = {**FACTS, "params": {"data.path": name}, "tags": {**FACTS["tags"], "mlflow.note.content": f"of {name}"}}  # type: ignore[dict-item]
    facts["dataset"] = {**FACTS["dataset"], "description": f"folder {name}", "class_names": [name]}  # type: ignore[dict-item]
    write_json(folder.facts, facts)
    journal.tags({"failure": f"no {name}"})
    assert Delivery(folder).deliver() == []
    run = stored(records, folder)[1]
    assert run.data.params["data.path"] == r"/b\udcfccher"
    assert run.data.tags["mlflow.note.content"] == r"of /b\udcfccher"
    assert run.data.tags["failure"] == r"no /b\udcfccher"


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")  # Keras' own
def test_a_model_has_a_description_and_the_scores_of_its_step(
    records: Records, folder: RunFolder, journal: Journal
) -> None:
    from gan.models import build_generator, in_keras_layers

    in_keras_layers(build_generator(seed=0)).save(folder.generator)
    for step in (3, 6):
        journal.scalars(step, {"train/d_loss": step / 2})
    journal.scalars(6, {"final/fid_proxy": 7.5})
    journal.model(folder.generator)
    Delivery(folder).deliver()
    client, run = stored(records, folder)
    (model,) = client.search_logged_models([run.info.experiment_id])
    assert {m.key: (m.step, m.value) for m in model.metrics} == {"train/d_loss": (6, 3.0), "final/fid_proxy": (6, 7.5)}
    assert "Latents (N, 100)" in model.tags["mlflow.note.content"]
    (output,) = run.outputs.model_outputs
    assert (output.model_id, output.step) == (model.model_id, 6)
    # The model's metrics are the run's own, not more of them.
    assert [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, "train/d_loss")] == [(3, 1.5), (6, 3)]


def test_of_a_run_that_trained_on_only_the_generator_that_is_there_is_delivered(
    records: Records, folder: RunFolder, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[tuple[bytes, int]] = []
    monkeypatch.setattr(
        "experiments.tracking.run_writer.log_model", lambda file, *_: logged.append((file.read_bytes(), _[-1]))
    )
    for step in (1000, 2000):  # MLflow was away at the first end
        folder.generator.write_bytes(b"of step %d" % step)
        journal.scalars(step, {"final/fid_proxy": 7.5})
        journal.model(folder.generator)
        time.sleep(0.01)
    Delivery(folder).deliver()
    assert logged == [(b"of step 2000", 2000)]


def test_a_resume_ends_what_mlflow_says_of_a_failure(records: Records, folder: RunFolder, journal: Journal) -> None:
    journal.failure(FailureKind.RECORDS, "No space left on device", 7)
    journal.status(RunStatus.FAILED)
    Delivery(folder).deliver()
    tags = ("failure", "failure_kind", "failed_step")
    assert [stored(records, folder)[1].data.tags.get(tag) for tag in tags] == [
        "No space left on device",
        "records",
        "7",
    ]
    journal.status(RunStatus.RUNNING)
    journal.status(RunStatus.FINISHED)
    Delivery(folder).deliver()
    assert not set(tags) & stored(records, folder)[1].data.tags.keys()
    assert not set(tags) & read_run(folder).tags.keys()


def test_a_store_can_be_opened_before_any_run_and_again(tmp_path: Path) -> None:
    records = Records(tmp_path / "new")
    place = connection.open_store(records)
    assert place == "/#/experiments/1/runs?viewStateShareKey=scores&workflowType=machine_learning"
    client = MlflowClient(tracking_uri(records))
    made = client.get_experiment("1")
    assert "lower is better" in made.tags["mlflow.note.content"].splitlines()[0]
    state = json.loads(json.loads(made.tags["mlflow.sharedViewState.scores"])["state"])
    assert "metrics.`final/fid_proxy`" in state["selectedColumns"]

    assert "params.`optim.learning_rate`" in state["selectedColumns"]
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`final/fid_proxy`", True)
    for name, rate in (("a", "1e-4"), ("b", "2e-4")):
        run = client.create_run("1", run_name=name)
        for key, value in {"optim.learning_rate": rate, "seed": rate, "model.dropout": "0.25"}.items():
            client.log_param(run.info.run_id, key, value)

    client.set_experiment_tag("1", "mlflow.note.content", "my own")
    client.delete_experiment_tag("1", "mlflow.sharedViewState.scores")
    assert connection.open_store(records) == place
    again = client.get_experiment("1").tags
    assert again["mlflow.note.content"] == "my own"
    state = json.loads(json.loads(again["mlflow.sharedViewState.scores"])["state"])
    assert [column for column in state["selectedColumns"] if "param" in column] == ["params.`optim.learning_rate`"]

    client.delete_experiment("1")
    assert connection.open_store(records) == "/#/experiments?workflowType=machine_learning"


def test_one_killed_while_it_makes_the_database_leaves_none(
    records: Records, folder: RunFolder, journal: Journal
) -> None:
    code = """
import os, sys
from alembic.ddl.impl import DefaultImpl
from experiments.records.folders import Records
from experiments.tracking.connection import open_store
execute = DefaultImpl._exec
def killed_in_the_middle_of_a_migration(self, construct, *arguments, **options):
    if getattr(getattr(construct, "element", None), "name", None) == "trace_tags":
        os._exit(9)
    return execute(self, construct, *arguments, **options)
DefaultImpl._exec = killed_in_the_middle_of_a_migration
open_store(Records.at(sys.argv[1]))
"""
    records.database.unlink()
    killed = subprocess.run([sys.executable, "-c", code, str(records.root)], cwd=ROOT, timeout=120)
    assert killed.returncode == 9
    assert [file.name[: len(UNFINISHED)] for file in records.root.glob("*.db")] == [UNFINISHED]
    kept = records.root / "mlflow.db.bak"  # somebody's own
    kept.touch()

    journal.scalars(1, {"train/d_loss": 1.0})
    assert Delivery(folder).deliver() == []
    assert stored(records, folder)[1].data.metrics == {"train/d_loss": 1.0}
    assert sorted(file.name for file in records.root.glob("*mlflow*")) == ["mlflow.db", "mlflow.db.bak", "mlflow.lock"]


def test_runs_go_where_the_store_was_opened(records: Records, folder: RunFolder, journal: Journal) -> None:
    connection.open_store(records)
    journal.image(1, "samples", np.zeros((8, 8, 3), np.uint8))
    Delivery(folder).deliver()
    client, run = stored(records, folder)
    assert run.info.experiment_id == "1"
    assert run.info.artifact_uri.startswith(records.artifacts.as_uri())
    assert len(client.search_experiments()) == 2  # and MLflow's own, Default


def test_nothing_is_delivered_twice(records: Records, folder: RunFolder, journal: Journal) -> None:
    journal.scalars(1, {"a": 1.0})
    journal.image(1, "samples", np.zeros((8, 8, 3), np.uint8))
    first = Delivery(folder)
    first.deliver()
    first.deliver()
    offset = first._state["offset"]
    # The process is killed after MLflow took the last batch and before the note of it.
    for lost in (0, offset // 2):
        first._state["offset"] = 0 if lost == 0 else next(o for _, o in read(folder.journal, 0))
        first._save()
        journal.scalars(2 if lost == 0 else 3, {"a": 2.0})
        Delivery(folder).deliver()
    client, run = stored(records, folder)
    assert [m.step for m in client.get_metric_history(run.info.run_id, "a")] == [1, 2, 3]
    assert len(client.list_artifacts(run.info.run_id, "images")) == 2  # the image and its thumbnail
    assert len(client.search_runs([run.info.experiment_id])) == 1


def test_a_feeder_keeps_up_and_a_resumed_run_goes_on(records: Records, folder: RunFolder, journal: Journal) -> None:
    feeder = Feeder(folder)
    feeder.start()
    journal.scalars(1, {"a": 1.0})
    journal.status(RunStatus.KILLED)
    assert feeder.finish(60)
    run_id = folder.mlflow_run_ids()[-1]
    assert stored(records, folder)[1].info.status == "KILLED"

    journal.status(RunStatus.RUNNING)
    again = Feeder(folder)
    again.start()
    journal.scalars(2, {"a": 2.0})
    journal.status(RunStatus.FINISHED)
    assert again.finish(60)
    client, run = stored(records, folder)
    assert (run.info.run_id, run.info.status) == (run_id, "FINISHED")
    assert [m.step for m in client.get_metric_history(run.info.run_id, "a")] == [1, 2]


def test_a_paused_trial_waits_and_a_pruned_one_was_killed(
    records: Records, folder: RunFolder, journal: Journal
) -> None:
    for state, expected in (("PAUSED", "SCHEDULED"), ("PRUNED", "KILLED"), ("PAUSED", "SCHEDULED")):
        journal.status(RunStatus.RUNNING)
        journal.tags({"optuna.trial_state": state})
        journal.status(RunStatus.KILLED)
        feeder = Feeder(folder)
        feeder.start()
        assert feeder.finish(60)
        assert stored(records, folder)[1].info.status == expected
    journal.status(RunStatus.FINISHED)  # as it was promoted, with the tag of its end still to come
    feeder = Feeder(folder)
    feeder.start()
    assert feeder.finish(60)
    assert stored(records, folder)[1].info.status == "FINISHED"


def test_an_absent_server_stops_nothing_and_loses_nothing(
    records: Records, folder: RunFolder, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # nobody listens there
    feeder = Feeder(folder)
    feeder.start()
    journal.scalars(1, {"a": 1.0})
    journal.status(RunStatus.FINISHED)
    assert not feeder.finish(30)
    assert feeder.problem
    assert folder.mlflow_run_ids() == []

    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    Delivery(folder).deliver()
    client, run = stored(records, folder)
    assert run.info.status == "FINISHED"
    assert [m.value for m in client.get_metric_history(run.info.run_id, "a")] == [1.0]


def test_scalars_go_in_requests_that_mlflow_takes(folder: RunFolder, journal: Journal) -> None:
    for step in range(1200):
        journal.scalars(step, {"a": 1.0, "b": 2.0})
    journal.status(RunStatus.FINISHED)
    batches = [batch for batch, _ in run_writer.batches_of(folder.journal, 0)]
    sizes = [sum(len(r.values) for r in batch if isinstance(r, Scalars)) for batch in batches[:-1]]
    assert max(sizes) <= 1000
    assert sum(sizes) == 2400
    assert isinstance(batches[-1][0], Status)


class Flaky:
    """An MLflow client whose call `name` fails once, after it was carried out or before."""

    def __init__(self, client: MlflowClient, name: str, after: bool, failed: list[str]) -> None:
        self._client, self._name, self._after, self._failed = client, name, after, failed

    def __getattr__(self, name: str) -> object:
        call = getattr(self._client, name)
        if name != self._name or self._failed:
            return call

        def fail(*arguments: object, **keywords: object) -> None:
            self._failed.append(name)
            if self._after:
                call(*arguments, **keywords)
            raise ConnectionError("the answer was lost")

        return fail


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("call", ["create_run", "log_batch", "log_inputs", "log_image", "set_terminated"])
def test_a_request_that_fails_once_loses_and_doubles_nothing(
    call: str, after: bool, records: Records, folder: RunFolder, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    real = mlflow.MlflowClient
    failed: list[str] = []
    monkeypatch.setattr(mlflow, "MlflowClient", lambda uri: Flaky(real(uri), call, after, failed))
    journal.scalars(1, {"a": 1.0})
    journal.image(1, "samples", np.zeros((8, 8, 3), np.uint8))
    journal.status(RunStatus.FINISHED)
    delivery = Delivery(folder)
    try:
        delivery.deliver()
    except ConnectionError:
        assert call != "log_image"
    delivery.deliver()
    assert failed == [call]
    client = real(tracking_uri(records))
    (run,) = client.search_runs([str(delivery._state["experiment_id"])])
    assert run.info.status == "FINISHED"
    assert run.data.params["model.bn_momentum"] == "0.8"
    assert len(run.inputs.dataset_inputs) == 1
    assert [m.step for m in client.get_metric_history(run.info.run_id, "a")] == [1]
    assert len(client.list_artifacts(run.info.run_id, "images")) == 2


def test_two_runs_that_enter_the_same_images_at_once_both_do(
    records: Records, folder: RunFolder, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = records.new_run("other", None)
    write_json(other.facts, FACTS)
    Journal(other).close()
    enter = SqlAlchemyStore._log_inputs_impl
    between: list[str] = []

    def uuid4() -> uuid.UUID:  # MLflow has looked for the images in vain, and is about to insert them
        monkeypatch.undo()
        between.append("other")
        Delivery(other).deliver()
        return uuid.uuid4()

    def enter_late(*args: object) -> None:
        monkeypatch.setattr(sqlalchemy_store, "uuid", SimpleNamespace(uuid4=uuid4))
        enter(*args)

    monkeypatch.setattr(SqlAlchemyStore, "_log_inputs_impl", enter_late)
    Delivery(folder).deliver()
    assert between == ["other"]
    entries = [stored(records, of)[1].inputs.dataset_inputs for of in (folder, other)]
    assert entries[0][0].dataset == entries[1][0].dataset
    assert [len(inputs) for inputs in entries] == [1, 1]


def test_a_run_whose_process_died_when_it_was_created_is_found(
    records: Records, folder: RunFolder, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    real = mlflow.MlflowClient
    monkeypatch.setattr(mlflow, "MlflowClient", lambda uri: Flaky(real(uri), "create_run", True, []))
    journal.status(RunStatus.FINISHED)
    with pytest.raises(ConnectionError):
        Delivery(folder).deliver()
    monkeypatch.setattr(mlflow, "MlflowClient", real)
    Delivery(folder).deliver()
    client, run = stored(records, folder)
    assert len(client.search_runs([run.info.experiment_id])) == 1
    assert run.info.status == "FINISHED"


def test_a_record_that_cannot_be_delivered_holds_nothing_up(
    records: Records, folder: RunFolder, journal: Journal
) -> None:
    file = folder.path / "samples.gif"
    file.write_bytes(b"gif")
    journal.artifact(file)
    journal.status(RunStatus.FINISHED)
    file.unlink()
    (line,) = Delivery(folder).deliver()
    assert line.startswith("samples.gif: ")
    assert stored(records, folder)[1].info.status == "FINISHED"
    file.write_bytes(b"gif")  # it is back
    assert Delivery(folder).deliver() == []
    client, run = stored(records, folder)
    assert "samples.gif" in [f.path for f in client.list_artifacts(run.info.run_id)]


def test_each_server_gets_the_whole_run(
    records: Records, folder: RunFolder, journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.scalars(1, {"a": 1.0})
    Delivery(folder).deliver()
    other = f"sqlite:///{tmp_path / 'other.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", other)
    journal.scalars(2, {"a": 2.0})
    Delivery(folder).deliver()
    first, second = folder.mlflow_run_ids()
    assert [m.step for m in MlflowClient(other).get_metric_history(second, "a")] == [1, 2]
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    Delivery(folder).deliver()
    assert [m.step for m in MlflowClient(tracking_uri(records)).get_metric_history(first, "a")] == [1, 2]


def test_damaged_records_are_no_process_that_is_at_them(records: Records, folder: RunFolder, journal: Journal) -> None:
    journal.status(RunStatus.RUNNING)
    folder.journal.write_text("nothing\n" + folder.journal.read_text())
    console = Console(record=True, width=300)
    assert not sync.deliver(folder, console)
    assert "run: not delivered to sqlite:" in (said := console.export_text())
    assert "the line at byte 0 is not a record of a run" in " ".join(said.split())


def test_a_deleted_experiment_is_named_with_the_remedy(records: Records, folder: RunFolder, journal: Journal) -> None:
    journal.scalars(1, {"a": 1.0})
    Delivery(folder).deliver()
    client, run = stored(records, folder)
    client.delete_experiment(run.info.experiment_id)
    another = records.new_run("another", None)
    write_json(another.facts, FACTS)
    with pytest.raises(
        RuntimeError, match=r"'gan' is deleted \(MLFLOW_TRACKING_URI='sqlite:.*' mlflow experiments restore -x 1"
    ):
        Delivery(another).deliver()


def test_scores_arrive_with_four_digits_and_losses_whole(records: Records, folder: RunFolder, journal: Journal) -> None:
    journal.scalars(1, {"final/fid_proxy": 112.596160301, "eval/fid_proxy": 0.0698712, "train/d_loss": 0.6931471805})
    Delivery(folder).deliver()
    metrics = stored(records, folder)[1].data.metrics
    assert metrics == {"final/fid_proxy": 112.6, "eval/fid_proxy": 0.06987, "train/d_loss": 0.6931471805}


def test_a_description_links_the_files_of_its_own_run(records: Records, folder: RunFolder, journal: Journal) -> None:
    journal.tags({"mlflow.note.content": f"![a]({artifact_link('plots/a b.png')})", "other": "{run_id}"})
    Delivery(folder).deliver()
    run = stored(records, folder)[1]
    link = f"get-artifact?path=plots%2Fa%20b.png&run_uuid={run.info.run_id}"
    assert run.data.tags["mlflow.note.content"] == f"![a]({link})"
    assert run.data.tags["other"] == "{run_id}"


def test_passwords_are_not_shown(folder: RunFolder, journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    assert public("at https://me:secret@host:5000/x") == "at https://host:5000/x"
    assert public("http://me:sec@ret@host:5000/x") == "http://host:5000/x"
    assert public("sqlite:////a/b@c.db") == "sqlite:////a/b@c.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    feeder = Feeder(folder)
    feeder.start()
    journal.status(RunStatus.FINISHED)
    assert not feeder.finish(30)
    assert "127.0.0.1:9" in str(feeder.problem)
    assert "secret" not in str(feeder.problem)
    assert "http://127.0.0.1:9" in feeder.delivery._stores  # what is kept in tracking.json
    assert not any("secret" in f.read_text() or "me:" in f.read_text() for f in folder.path.rglob("*") if f.is_file())


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"stores": 3}', '{"stores": {"x": {}}}'])
def test_a_lost_note_of_what_was_delivered_doubles_nothing(
    damage: str, records: Records, folder: RunFolder, journal: Journal
) -> None:
    journal.scalars(1, {"a": 1.0})
    journal.image(1, "samples", np.zeros((8, 8, 3), np.uint8))
    Delivery(folder).deliver()
    (run_id,) = folder.mlflow_run_ids()
    folder.delivery.write_text(damage)
    assert folder.mlflow_run_ids() == []
    journal.scalars(2, {"a": 2.0})
    Delivery(folder).deliver()
    assert folder.mlflow_run_ids() == [run_id]
    client, run = stored(records, folder)
    assert [m.step for m in client.get_metric_history(run_id, "a")] == [1, 2]
    assert len(client.list_artifacts(run_id, "images")) == 2
    assert len(client.search_runs([run.info.experiment_id])) == 1


def test_what_a_database_refuses_is_one_line_and_no_trace(
    records: Records,
    folder: RunFolder,
    journal: Journal,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connection.open_store(records)
    with contextlib.closing(sqlite3.connect(records.database)) as database:
        database.execute(
            "CREATE TRIGGER full BEFORE INSERT ON runs BEGIN SELECT RAISE(FAIL, 'database or disk is full'); END"
        )
    with pytest.raises(Exception, match="disk is full") as caught:
        Delivery(folder).deliver()
    assert capfd.readouterr().err == ""
    assert sync.reason(caught.value, records) == "database or disk is full"
    refused = PermissionError(errno.EACCES, "Permission denied", str(folder.path / ".lock"))
    assert sync.reason(refused, records).startswith(f"Permission denied: {folder.path / '.lock'} (")
    away = ConnectionError("[Errno 111] Connection refused")
    assert sync.reason(away, records, "http://me:secret@away:1") == "[Errno 111] Connection refused at http://away:1"
    late = OSError("HTTPConnectionPool(host='away', port=1): Read timed out. (read timeout=10)")
    assert sync.reason(late, records, "http://me:secret@away:1") == "no answer in time from http://away:1"
    monkeypatch.setattr(os, "access", lambda place, mode: mode == os.F_OK)  # root may write all files
    words = f"database or disk is full: {records.database} (it belongs to "
    assert sync.reason(caught.value, records).startswith(words)


def test_a_copy_whose_journal_is_shorter_than_its_note_is_delivered_on(
    records: Records, folder: RunFolder, journal: Journal
) -> None:
    """As where records were copied while a run trained: the journal first, the note later."""
    journal.scalars(1, {"a": 1.0})
    copied = folder.journal.read_bytes()
    for step in (2, 3):
        journal.scalars(step, {"a": float(step)})
    Delivery(folder).deliver()
    journal.close()
    folder.journal.write_bytes(copied)
    resumed = Journal(folder)
    resumed.tags({"resumed_from_step": "1"})  # from here on no record ends where one did
    for step in (2, 3, 4):
        resumed.scalars(step, {"a": float(step)})
    resumed.close()
    Delivery(folder).deliver()
    client, run = stored(records, folder)
    points = {point.step: point.value for point in client.get_metric_history(run.info.run_id, "a")}
    assert points == {1: 1.0, 2: 2.0, 3: 3.0, 4: 4.0}


def test_what_a_person_writes_above_a_run_stays(records: Records, folder: RunFolder, journal: Journal) -> None:
    def described() -> str:
        return str(stored(records, folder)[1].data.tags["mlflow.note.content"])

    journal.tags({"mlflow.note.content": "score 20"})
    Delivery(folder).deliver()
    client, run = stored(records, folder)
    client.set_tag(run.info.run_id, "mlflow.note.content", "mine above\n\nscore 20\n\nmine below")
    journal.tags({"mlflow.note.content": "score 10"})
    Delivery(folder).deliver()
    assert described() == "mine above\n\nscore 10\n\nmine below"
    folder.delivery.unlink()  # all is delivered again
    Delivery(folder).deliver()
    assert described() == "mine above\n\nscore 10\n\nmine below"
    client.set_tag(run.info.run_id, "mlflow.note.content", "all mine")
    journal.tags({"mlflow.note.content": "score 5"})
    Delivery(folder).deliver()
    assert described() == "all mine"
