"""Bring a run's records to MLflow, whatever of them it has already."""

import errno
import json
import logging
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL.Image import open as open_image
from rich.console import Console

from experiments.cli.stderr import native_stderr_to
from experiments.cli.terminal import printable
from experiments.records import journal
from experiments.records.folders import Records, RunFolder, read_json, write_json
from experiments.records.journal import Artifact, Image, Model, Scalars, Status, Tags, Winner
from experiments.records.status import RunStatus
from experiments.tracking.address import (
    database_uri,
    public,
    sqlite_file,
    tracking_uri,
)
from experiments.tracking.connection import RunDeleted
from experiments.tracking.delivered import Delivered
from experiments.tracking.ui_address import ui_address
from gan import metric_names
from gan.errors import ConfigError, explained, first_line

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
from experiments.tracking.connection import OWN, WORKFLOW, check_experiment, connect, find_experiment, get_run, is_gone
from experiments.tracking.models import has_version, is_whole, log_model, models_at, register_version

PARENT = "mlflow.parentRunId"
BATCH = 1000  # metrics a request, MLflow's limit
REFUSALS = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # MLflow's codes, of a run that is gone or deleted

_log = logging.getLogger(__name__)


class Delivery:
    """Delivers what a run's journal holds beyond what MLflow has already.

    It keeps a state for each server: the run's id there, the offset in the journal up to which all is delivered, and
    the records that the server refused.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._uri = tracking_uri(folder.records)
        self._stores, damaged = _read_stores(folder.delivery)
        key = public(self._uri)
        if sqlite_file(self._uri) == folder.records.database:
            if key in self._stores:  # as an earlier version has it
                self._stores.setdefault(OWN, self._stores.pop(key))
            key = OWN
        self._state = self._stores.setdefault(key, {"offset": 0, "refused": []})
        self._client: MlflowClient | None = None
        self._last_steps: dict[str, int] = {}  # by metric, of a run that was started on another host
        # The last delivery may have broken off half-way, or the note of it is lost.
        self._retrying = damaged or "run_id" in self._state

    @property
    def run_id(self) -> str | None:
        """Return the run's id in MLflow; None as long as the run is not there."""
        return self._state.get("run_id")

    @property
    def url(self) -> str | None:
        """Return the run's address in the UI, the server's or that of `make ui`; None before the run is in MLflow."""
        if self.run_id is None:
            return None
        sqlite = self._uri.startswith("sqlite")
        server = ui_address(self._folder.records) if sqlite else public(self._uri)
        return f"{server}/#/experiments/{self._state['experiment_id']}/runs/{self.run_id}?{WORKFLOW}"

    def deliver(self, again: bool = True) -> list[str]:
        """Bring MLflow up to date with the journal.

        Args:
            again: whether records that were refused before are tried once more.

        Returns:
            One line for each record that MLflow refused.

        Raises:
            RunDeleted: if the run is in MLflow's trash.
            Exception: what MLflow, its database or the network raise if MLflow cannot be reached.
        """
        try:
            return self._deliver_rest(again)
        except Exception as error:  # of whatever is between here and there: what may be the run's is looked at below
            self._retrying = True
            if getattr(error, "error_code", None) not in REFUSALS:
                raise
        self._client = None  # the run may be gone since the last look
        return self._deliver_rest(again)

    def _deliver_rest(self, again: bool) -> list[str]:
        client = self._connect()
        refused = self._state["refused"]
        for line in list(refused) if again else []:
            self._deliver(client, [journal.from_json(line)])
            refused.remove(line)  # refused anew, it stands at the end as well
            self._save()
        for records, offset in _batches(self._folder.journal, self._state["offset"]):
            self._deliver(client, records)
            self._state["offset"] = offset
            self._save()
        return [f"{_name(journal.from_json(line))}: {line['refused']}" for line in refused]

    def _deliver(self, client: "MlflowClient", records: list[journal.Record]) -> None:
        """One batch of scalars, or one other record; a refusal of that record alone holds nothing up."""
        try:
            if isinstance(records[0], Scalars):
                self._scalars(client, [record for record in records if isinstance(record, Scalars)])
            else:
                self._one(client, records[0])
        except Exception as error:  # of this record, or of the server: ask it
            if not isinstance(records[0], Image | Artifact | Model | Winner):
                raise
            client.get_run(self._state["run_id"])
            self._retrying = True
            _log.warning("%s is not delivered: %s", _name(records[0]), public(str(error)))
            self._state["refused"].append({**journal.to_json(records[0]), "refused": public(first_line(error))})

    def _save(self) -> None:
        write_json(self._folder.delivery, {"stores": self._stores})

    def _connect(self) -> "MlflowClient":
        """A client of the store, which has the run, as far as it was delivered or from the start."""
        if self._client is None or is_gone(sqlite_file(self._uri)):
            client = connect(self._folder.records, self._uri)
            facts = printable(read_json(self._folder.facts))
            run = self._find(client)
            if run is not None:
                self._check(client, run, facts)
            else:
                self._state.clear()
                self._state.update(offset=0, refused=[], experiment_id=self._experiment_id(client))
            if not self._state.get("described"):
                self._describe(client, facts)
            self._save()
            self._client = client
        return self._client

    def _find(self, client: "MlflowClient") -> "Run | None":
        """Return the run in the store, or None. A state under another address of the store becomes that of this one."""
        others = [(key, state) for key, state in self._stores.items() if state is not self._state]
        for key, state in [("", self._state), *others]:
            run = get_run(client, state["run_id"]) if "run_id" in state else None
            if run is not None:
                if state is not self._state:
                    self._state.clear()
                    self._state.update(self._stores.pop(key))
                return run
        return None

    def _check(self, client: "MlflowClient", run: "Run", facts: dict[str, Any]) -> None:
        """Deliver all of the journal again to a store that lacks some of it. Raises RunDeleted."""
        run_id, experiment_id = run.info.run_id, run.info.experiment_id
        if run.info.lifecycle_stage == "deleted":
            check_experiment(client.get_experiment(experiment_id))
            raise RunDeleted(f"MLflow's run is deleted (mlflow runs restore --run-id {run_id} brings it back)")
        self._state["experiment_id"] = experiment_id
        study = self._study(client, facts)
        if study is not None and run.data.tags.get(PARENT) != study.info.run_id:
            client.set_tag(run_id, PARENT, study.info.run_id)
        if not self._state.get("restored") and self._lacks(client, run):  # a restored run was delivered elsewhere
            self._state.update(offset=0, refused=[], described=False)
            self._retrying = True

    def _lacks(self, client: "MlflowClient", run: "Run") -> bool:
        """Return whether anything that was delivered is not in the store any more."""
        if not self._state["offset"]:
            return False
        run_id, experiment_id = run.info.run_id, run.info.experiment_id
        had = Delivered.of(self._folder.journal, self._state["offset"], self._state["refused"])
        return not (
            had.metrics <= run.data.metrics.keys()
            and _has_point(client, run_id, had.newest)
            and _has_files(client, run_id, had)
            and all(
                any(is_whole(client, model) for model in models_at(client, run_id, experiment_id, time))
                for time in had.models
            )
            and all(has_version(client, run_id, name) for name in had.champion_of)
        )

    def _experiment_id(self, client: "MlflowClient") -> str:
        experiment = find_experiment(client, self._folder.records, self._uri)
        check_experiment(experiment)
        return str(experiment.experiment_id)

    def _describe(self, client: "MlflowClient", facts: dict[str, Any]) -> None:
        """Create the run with the facts that stand from its start; all of this can be repeated."""
        from mlflow.entities import DatasetInput, InputTag, Param

        experiment_id = self._state["experiment_id"]
        if "run_id" not in self._state:
            # If a run was created but the answer, or the state of it, was lost, its tag run_folder finds it.
            mine = (
                f"tags.run_folder = '{facts['tags']['run_folder']}'" if "'" not in facts["tags"]["run_folder"] else None
            )
            known = client.search_runs([experiment_id], mine) if mine else []
            known = [run for run in known if run.info.start_time == facts["created"]]
            if known:
                self._retrying = True
            name, tags = facts.get("title", self._folder.name), {**facts["tags"], **self._parent(client, facts)}
            run = known[0] if known else client.create_run(
                experiment_id, start_time=facts["created"], tags=tags, run_name=name
            )  # fmt: skip
            self._state["run_id"] = run.info.run_id
            self._save()
        run_id = self._state["run_id"]
        client.log_batch(run_id, params=[Param(k, str(v)) for k, v in facts["params"].items()])
        inputs = DatasetInput(_dataset(facts["dataset"]), [InputTag("mlflow.data.context", "training")])
        client.log_inputs(run_id, [inputs])
        self._state["described"] = True

    def _parent(self, client: "MlflowClient", facts: dict[str, Any]) -> dict[str, str]:
        """MLflow's tag for a run of a study. Raises RuntimeError as long as the study itself is not there."""
        if "parent" not in facts:
            return {}
        study = self._study(client, facts)
        if study is None:
            raise RuntimeError(f"{facts['parent']}, which the run is part of, is not in MLflow yet")
        return {PARENT: study.info.run_id}

    def _study(self, client: "MlflowClient", facts: dict[str, Any]) -> "Run | None":
        """The run of the study that this one is part of, if that is in the store."""
        if "parent" not in facts:
            return None
        return Delivery(RunFolder(self._folder.records.root / facts["parent"]))._find(client)

    def _scalars(self, client: "MlflowClient", records: list[Scalars]) -> None:
        from mlflow.entities import Metric

        points = [Metric(key, value, r.time, r.step) for r in records for key, value in r.values.items()]
        if self._state.get("restored"):  # the former host may have delivered more than its snapshot has
            points = [point for point in points if point.step > self._delivered(client, point.key)]
        client.log_batch(self.run_id, metrics=points)

    def _delivered(self, client: "MlflowClient", key: str) -> int:
        """The last step of a metric when the run came to this host."""
        if key not in self._last_steps:
            history = client.get_metric_history(self._state["run_id"], key)
            self._last_steps[key] = max((point.step for point in history), default=-1)
        return self._last_steps[key]

    def _one(self, client: "MlflowClient", record: journal.Record) -> None:
        run_id = self._state["run_id"]
        match record:
            case Image():
                self._image(client, run_id, record)
            case Artifact(file=file):
                folder = Path(file).parent.as_posix()
                client.log_artifact(run_id, self._folder.path / file, None if folder == "." else folder)
            case Model():
                self._model(client, run_id, record)
            case Winner(time, name, alias, note):
                register_version(client, run_id, self._state["experiment_id"], name, alias, printable(note), time)
            case Tags(tags=tags):
                for key, value in printable(tags).items():
                    client.set_tag(run_id, key, value)
            case Status(status=RunStatus.RUNNING):
                client.update_run(run_id, RunStatus.RUNNING.value)
            case Status(time, status):
                client.set_terminated(run_id, status.value, time)

    def _model(self, client: "MlflowClient", run_id: str, record: Model) -> None:
        file, experiment_id, time = self._folder.path / record.file, self._state["experiment_id"], record.time
        known = models_at(client, run_id, experiment_id, time) if self._retrying else []
        if any(is_whole(client, model) for model in known):
            return
        scores = client.get_metric_history(run_id, metric_names.FINAL_FID_PROXY)
        log_model(file, run_id, experiment_id, time, scores[-1].step if scores else 0)
        for model in known:  # nobody could load it
            client.delete_logged_model(model.model_id)

    def _image(self, client: "MlflowClient", run_id: str, record: Image) -> None:
        if self._retrying and (record.key, record.step) in _images(client, run_id):
            return
        with open_image(self._folder.path / record.file) as pixels:
            client.log_image(
                run_id,
                np.asarray(pixels),
                key=record.key,
                step=record.step,
                timestamp=record.time,
                synchronous=True,
            )


def mark_restored(run: RunFolder) -> bool:
    """Note in a run's state of deliveries that another host made them; return False where there is no such state."""
    stores, damaged = _read_stores(run.delivery)
    for state in stores.values():
        state["restored"] = True
    write_json(run.delivery, {"stores": stores})
    return bool(stores) and not damaged


def send_file(run: RunFolder, file: Path, place: str) -> bool:
    """Upload a file to the artifacts of a run, over an earlier one of its name.

    Args:
        run: the run's folder.
        file: the file.
        place: its folder among the artifacts.

    Returns:
        Whether MLflow has it. A failure is logged and not raised.
    """
    run_id = Delivery(run).run_id
    if run_id is None:
        return False
    try:
        connect(run.records, tracking_uri(run.records)).log_artifact(run_id, file, place)
    except Exception as error:  # whatever MLflow, its database or the network raise: training goes on
        _log.warning("%s is not uploaded: %s", file.name, public(first_line(error)))
        return False
    return True


def fetch_file(records: Records, run_id: str, artifact: str) -> bytes | None:
    """Download an artifact of a run.

    Args:
        records: whose MLflow is asked.
        run_id: of MLflow.
        artifact: path of the file among the run's artifacts.

    Returns:
        The file's content; None if it is not there or MLflow cannot be reached, which is logged and not raised.
    """
    try:
        client = connect(records, tracking_uri(records))
        with tempfile.TemporaryDirectory() as folder:
            return Path(client.download_artifacts(run_id, artifact, folder)).read_bytes()
    except Exception as error:  # whatever MLflow, its database or the network raise: it is done without
        _log.warning("%s is not fetched: %s", artifact, public(first_line(error)))
        return None


def give_up_run(records: Records, run_id: str, note: str) -> None:
    """End a run in MLflow as failed, as its host will not: its trial is requeued and gets another run.

    A failure is logged and not raised.

    Args:
        records: whose MLflow has it.
        run_id: of MLflow.
        note: where the trial is resumed from; the tag `taken_up` gets it.
    """
    try:
        client = connect(records, tracking_uri(records))
        client.set_tag(run_id, "optuna.trial_state", "FAIL")
        client.set_tag(run_id, "taken_up", note)
        client.set_terminated(run_id, RunStatus.FAILED.value)
    except Exception as error:  # whatever MLflow, its database or the network raise: the study has it
        _log.warning("run %s is left as it is: %s", run_id, public(first_line(error)))


def _read_stores(file: Path) -> tuple[dict[str, dict[str, Any]], bool]:
    """What was delivered where, and whether the note of it is damaged: then all is delivered anew, over what is there."""
    if not file.exists():
        return {}, False
    try:
        stores = read_json(file)["stores"]
        if all({"offset", "refused"} <= state.keys() for state in stores.values()):
            return stores, False
    except (ValueError, KeyError, AttributeError):
        pass
    _log.warning("%s is damaged; all is delivered anew", file)
    return {}, True


def reason(error: Exception, records: Records) -> str:
    """Say in one line why MLflow cannot be reached.

    The line has the system's words for a chain of network errors, and the database's for an error of it.

    Args:
        error: what was raised.
        records: whose MLflow was asked.
    """
    uri = tracking_uri(records)
    if system := re.search(r"\[Errno -?\d+\] [\w ]+", str(error)):
        return f"{system[0]} at {public(uri)}"
    words = re.search(r"^\((?:\w+\.)+\w+\) (.+)", str(error), re.MULTILINE)
    file = records.database
    if uri == database_uri(records) and file.exists() and not os.access(file, os.W_OK):
        return explained(PermissionError(errno.EACCES, words[1] if words else os.strerror(errno.EACCES), str(file)))
    return public(words[1] if words else first_line(error))


def _batches(file: Path, offset: int) -> Iterator[tuple[list[journal.Record], int]]:
    """Journal records in order; neighbouring scalars together, everything else alone."""
    batch: list[journal.Record] = []
    size = 0
    end = offset
    for record, after in journal.read(file, offset):
        more = len(record.values) if isinstance(record, Scalars) else 0
        if batch and (not more or size + more > BATCH):
            yield batch, end
            batch, size = [], 0
        if more:
            batch.append(record)
            size += more
        else:
            yield [record], after
        end = after
    if batch:
        yield batch, end


def _dataset(facts: dict[str, Any]) -> Any:
    """The entry of MLflow's data set panel."""
    from mlflow.entities import Dataset

    shape = [-1, *facts["shape"][1:]]
    classes = {"class_names": names} if (names := facts.get("class_names")) else {}
    spec = [{"type": "tensor", "tensor-spec": {"dtype": facts["dtype"], "shape": shape}}]
    return Dataset(
        name=facts["name"],
        digest=facts["sha256"][:8],
        source_type="local",
        source=json.dumps({"uri": facts["description"]}),
        schema=json.dumps({"mlflow_tensorspec": {"features": json.dumps(spec), "targets": None}}),
        profile=json.dumps({"num_images": facts["shape"][0], **classes, "sha256": facts["sha256"]}),
    )


def _name(record: journal.Record) -> str:
    """The name of a record that a server may refuse, for a person."""
    assert isinstance(record, Image | Artifact | Model | Winner)
    return record.name if isinstance(record, Winner) else record.file


def _has_point(client: "MlflowClient", run_id: str, point: tuple[str, int] | None) -> bool:
    """Return whether a metric has a value at a step."""
    return point is None or point[1] in {each.step for each in client.get_metric_history(run_id, point[0])}


def _has_files(client: "MlflowClient", run_id: str, had: Delivered) -> bool:
    """Return whether the delivered images and other files of a run are there."""
    folders = {str(Path(file).parent) for file in had.files}
    listed = [client.list_artifacts(run_id, None if folder == "." else folder) for folder in folders]
    files = {file.path for folder in listed for file in folder}
    return had.files <= files and (not had.images or had.images <= _images(client, run_id))


def _images(client: "MlflowClient", run_id: str) -> set[tuple[str, int]]:
    """Return key and step of the images that a run has, from MLflow's names for their files."""
    names = [Path(file.path).name for file in client.list_artifacts(run_id, "images")]
    found = [re.fullmatch(r"(.+?)\+step\+(\d+)\+.*\.png", name) for name in names]
    return {(each[1], int(each[2])) for each in found if each}


def with_study(folder: RunFolder) -> list[RunFolder]:
    """Return a run, after the study that it is part of: MLflow needs that first."""
    try:
        parent = read_json(folder.facts).get("parent")
    except (OSError, ValueError):  # is said when the run is delivered
        parent = None
    return [folder] if parent is None else [RunFolder(folder.records.root / parent), folder]


def deliver(folder: RunFolder, console: Console) -> bool:
    """Bring MLflow up to date with a run's journal, and say so.

    Returns:
        Whether MLflow has all that it should: a run that was deleted there stays so.
    """
    server = public(tracking_uri(folder.records))
    if not folder.journal.exists():
        console.print(f"{folder.name}: nothing happened in it yet")
        return True
    try:
        with folder.owned(), native_stderr_to(Path(os.devnull)):
            refused = Delivery(folder).deliver()
    except ConfigError:
        console.print(f"{folder.name}: left alone, its own process is at it")
        return True
    except RunDeleted as error:
        console.print(f"{folder.name}: left alone in {server}: {error}", style="yellow")
        return True
    except Exception as error:  # whatever MLflow, its database or the network raise: the next run may still go
        console.print(f"{folder.name}: not delivered to {server}: {reason(error, folder.records)}", style="red")
        return False
    for line in refused:
        console.print(f"{folder.name}: refused: {line}", style="red")
    if not refused:
        console.print(f"{folder.name}: delivered to {server}")
    return not refused
