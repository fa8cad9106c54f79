"""One run in MLflow, to which the records of a journal are written one by one."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard
from urllib.parse import quote

import numpy as np
from PIL.Image import open as open_image

from experiments.cli.terminal import printable
from experiments.records import journal
from experiments.records.folders import RunFolder, read_json
from experiments.records.journal import OF_A_FAILURE, Artifact, Image, Model, Scalars, Status, Tags, Winner
from experiments.records.status import PAUSED, TRIAL_STATE, RunStatus
from experiments.tracking.delivered import images_of
from experiments.tracking.experiment import NOTE
from experiments.tracking.models import is_whole, log_model, models_at, register_version
from gan import metric_names

if TYPE_CHECKING:
    from mlflow import MlflowClient

SCHEDULED = "SCHEDULED"  # a status of MLflow's that no run of ours has by itself
BATCH = 1000  # metrics a request, MLflow's limit
RUN_ID = "{run_id}"  # stands for the run's id in a link of its description: each store has another


def artifact_link(path: str) -> str:
    """Return a link to an artifact of the run in whose description it stands.

    Args:
        path: of the artifact, relative to the run's others.
    """
    return f"get-artifact?path={quote(path, safe='')}&run_uuid={RUN_ID}"


@dataclass(frozen=True)
class RunWriter:
    """Writes records to a run.

    Attributes:
        client: of the store.
        run_id: of MLflow.
        experiment_id: of the run's experiment.
        folder: where the files of the records are.
        retrying: whether the records may be there already; images and models are not written twice then.
    """

    client: "MlflowClient"
    run_id: str
    experiment_id: str
    folder: Path
    retrying: bool

    def write(self, record: journal.Record) -> None:
        """Write a record that holds no scalars."""
        client, run_id = self.client, self.run_id
        match record:
            case Image():
                self._image(record)
            case Artifact(file=file):
                folder = Path(file).parent.as_posix()
                client.log_artifact(run_id, self.folder / file, None if folder == "." else folder)
            case Model():
                self._model(record)
            case Winner(time, name, alias, note):
                register_version(client, run_id, self.experiment_id, name, alias, printable(note), time)
            case Tags(tags=tags):
                self._tags(tags)
            case Status(status=RunStatus.RUNNING):
                client.update_run(run_id, RunStatus.RUNNING.value)
                for tag in client.get_run(run_id).data.tags.keys() & set(OF_A_FAILURE):  # which a resume ends
                    client.delete_tag(run_id, tag)
            case Status(time, status):
                client.set_terminated(run_id, self._in_mlflow(status), time)

    def _tags(self, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        values = {key: self._description(v) if key == NOTE else v for key, v in printable(tags).items()}
        # In one request: each is a transaction, of some 40 ms in SQLite.
        self.client.log_batch(self.run_id, tags=[RunTag(key, value) for key, value in values.items()])

    def _in_mlflow(self, status: RunStatus) -> str:
        """Return MLflow's word for the end of a run: a trial that may be promoted waits, and was not killed."""
        is_paused = self.client.get_run(self.run_id).data.tags.get(TRIAL_STATE) == PAUSED
        return SCHEDULED if status == RunStatus.KILLED and is_paused else status.value

    def _description(self, text: str) -> str:
        """Return what MLflow is to show above the run: a text, in place of the one before it, beside what a person added.

        Where a person changed the text itself, it stays as it is.
        """
        present = self.client.get_run(self.run_id).data.tags.get(NOTE, "")
        run = RunFolder(self.folder)
        texts = [read_json(run.facts)["tags"].get(NOTE, "")]
        texts += [record.tags[NOTE] for record, _ in journal.read(run.journal, 0) if _is_note(record)]
        text, *ours = (printable({NOTE: each})[NOTE].replace(RUN_ID, self.run_id).strip() for each in [text, *texts])
        if not present.strip():
            return text
        former = next((each for each in reversed(ours) if each and each in present), None)
        return present if former is None else present.replace(former, text, 1)

    def _model(self, record: Model) -> None:
        client, run_id, experiment_id = self.client, self.run_id, self.experiment_id
        file, time = self.folder / record.file, record.time
        models = (each for each, _ in journal.read(RunFolder(self.folder).journal, 0) if isinstance(each, Model))
        if any(each.file == record.file and each.time > time for each in models):
            return  # the run trained on, and its file holds a later generator
        known = models_at(client, run_id, experiment_id, time) if self.retrying else []
        if any(is_whole(client, model) for model in known):
            return
        scores = client.get_metric_history(run_id, metric_names.FINAL_FID_PROXY)
        log_model(file, run_id, experiment_id, time, scores[-1].step if scores else 0)
        for model in known:  # nobody could load it
            client.delete_logged_model(model.model_id)

    def _image(self, record: Image) -> None:
        if self.retrying and (record.key, record.step) in images_of(self.client, self.run_id):
            return
        with open_image(self.folder / record.file) as pixels:
            self.client.log_image(
                self.run_id,
                np.asarray(pixels),
                key=record.key,
                step=record.step,
                timestamp=record.time,
                synchronous=True,
            )


def _is_note(record: journal.Record) -> TypeGuard[Tags]:
    return isinstance(record, Tags) and NOTE in record.tags


def batches_of(file: Path, offset: int) -> Iterator[tuple[list[journal.Record], int]]:
    """Yield journal records in order; neighbouring scalars together, everything else alone, each with the offset after it."""
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


def dataset_entry(facts: dict[str, Any]) -> Any:
    """Return the entry of MLflow's data set panel."""
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
