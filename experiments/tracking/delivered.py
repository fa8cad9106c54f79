"""What of a run's journal was delivered, as its note of deliveries has it, compared with what the store still has."""

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.records import journal
from experiments.records.folders import RunFolder, read_json, write_json
from experiments.records.journal import Artifact, Image, Model, Scalars, Winner
from experiments.tracking.models import has_version, is_whole, models_at

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_log = logging.getLogger(__name__)


@dataclass
class Delivered:
    """The part of a journal up to an offset."""

    metrics: set[str] = field(default_factory=set)
    newest: tuple[str, int] | None = None  # the last point's metric and step
    images: set[tuple[str, int]] = field(default_factory=set)  # key and step
    files: set[str] = field(default_factory=set)  # artifacts, by their paths
    models: dict[str, int] = field(default_factory=dict)  # times of their records; of a file the newest alone counts
    champion_of: set[str] = field(default_factory=set)  # names of registered models

    @classmethod
    def of(cls, file: Path, offset: int, refused: Iterable[Mapping[str, Any]]) -> "Delivered":
        """Read a journal up to an offset, without the records that the store refused.

        Args:
            file: the journal.
            offset: in bytes, up to which it was delivered.
            refused: records of the journal, as their lines have them.

        Raises:
            ConfigError: for a damaged record before the offset.
        """
        delivered = cls()
        missing = [journal.from_json(line) for line in refused]
        for record, end in journal.read(file, 0):
            if end > offset:
                break
            if record not in missing:
                delivered._add(record)
        return delivered

    def is_in(self, client: "MlflowClient", run: "Run") -> bool:
        """Return whether all of it is still in the store."""
        run_id, experiment_id = run.info.run_id, run.info.experiment_id
        return (
            self.metrics <= run.data.metrics.keys()
            and _has_point(client, run_id, self.newest)
            and _has_files(client, run_id, self)
            and all(
                any(is_whole(client, model) for model in models_at(client, run_id, experiment_id, time))
                for time in self.models.values()
            )
            and all(has_version(client, run_id, name) for name in self.champion_of)
        )

    def _add(self, record: journal.Record) -> None:
        match record:
            case Scalars(_, step, values):
                self.metrics |= values.keys()
                self.newest = (next(reversed(values)), step)
            case Image(_, step, key):
                self.images.add((key, step))
            case Artifact(_, file):
                self.files.add(file)
            case Model(time, file):
                self.models[file] = time
            case Winner(_, name):
                self.champion_of.add(name)


def _has_point(client: "MlflowClient", run_id: str, point: tuple[str, int] | None) -> bool:
    """Return whether a metric has a value at a step."""
    return point is None or point[1] in {each.step for each in client.get_metric_history(run_id, point[0])}


def _has_files(client: "MlflowClient", run_id: str, had: Delivered) -> bool:
    """Return whether the delivered images and other files of a run are there."""
    folders = {str(Path(file).parent) for file in had.files}
    listed = [client.list_artifacts(run_id, None if folder == "." else folder) for folder in folders]
    files = {file.path for folder in listed for file in folder}
    return had.files <= files and (not had.images or had.images <= images_of(client, run_id))


def images_of(client: "MlflowClient", run_id: str) -> set[tuple[str, int]]:
    """Return key and step of the images that a run has, from MLflow's names for their files."""
    names = [Path(file.path).name for file in client.list_artifacts(run_id, "images")]
    found = [re.fullmatch(r"(.+?)\+step\+(\d+)\+.*\.png", name) for name in names]
    return {(each[1], int(each[2])) for each in found if each}


def read_stores(file: Path) -> tuple[dict[str, dict[str, Any]], bool]:
    """Return what was delivered where, and whether the note of it is damaged: then all is delivered anew, over what is there."""
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


def mark_restored(run: RunFolder) -> None:
    """Note in a run's state of deliveries that another host made them."""
    stores, _ = read_stores(run.delivery)
    for state in stores.values():
        state["restored"] = True
    write_json(run.delivery, {"stores": stores})
