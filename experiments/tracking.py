"""Bring a run's records to MLflow: the only module that imports it.

One background thread reads the run's journal and delivers it. It may fall behind, meet
an absent server, stop and catch up; training never waits for it. How far it came stands
in `tracking.json`, so nothing is delivered twice; what the store lost is delivered anew.
"""

import errno
import json
import logging
import os
import re
import tempfile
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from time import time_ns
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
from filelock import FileLock
from PIL import Image

from experiments import journal
from experiments.delivered import Delivered
from experiments.errors import explained, first_line
from experiments.records import Records, RunFolder, make_folder, read_json, write_json
from experiments.relocation import artifacts_of, own_default_experiment, relocate
from experiments.terminal import printable
from experiments.tracking_address import VARIABLE, database_uri, public, sqlite_file, sqlite_uri, tracking_uri
from experiments.ui_address import ui_address
from gan import metric_names

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run

EXPERIMENT = "gan"
OWN = "mlflow.db"  # the records' own database in the note of deliveries: they may be moved
UNFINISHED = ".unfinished-mlflow-"  # begins the names of a database that is being made
NOTE = "mlflow.note.content"  # the tag that the UI shows as a description
# The UI shows the first line, and the rest on a click.
EXPERIMENT_NOTE = f"""GANs. `{metric_names.FID_PROXY}`: lower is better; compare runs with the same `fid_proxy_id`, image count and \
`dataset_sha256`.

*Scores* among the *Views* has the columns for it. Runs are made by `python experiments/run.py`, studies by
`python sweeps/optuna_search.py`; a study's trials are below it. `{metric_names.FINAL_FID_PROXY}` is of more images, at the end.
"""
VIEW = "scores"  # the UI's name for the saved view
VIEW_TAG = f"mlflow.sharedViewState.{VIEW}"
PARENT = "mlflow.parentRunId"
VIEW_COLUMNS = [
    "attributes.`Dataset`",
    f"metrics.`{metric_names.FINAL_FID_PROXY}`",
    f"metrics.`{metric_names.FID_PROXY}`",
    "params.`model.bn_momentum`",
    "params.`model.leaky_relu_alpha`",
    "params.`train.label_noise`",
    "params.`optim.learning_rate`",
]
WORKFLOW = "workflowType=machine_learning"  # without it MLflow 3 shows its views of language models
MODEL_NOTE = """Latents (N, {latent_dim}) float32, drawn from N(0, 1) -> images (N, 32, 32, 3) float32 in [-1, 1].

    latents = np.random.default_rng(0).standard_normal((16, {latent_dim}), np.float32)
    images = mlflow.pyfunc.load_model("models:/<model ID>").predict(latents)
"""
MODEL = "generator"
WON = "won"  # tag of a registered model: when its last winner won, in milliseconds
MODEL_VERSIONS = "mlflow.modelVersions"  # the tag that MLflow's own way of registering sets on a logged model
CHAMPION = "champion"  # the alias of a search's winner that is known to be better than what the search started from
CANDIDATE = "candidate"  # and of one that is not
ALIASES_NOTE = (
    "The alias `champion` is a winner that was better on fresh seeds, `candidate` one that was not shown to be."
)
INTERVAL = 1.0  # seconds between two looks at the journal
BATCH = 1000  # metrics a request, MLflow's limit
REFUSALS = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # MLflow's codes, of a run that is gone or deleted

_log = logging.getLogger(__name__)

# Set before MLflow is imported. Its own retries would hold a dead server's run open for
# minutes; the feeder tries again by itself.
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # we print our own
}


class RunDeleted(RuntimeError):
    """The run is in MLflow's trash, where somebody put it."""


class Delivery:
    """Delivers what a run's journal holds beyond what MLflow has already.

    Its state is kept for each server of its own: the run's id there, the offset in the
    journal up to which all is delivered, and the records that the server refused.
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
        self._last_steps: dict[str, int] = {}  # by metric, of a run that was begun on another host
        # The last delivery may have broken off half-way, or the note of it is lost.
        self._retrying = damaged or "run_id" in self._state

    @property
    def run_id(self) -> str | None:
        return self._state.get("run_id")

    @property
    def url(self) -> str | None:
        """The run's address in the UI: the server's own, or where `make ui` serves the database."""
        if self.run_id is None:
            return None
        sqlite = self._uri.startswith("sqlite")
        server = ui_address(self._folder.records) if sqlite else public(self._uri)
        return f"{server}/#/experiments/{self._state['experiment_id']}/runs/{self.run_id}?{WORKFLOW}"

    def deliver(self, again: bool = True) -> list[str]:
        """Bring MLflow up to date with the journal; what it refused, one line each.

        again: try what was refused before once more. Raises RunDeleted, and what MLflow
        raises when it cannot be reached.
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
        for record in list(refused) if again else []:
            self._deliver(client, [record])
            refused.remove(record)  # refused anew, it stands at the end as well
            self._save()
        for records, offset in _batches(self._folder.journal, self._state["offset"]):
            self._deliver(client, records)
            self._state["offset"] = offset
            self._save()
        return [f"{_name(record)}: {record['refused']}" for record in refused]

    def _deliver(self, client: "MlflowClient", records: list[journal.Record]) -> None:
        """One batch of scalars, or one other record; a refusal of that record alone holds nothing up."""
        try:
            if "scalars" in records[0]:
                self._scalars(client, records)
            else:
                self._one(client, records[0])
        except Exception as error:  # of this record, or of the server: ask it
            if not {"image", "artifact", "model", "champion"} & records[0].keys():
                raise
            client.get_run(self._state["run_id"])
            self._retrying = True
            _log.warning("%s is not delivered: %s", _name(records[0]), public(str(error)))
            self._state["refused"].append({**records[0], "refused": public(first_line(error))})

    def _save(self) -> None:
        write_json(self._folder.delivery, {"stores": self._stores})

    def _connect(self) -> "MlflowClient":
        """A client of the store, which has the run, as far as it was delivered or from the start."""
        if self._client is None or _is_gone(sqlite_file(self._uri)):
            client = _connect(self._folder.records, self._uri)
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
        """The run as the store has it. One known by another address of the store is known by this one from now on."""
        others = [(key, state) for key, state in self._stores.items() if state is not self._state]
        for key, state in [("", self._state), *others]:
            run = _get_run(client, state["run_id"]) if "run_id" in state else None
            if run is not None:
                if state is not self._state:
                    self._state.clear()
                    self._state.update(self._stores.pop(key))
                return run
        return None

    def _check(self, client: "MlflowClient", run: "Run", facts: dict[str, Any]) -> None:
        """Deliver anew, over what is there, to a store that lacks some of it. Raises RunDeleted."""
        run_id, experiment_id = run.info.run_id, run.info.experiment_id
        if run.info.lifecycle_stage == "deleted":
            _check_experiment(client.get_experiment(experiment_id))
            raise RunDeleted(f"MLflow's run is deleted (mlflow runs restore --run-id {run_id} brings it back)")
        self._state["experiment_id"] = experiment_id
        study = self._study(client, facts)
        if study is not None and run.data.tags.get(PARENT) != study.info.run_id:
            client.set_tag(run_id, PARENT, study.info.run_id)
        if not self._state.get("restored") and self._lacks(client, run):  # a restored run was delivered elsewhere
            self._state.update(offset=0, refused=[], described=False)
            self._retrying = True

    def _lacks(self, client: "MlflowClient", run: "Run") -> bool:
        """Whether anything that was delivered is not in the store any more."""
        if not self._state["offset"]:
            return False
        run_id, experiment_id = run.info.run_id, run.info.experiment_id
        had = Delivered.of(self._folder.journal, self._state["offset"], self._state["refused"])
        return not (
            had.metrics <= run.data.metrics.keys()
            and _has_point(client, run_id, had.newest)
            and _has_files(client, run_id, had)
            and all(
                any(_is_whole(client, model) for model in _models_at(client, run_id, experiment_id, time))
                for time in had.models
            )
            and all(_has_version(client, run_id, name) for name in had.champion_of)
        )

    def _experiment_id(self, client: "MlflowClient") -> str:
        experiment = _experiment(client, self._folder.records, self._uri)
        _check_experiment(experiment)
        return str(experiment.experiment_id)

    def _describe(self, client: "MlflowClient", facts: dict[str, Any]) -> None:
        """Create the run with all that is known from its start; all of it can be repeated."""
        from mlflow.entities import DatasetInput, InputTag, Param

        experiment_id = self._state["experiment_id"]
        if "run_id" not in self._state:
            # One that was created when its answer was lost, or the note of it, is found by a tag of its own.
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

    def _scalars(self, client: "MlflowClient", records: list[journal.Record]) -> None:
        from mlflow.entities import Metric

        points = [Metric(key, value, r["time"], r["step"]) for r in records for key, value in r["scalars"].items()]
        if self._state.get("restored"):  # the host that had the run before may have delivered more than it handed over
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
        if "image" in record:
            self._image(client, run_id, record)
        elif "artifact" in record:
            folder = Path(record["artifact"]).parent.as_posix()
            client.log_artifact(run_id, self._folder.path / record["artifact"], None if folder == "." else folder)
        elif "model" in record:
            self._model(client, run_id, record)
        elif "champion" in record:
            alias = record.get("alias", CHAMPION)  # which records of earlier versions do not have
            _register(
                client, run_id, self._state["experiment_id"], record["champion"], alias,
                printable(record["note"]), record["time"],
            )  # fmt: skip
        elif "tags" in record:
            for key, value in printable(record["tags"]).items():
                client.set_tag(run_id, key, value)
        elif record["status"] == "RUNNING":
            client.update_run(run_id, "RUNNING")
        else:
            client.set_terminated(run_id, record["status"], record["time"])

    def _model(self, client: "MlflowClient", run_id: str, record: journal.Record) -> None:
        file, experiment_id, time = self._folder.path / record["model"], self._state["experiment_id"], record["time"]
        known = _models_at(client, run_id, experiment_id, time) if self._retrying else []
        if any(_is_whole(client, model) for model in known):
            return
        scores = client.get_metric_history(run_id, metric_names.FINAL_FID_PROXY)
        _log_model(file, run_id, experiment_id, time, scores[-1].step if scores else 0)
        for model in known:  # nobody could load it
            client.delete_logged_model(model.model_id)

    def _image(self, client: "MlflowClient", run_id: str, record: journal.Record) -> None:
        if self._retrying and (record["image"], record["step"]) in _images(client, run_id):
            return
        with Image.open(self._folder.path / record["file"]) as picture:
            client.log_image(
                run_id,
                np.asarray(picture),
                key=record["image"],
                step=record["step"],
                timestamp=record["time"],
                synchronous=True,
            )


def _connect(records: Records, uri: str) -> "MlflowClient":
    """A client of the server or database, whose tables are there from now on."""
    file = sqlite_file(uri)
    os.environ.update({k: v for k, v in ENVIRONMENT.items() if k not in os.environ})
    if file is not None:  # a connection that was kept would write to a file that is replaced
        os.environ.setdefault("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")
    import mlflow

    for name in ("mlflow", "alembic", "urllib3", "absl"):
        logging.getLogger(name).setLevel(logging.ERROR)
    own = logging.getLogger("mlflow")  # prints traces on the terminal of what is raised as well
    own.handlers, own.propagate = [logging.NullHandler()], True  # to run.log, where there is one
    with _creating(records, file):
        if file is not None and _is_gone(file):
            _make_database(file)
        given = os.environ.get(VARIABLE)
        mlflow.set_tracking_uri(uri)
        if given is None:  # MLflow sets it, and the next records of this process would go there
            os.environ.pop(VARIABLE, None)
        else:
            os.environ[VARIABLE] = given
        client = mlflow.MlflowClient(uri)
        if file is not None and (former := relocate(file, EXPERIMENT, VIEW_TAG, copies=file == records.database)):
            _log.info("the records were in %s; MLflow's places of files are put right", ", ".join(map(str, former)))
        return client


def _is_gone(file: Path | None) -> bool:
    """Whether an SQLite file is not there, or was made by a mere look for it."""
    return file is not None and (not file.exists() or file.stat().st_size == 0)


def _make_database(file: Path) -> None:
    """Whole or not at all: MLflow makes its tables in many steps, and cannot go on from the middle of them."""
    import mlflow

    for left in file.parent.glob(f"{UNFINISHED}*"):  # by a process that was killed at it
        left.unlink()
    made = file.parent / f"{UNFINISHED}{uuid4().hex}.db"  # a new name, as MLflow keeps connections by name
    made.touch()  # or SQLite makes it writable by its owner alone, whatever the umask
    mlflow.MlflowClient(sqlite_uri(made))
    own_default_experiment(made)
    made.replace(file)


def _creating(records: Records, file: Path | None) -> FileLock:
    """Two processes on a fresh database race for its tables; one at a time."""
    lock = file.with_suffix(".lock") if file is not None else records.root / "mlflow.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(lock)


def _get_run(client: "MlflowClient", run_id: str) -> "Run | None":
    """A run, which may be a deleted one; None where the store knows nothing of it."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def _experiment(client: "MlflowClient", records: Records, uri: str) -> "Experiment":
    """The experiment that runs go to, created with all that the UI shows of it; it may be a deleted one."""
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "").strip() or EXPERIMENT
    file = sqlite_file(uri)
    with _creating(records, file):
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            place = artifacts_of(file) if file is not None else None  # a server decides itself
            experiment = client.get_experiment(client.create_experiment(name, place, _experiment_tags()))
        return experiment


def _check_experiment(experiment: "Experiment") -> None:
    """Raises RuntimeError for a deleted one."""
    if experiment.lifecycle_stage == "deleted":
        remedy = f"mlflow experiments restore -x {experiment.experiment_id}, or set MLFLOW_EXPERIMENT_NAME"
        raise RuntimeError(f"MLflow's experiment {experiment.name!r} is deleted ({remedy})")


def _experiment_tags() -> dict[str, str]:
    view = {"selectedColumns": VIEW_COLUMNS}
    saved = {"name": VIEW.capitalize(), "createdAt": time_ns() // 1_000_000, "state": json.dumps(view)}
    return {
        "mlflow.experimentKind": "custom_model_development",
        NOTE: EXPERIMENT_NOTE,
        VIEW_TAG: json.dumps(saved),
    }


def open_store(records: Records) -> str:
    """Make the database and its experiment, if they are not there; where all runs are in the UI, after the server's address."""
    make_folder(records.root, "records.root")
    uri = tracking_uri(records)
    client = _connect(records, uri)
    experiment = _experiment(client, records, uri)
    if experiment.lifecycle_stage == "deleted":
        return f"/#/experiments?{WORKFLOW}"
    for key, value in _experiment_tags().items():  # an earlier version made it with fewer
        if key not in experiment.tags:
            client.set_experiment_tag(experiment.experiment_id, key, value)
    return f"/#/experiments/{experiment.experiment_id}/runs?viewStateShareKey={VIEW}&{WORKFLOW}"


def mark_restored(run: RunFolder) -> bool:
    """Let a run's note of deliveries say that another host made them; False where there is none."""
    stores, damaged = _read_stores(run.delivery)
    for state in stores.values():
        state["restored"] = True
    write_json(run.delivery, {"stores": stores})
    return bool(stores) and not damaged


def send_file(run: RunFolder, file: Path, place: str) -> bool:
    """Put a file among the artifacts of a run, over an earlier one; False where MLflow cannot take it."""
    run_id = Delivery(run).run_id
    if run_id is None:
        return False
    try:
        _connect(run.records, tracking_uri(run.records)).log_artifact(run_id, file, place)
    except Exception as error:  # whatever MLflow, its database or the network raise: training goes on
        _log.warning("%s is not uploaded: %s", file.name, public(first_line(error)))
        return False
    return True


def fetch_file(records: Records, run_id: str, artifact: str) -> bytes | None:
    """An artifact of a run; None where there is none or MLflow is away."""
    try:
        client = _connect(records, tracking_uri(records))
        with tempfile.TemporaryDirectory() as folder:
            return Path(client.download_artifacts(run_id, artifact, folder)).read_bytes()
    except Exception as error:  # whatever MLflow, its database or the network raise: it is done without
        _log.warning("%s is not fetched: %s", artifact, public(first_line(error)))
        return None


def give_up_run(records: Records, run_id: str, note: str) -> None:
    """End a run that its own host will not, as its trial goes on in another."""
    try:
        client = _connect(records, tracking_uri(records))
        client.set_tag(run_id, "optuna.trial_state", "FAIL")
        client.set_tag(run_id, "taken_up", note)
        client.set_terminated(run_id, "FAILED")
    except Exception as error:  # whatever MLflow, its database or the network raise: the study knows
        _log.warning("run %s is left as it is: %s", run_id, public(first_line(error)))


class Feeder:
    """Keeps MLflow up to date from a background thread while a run goes on."""

    def __init__(self, folder: RunFolder) -> None:
        self.delivery = Delivery(folder)
        self.problem: str | None = None  # why MLflow is behind, if it is
        self._records, self._uri = folder.records, tracking_uri(folder.records)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mlflow-feeder", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def finish(self, timeout: float) -> bool:
        """Deliver what is left; True if MLflow has everything within `timeout` seconds."""
        self._done.set()
        self._thread.join(timeout)
        if self._thread.is_alive() and self.problem is None:
            self.problem = f"MLflow took more than {timeout:g} s"
        return self.problem is None

    def _run(self) -> None:
        monitor = None
        while True:
            last = self._done.is_set()  # looked at first, so that the last delivery misses nothing
            if last and monitor is not None:
                monitor.finish()
            try:
                refused = self.delivery.deliver(again=last)
                self.problem = refused[0] if refused else None
                if (
                    not last
                    and self.delivery.run_id is not None
                    and (monitor is None or not monitor._process.is_alive())
                ):
                    monitor = _system_monitor(self.delivery.run_id, self._uri)  # an outage ends MLflow's own thread
            except Exception as error:  # whatever MLflow, its database or the network raise: training goes on
                if self.problem is None:
                    _log.warning("MLflow is behind, will try again\n%s", public(traceback.format_exc()))
                self.problem = reason(error, self._records)
            if last:
                return
            self._done.wait(INTERVAL)


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
    """One short line: of a chain of network errors the system's own words, of a database's its own."""
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
        more = len(record.get("scalars", {}))
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


def _system_monitor(run_id: str, uri: str) -> Any:
    """MLflow's own sampler of CPU, memory, disk and network, one point every 10 s."""
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    monitor = SystemMetricsMonitor(run_id, resume_logging=True, tracking_uri=uri)
    monitor.start()
    return monitor


def _name(record: journal.Record) -> str:
    kinds = ("file", "artifact", "model", "champion")
    return str(next(record[kind] for kind in kinds if kind in record))


def _has_point(client: "MlflowClient", run_id: str, point: tuple[str, int] | None) -> bool:
    """Whether a metric has a value at a step."""
    return point is None or point[1] in {each.step for each in client.get_metric_history(run_id, point[0])}


def _has_files(client: "MlflowClient", run_id: str, had: Delivered) -> bool:
    """Whether the pictures and other files of a run that were delivered are there."""
    folders = {str(Path(file).parent) for file in had.files}
    listed = [client.list_artifacts(run_id, None if folder == "." else folder) for folder in folders]
    files = {file.path for folder in listed for file in folder}
    return had.files <= files and (not had.images or had.images <= _images(client, run_id))


def _images(client: "MlflowClient", run_id: str) -> set[tuple[str, int]]:
    """Key and step of each picture that a run has, by MLflow's names for their files."""
    names = [Path(file.path).name for file in client.list_artifacts(run_id, "images")]
    found = [re.fullmatch(r"(.+?)\+step\+(\d+)\+.*\.png", name) for name in names]
    return {(each[1], int(each[2])) for each in found if each}


def _models_at(client: "MlflowClient", run_id: str, experiment_id: str, time: int) -> list[Any]:
    """The models of one record of the journal: more than one where a delivery broke off."""
    return [m for m in _models(client, run_id, experiment_id) if m.tags.get("journal_time") == str(time)]


def _is_whole(client: "MlflowClient", model: Any) -> bool:
    """Whether a model was delivered to its end, and its files are there."""
    return str(model.status) == "READY" and bool(client.list_logged_model_artifacts(model.model_id))


def _has_version(client: "MlflowClient", run_id: str, name: str) -> bool:
    """Whether a registered model has a version that is this run's."""
    return any(version.run_id == run_id for version in client.search_model_versions(f"name = '{name}'"))


def _models(client: "MlflowClient", run_id: str, experiment_id: str) -> list[Any]:
    """The run's models, newest first."""
    models = client.search_logged_models([experiment_id], filter_string=f"source_run_id = '{run_id}'")
    return sorted(models, key=lambda model: -int(model.creation_timestamp))


def _register(
    client: "MlflowClient", run_id: str, experiment_id: str, name: str, alias: str, note: str, time: int
) -> None:
    """Give the run's newest model the alias, `champion` or `candidate`, of a registered one; nothing is made twice.

    A registered model has one of the two at a time: the last winner's. time: when it won, in milliseconds.
    """
    models = _models(client, run_id, experiment_id)
    if not models:
        raise ValueError("the run has no model")
    model = models[0]
    registered = client.search_registered_models(f"name = '{name}'")
    if not registered:
        client.create_registered_model(name, description=f"Winners of the search `{name}`. {ALIASES_NOTE}")
    source = f"models:/{model.model_id}"
    known = [version for version in client.search_model_versions(f"name = '{name}'") if version.source == source]
    version = known[0] if known else client.create_model_version(name, source, run_id, model_id=model.model_id)
    client.update_model_version(name, version.version, note)
    # The model's page says by this tag where it is registered; a server of MLflow's sets it itself.
    if MODEL_VERSIONS not in model.tags:
        versions = json.dumps([{"name": name, "version": version.version}])
        client.set_logged_model_tags(model.model_id, {MODEL_VERSIONS: versions})
    if registered and int(registered[0].tags.get(WON, 0)) > time:  # a later winner was delivered before
        return
    client.set_registered_model_tag(name, WON, str(time))
    client.set_registered_model_alias(name, alias, version.version)
    client.delete_registered_model_alias(name, CANDIDATE if alias == CHAMPION else CHAMPION)


def _log_model(file: Path, run_id: str, experiment_id: str, time: int, step: int) -> None:
    """The generator as an MLflow model: latents (N, latent_dim) -> images in [-1, 1].

    step: of the run, whose metrics at it become the model's.
    """
    import keras
    import mlflow.tensorflow
    import tensorflow as tf
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    keras.config.disable_interactive_logging()  # MLflow tries the example with a progress bar of its own
    mlflow.set_experiment(experiment_id=experiment_id)  # or the model goes to the default experiment
    model = keras.models.load_model(file, compile=False)
    latent_dim = model.input_shape[-1]
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.float32), (-1, latent_dim))]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, 32, 32, 3))]),
    )
    Model.log(
        artifact_path=None,
        name=MODEL,
        flavor=mlflow.tensorflow,
        run_id=run_id,
        step=step,
        tags={"journal_time": str(time), NOTE: MODEL_NOTE.format(latent_dim=latent_dim)},
        model=model,
        signature=signature,
        input_example=np.random.default_rng(0).standard_normal((2, latent_dim), np.float32),
        # Pinned here: MLflow would find them out in ten seconds of imports.
        pip_requirements=[f"keras=={keras.__version__}", f"tensorflow=={tf.__version__}", f"numpy=={np.__version__}"],
    )
