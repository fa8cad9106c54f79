"""Bring a run's records to MLflow: the only module that imports it.

One background thread reads the run's journal and delivers it. It may fall behind, meet
an absent server, stop and catch up; training never waits for it. How far it came stands
in `tracking.json`, so nothing is delivered twice.
"""

import json
import logging
import os
import re
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock
from PIL import Image

from experiments import journal
from experiments.errors import first_line
from experiments.records import Records, RunFolder, read_json, write_json
from gan.config import CIFAR10_CLASSES

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "gan"
EXPERIMENT_TAGS = {
    "mlflow.experimentKind": "custom_model_development",  # or the UI opens on traces of language models
    "mlflow.note.content": "Runs of `python experiments/run.py`. Compare `eval/fid_proxy` (lower is better) "
    "between runs with the same `fid_proxy_id`, image count and `dataset_sha256`.",
}
MODEL = "generator"
INTERVAL = 1.0  # seconds between two looks at the journal
BATCH = 1000  # metrics a request, MLflow's limit

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


def tracking_uri(records: Records) -> str:
    """The server of MLFLOW_TRACKING_URI, or the SQLite file under the records' root."""
    # SQLAlchemy takes what follows a ? for options, and decodes %.
    path = str(records.database).replace("%", "%25").replace("?", "%3F")
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{path}"


def public(text: str) -> str:
    """A text without the user and password of the URIs in it."""
    return re.sub(r"://[^/\s]*@", "://", text)


class Delivery:
    """Delivers what a run's journal holds beyond what MLflow has already.

    Its state is kept for each server of its own: the run's id there, the offset in the
    journal up to which all is delivered, and the records that the server refused.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._uri = tracking_uri(folder.records)
        self._stores, damaged = _read_stores(folder.delivery)
        self._state = self._stores.setdefault(public(self._uri), {"offset": 0, "refused": []})
        self._client: MlflowClient | None = None
        # The last delivery may have broken off half-way, or the note of it is lost.
        self._retrying = damaged or "run_id" in self._state

    @property
    def run_id(self) -> str | None:
        return self._state.get("run_id")

    @property
    def url(self) -> str | None:
        """The part of the run's address in the UI after the server's."""
        if self.run_id is None:
            return None
        # Without the last part MLflow 3 shows its views of language models.
        return f"/#/experiments/{self._state['experiment_id']}/runs/{self.run_id}?workflowType=machine_learning"

    def deliver(self, again: bool = True) -> list[str]:
        """Bring MLflow up to date with the journal; what it refused, one line each.

        again: try what was refused before once more. Raises what MLflow raises when it
        cannot be reached.
        """
        refused = self._state["refused"]
        try:
            client = self._connect()
            for record in list(refused) if again else []:
                self._deliver(client, [record])
                refused.remove(record)  # refused anew, it stands at the end as well
                self._save()
            for records, offset in _batches(self._folder.journal, self._state["offset"]):
                self._deliver(client, records)
                self._state["offset"] = offset
                self._save()
        except BaseException:
            self._retrying = True
            raise
        return [f"{_name(record)}: {record['refused']}" for record in refused]

    def _deliver(self, client: "MlflowClient", records: list[journal.Record]) -> None:
        """One batch of scalars, or one other record; a refusal of that record alone holds nothing up."""
        try:
            if "scalars" in records[0]:
                self._scalars(client, records)
            else:
                self._one(client, records[0])
        except Exception as error:  # of this record, or of the server: ask it
            if not {"image", "artifact", "model"} & records[0].keys():
                raise
            client.get_run(self._state["run_id"])
            self._retrying = True
            _log.warning("%s is not delivered: %s", _name(records[0]), public(str(error)))
            self._state["refused"].append({**records[0], "refused": public(first_line(error))})

    def _save(self) -> None:
        write_json(self._folder.delivery, {"stores": self._stores})

    def _connect(self) -> "MlflowClient":
        if self._client is None:
            os.environ.update({k: v for k, v in ENVIRONMENT.items() if k not in os.environ})
            import mlflow

            for name in ("mlflow", "alembic", "urllib3", "absl"):
                logging.getLogger(name).setLevel(logging.ERROR)
            # Two processes on a fresh database race for its tables; one at a time.
            with FileLock(self._folder.records.root / "mlflow.lock"):
                mlflow.set_tracking_uri(self._uri)
                client = mlflow.MlflowClient(self._uri)
                if "experiment_id" not in self._state:
                    self._state["experiment_id"] = self._experiment_id(client)
            if not self._state.get("described"):
                self._describe(client)
            self._client = client
        return self._client

    def _experiment_id(self, client: "MlflowClient") -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            local = self._uri.startswith("sqlite")  # a server decides itself where artifacts go
            place = self._folder.records.artifacts.as_uri() if local else None
            return client.create_experiment(name, place, EXPERIMENT_TAGS)
        if experiment.lifecycle_stage == "deleted":
            remedy = f"mlflow experiments restore -x {experiment.experiment_id}, or set MLFLOW_EXPERIMENT_NAME"
            raise RuntimeError(f"MLflow's experiment {name!r} is deleted ({remedy})")
        return str(experiment.experiment_id)

    def _describe(self, client: "MlflowClient") -> None:
        """Create the run with all that is known from its start; all of it can be repeated."""
        from mlflow.entities import DatasetInput, InputTag, Param

        facts = read_json(self._folder.facts)
        experiment_id = self._state["experiment_id"]
        if "run_id" not in self._state:
            # One that was created when its answer was lost is found by a tag of its own.
            mine = (
                f"tags.run_folder = '{facts['tags']['run_folder']}'" if "'" not in facts["tags"]["run_folder"] else None
            )
            known = client.search_runs([experiment_id], mine) if mine and self._retrying else []
            known = [run for run in known if run.info.start_time == facts["created"]]
            name, tags = facts.get("title", self._folder.name), {**facts["tags"], **self._parent(facts)}
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
        self._save()

    def _parent(self, facts: dict[str, Any]) -> dict[str, str]:
        """MLflow's tag for a run of a study. Raises RuntimeError as long as the study itself is not there."""
        if "parent" not in facts:
            return {}
        study = Delivery(RunFolder(self._folder.records.root / facts["parent"]))
        if study.run_id is None:
            raise RuntimeError(f"{facts['parent']}, which the run is part of, is not in MLflow yet")
        return {"mlflow.parentRunId": study.run_id}

    def _scalars(self, client: "MlflowClient", records: list[journal.Record]) -> None:
        from mlflow.entities import Metric

        metrics = [Metric(key, value, r["time"], r["step"]) for r in records for key, value in r["scalars"].items()]
        client.log_batch(self.run_id, metrics=metrics)

    def _one(self, client: "MlflowClient", record: journal.Record) -> None:
        run_id = self._state["run_id"]
        if "image" in record:
            self._image(client, run_id, record)
        elif "artifact" in record:
            folder = Path(record["artifact"]).parent.as_posix()
            client.log_artifact(run_id, self._folder.path / record["artifact"], None if folder == "." else folder)
        elif "model" in record:
            if not (self._retrying and _has_model(client, run_id, self._state["experiment_id"], record["time"])):
                _log_model(self._folder.path / record["model"], run_id, self._state["experiment_id"], record["time"])
        elif "tags" in record:
            for key, value in record["tags"].items():
                client.set_tag(run_id, key, value)
        elif record["status"] == "RUNNING":
            client.update_run(run_id, "RUNNING")
        else:
            client.set_terminated(run_id, record["status"], record["time"])

    def _image(self, client: "MlflowClient", run_id: str, record: journal.Record) -> None:
        known = f"{record['image']}+step+{record['step']}+"
        if self._retrying and any(
            Path(file.path).name.startswith(known) for file in client.list_artifacts(run_id, "images")
        ):
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


class Feeder:
    """Keeps MLflow up to date from a background thread while a run goes on."""

    def __init__(self, folder: RunFolder) -> None:
        self.delivery = Delivery(folder)
        self.problem: str | None = None  # why MLflow is behind, if it is
        self._uri = tracking_uri(folder.records)
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
                if monitor is None and not last and self.delivery.run_id is not None:
                    monitor = _system_monitor(self.delivery.run_id, self._uri)
            except Exception as error:  # whatever MLflow, its database or the network raise: training goes on
                if self.problem is None:
                    _log.warning("MLflow is behind, will try again\n%s", public(traceback.format_exc()))
                self.problem = _reason(error, self._uri)
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


def _reason(error: Exception, uri: str) -> str:
    """One short line: of a chain of network errors, the system's own words."""
    system = re.search(r"\[Errno -?\d+\] [\w ]+", str(error))
    return f"{system[0]} at {public(uri)}" if system else public(first_line(error))


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
    spec = [{"type": "tensor", "tensor-spec": {"dtype": facts["dtype"], "shape": shape}}]
    return Dataset(
        name=facts["name"],
        digest=facts["sha256"][:8],
        source_type="local",
        source=json.dumps({"uri": facts["description"]}),
        schema=json.dumps({"mlflow_tensorspec": {"features": json.dumps(spec), "targets": None}}),
        profile=json.dumps(
            {"num_images": facts["shape"][0], "class_names": list(CIFAR10_CLASSES), "sha256": facts["sha256"]}
        ),
    )


def _system_monitor(run_id: str, uri: str) -> Any:
    """MLflow's own sampler of CPU, memory, disk and network, one point every 10 s."""
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    monitor = SystemMetricsMonitor(run_id, resume_logging=True, tracking_uri=uri)
    monitor.start()
    return monitor


def _name(record: journal.Record) -> str:
    return str(record.get("file") or record.get("artifact") or record.get("model"))


def _has_model(client: "MlflowClient", run_id: str, experiment_id: str, time: int) -> bool:
    """Whether the model of this record of the journal is there already."""
    models = client.search_logged_models([experiment_id])
    return any(m.source_run_id == run_id and m.tags.get("journal_time") == str(time) for m in models)


def _log_model(file: Path, run_id: str, experiment_id: str, time: int) -> None:
    """The generator as an MLflow model: latents (N, latent_dim) -> images in [-1, 1]."""
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
        tags={"journal_time": str(time)},
        model=model,
        signature=signature,
        input_example=np.random.default_rng(0).standard_normal((2, latent_dim), np.float32),
        # Pinned here: MLflow would find them out in ten seconds of imports.
        pip_requirements=[f"keras=={keras.__version__}", f"tensorflow=={tf.__version__}", f"numpy=={np.__version__}"],
    )
