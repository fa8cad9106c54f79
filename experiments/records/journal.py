"""The record of a run on disk: one line of JSON for each thing that happened, in order.

Training only appends here; MLflow is fed from it by another thread, or later. A
resumed run repeats some steps: what the journal has already is not written twice.
"""

import bisect
import errno
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.records.folders import RunFolder
from experiments.records.status import FailureKind, RunStatus
from gan import metric_names
from gan.errors import ConfigError
from gan.images import save_png

_decode = json.JSONDecoder().decode  # json.loads is slower: a long journal has 15,000 lines

Curves = dict[str, tuple[list[int], list[float]]]  # steps and values, by metric

FAILURE, FAILURE_KIND, FAILED_STEP = "failure", "failure_kind", "failed_step"
OF_A_FAILURE = (FAILURE, FAILURE_KIND, FAILED_STEP)  # tags of a run that failed
BY_HAND = "resumed_by_hand"  # tag of a run of a search that a person has resumed


@dataclass(frozen=True)
class Scalars:
    """Values of metrics at a step."""

    time: int  # when it was written, in milliseconds since 1970, as in every record
    step: int
    values: dict[str, float]  # by metric
    fid_proxy_id: str = ""  # the extractor that scores among them are in


@dataclass(frozen=True)
class Image:
    """An image made at a step."""

    time: int
    step: int
    key: str  # what it shows
    file: str  # relative to the run's folder, as in every record


@dataclass(frozen=True)
class Artifact:
    """A finished file for MLflow."""

    time: int
    file: str


@dataclass(frozen=True)
class Model:
    """A saved Keras generator for MLflow's models."""

    time: int
    file: str


@dataclass(frozen=True)
class Winner:
    """The run's model won a search."""

    time: int
    name: str  # of MLflow's registered model
    alias: str
    note: str


@dataclass(frozen=True)
class Tags:
    """Facts about the run."""

    time: int
    tags: dict[str, str]


@dataclass(frozen=True)
class Status:
    """The run's new state."""

    time: int
    status: RunStatus


Record = Scalars | Image | Artifact | Model | Winner | Tags | Status
KINDS = ("scalars", "image", "artifact", "model", "champion", "tags", "status")  # on disk, each a key of its line


@dataclass(frozen=True)
class Failure:
    """Why a run failed."""

    kind: FailureKind
    message: str  # for a person


def to_json(record: Record) -> dict[str, Any]:
    """Return a record as its line in the journal has it."""
    match record:
        case Scalars(time, step, values, fid_proxy_id):
            line = {"time": time, "kind": "scalars", "step": step, "scalars": values}
            return {**line, "fid_proxy_id": fid_proxy_id} if fid_proxy_id else line
        case Image(time, step, key, file):
            return {"time": time, "kind": "image", "step": step, "image": key, "file": file}
        case Artifact(time, file):
            return {"time": time, "kind": "artifact", "artifact": file}
        case Model(time, file):
            return {"time": time, "kind": "model", "model": file}
        case Winner(time, name, alias, note):
            return {"time": time, "kind": "champion", "champion": name, "alias": alias, "note": note}
        case Tags(time, tags):
            return {"time": time, "kind": "tags", "tags": tags}
        case Status(time, status):
            return {"time": time, "kind": "status", "status": status}


def from_json(line: Mapping[str, Any]) -> Record:
    """Return the record of a line. Raises KeyError and ValueError for what is none."""
    at = line["time"]
    kind = line.get("kind") or next((kind for kind in KINDS if kind in line), None)  # journals of 0.1 have no kinds
    match kind:
        case "scalars":
            return Scalars(at, line["step"], line["scalars"], line.get("fid_proxy_id", ""))
        case "image":
            return Image(at, line["step"], line["image"], line["file"])
        case "artifact":
            return Artifact(at, line["artifact"])
        case "model":
            return Model(at, line["model"])
        case "champion":
            return Winner(at, line["champion"], line.get("alias", "champion"), line["note"])  # 0.1 had this alias alone
        case "tags":
            return Tags(at, line["tags"])
        case "status":
            return Status(at, RunStatus(line["status"]))
    raise ValueError(f"{kind} is no kind of record")


class Journal:
    """A `gan.tracker.Tracker` that writes to a run's folder.

    Args:
        folder: of the run.
        fid_proxy_id: the extractor that scores of a training are in, written beside each.
    """

    def __init__(self, folder: RunFolder, fid_proxy_id: str = "") -> None:
        self._folder = folder
        self._fid_proxy_id = fid_proxy_id
        self._last_step: dict[str, int] = {}  # of each metric and image
        if folder.journal.exists():
            _drop_torn_end(folder.journal)
            for record, _ in read(folder.journal, 0):
                if isinstance(record, Scalars | Image):
                    for key in _keys(record):
                        self._last_step[key] = max(self._last_step.get(key, -1), record.step)
        self._stream = open(folder.journal, "a", encoding="utf-8")

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write the values of metrics; those of a step that a resumed run repeats are there already."""
        new = {key: value for key, value in values.items() if step > self._last_step.get(key, -1)}
        if new:
            is_score = any(key.startswith(("eval/", "final/")) for key in new)
            self._append(Scalars(_now(), step, new, self._fid_proxy_id if is_score else ""))

    def late_scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write values of any step, known only after the training; those in the journal are not written twice."""
        known = curves(self._folder.journal)
        new = {key: value for key, value in values.items() if step not in known.get(key, ([], []))[0]}
        if new:
            self._append(Scalars(_now(), step, new))

    def image(self, step: int, key: str, pixels: np.ndarray) -> None:
        """Save an image among the samples, and record it.

        Args:
            step: that it was made at.
            key: what it shows.
            pixels: (H, W, 3) uint8.
        """
        if step <= self._last_step.get(key, -1):
            return
        self._folder.samples.mkdir(exist_ok=True)
        file = self._folder.samples / f"{key}_{step:08d}.png"
        save_png(file, pixels)
        self._append(Image(_now(), step, key, self._relative(file)))

    def tick(self, step: int) -> None:
        """Do nothing: updates alone are not recorded."""

    def artifact(self, file: Path) -> None:
        """Record a finished file for MLflow, shown there under the same relative path."""
        self._append(Artifact(_now(), self._relative(file)))

    def model(self, file: Path) -> None:
        """Record a saved Keras generator for MLflow's models."""
        self._append(Model(_now(), self._relative(file)))

    def winner(self, name: str, alias: str, note: str) -> None:
        """Record that the run's model won a search.

        Args:
            name: of MLflow's registered model.
            alias: that the run's model gets there.
            note: the description of its version.
        """
        self._append(Winner(_now(), name, alias, note))

    def tags(self, tags: Mapping[str, str]) -> None:
        """Record facts about the run, which go before those of the same names."""
        self._append(Tags(_now(), dict(tags)))

    def failure(self, kind: FailureKind, message: str, step: int) -> None:
        """Record why the run failed, before its status.

        Args:
            kind: for programs.
            message: for a person.
            step: that it had come to.
        """
        self.tags({FAILURE: message, FAILURE_KIND: kind.value, FAILED_STEP: str(step)})

    def status(self, status: RunStatus) -> None:
        """Record the run's new state."""
        self._append(Status(_now(), status))

    def close(self) -> None:
        """Close the file; nothing can be recorded after it."""
        self._stream.close()

    def _relative(self, file: Path) -> str:
        return file.relative_to(self._folder.path).as_posix()

    def _append(self, record: Record) -> None:
        if os.fstat(self._stream.fileno()).st_nlink == 0:  # written to, it would grow unseen
            raise FileNotFoundError(errno.ENOENT, "the run's folder was deleted", str(self._folder.path))
        if isinstance(record, Scalars | Image):
            self._last_step.update(dict.fromkeys(_keys(record), record.step))
        self._stream.write(json.dumps(to_json(record)) + "\n")
        self._stream.flush()
        os.fsync(self._stream.fileno())  # a checkpoint says that all before it is on the disk


def read(file: Path, offset: int) -> Iterator[tuple[Record, int]]:
    """Yield whole records from a byte offset on, each with the offset after it. Raises ConfigError for a damaged one."""
    with open(file, "rb") as stream:
        stream.seek(offset)
        for line in stream:
            if not line.endswith(b"\n"):
                return
            record = parse(line)
            if record is None:
                raise _damaged(file, offset)
            offset += len(line)
            yield record, offset


def _records(file: Path) -> Iterator[Record]:
    """Yield all records of a journal; none where a run has written none yet."""
    if file.exists():
        yield from (record for record, _ in read(file, 0))


def times(file: Path) -> list[datetime]:
    """Return when records were written, by this host's clock."""
    return [datetime.fromtimestamp(record.time / 1000) for record in _records(file)]


def ends_at(file: Path, offset: int) -> bool:
    """Return whether a record of a journal ends at an offset, in bytes; False beyond its end."""
    with open(file, "rb") as stream:
        stream.seek(max(offset - 1, 0))
        return not offset or stream.read(1) == b"\n"


class Score(NamedTuple):
    """The score that stands for a run."""

    value: float
    step: int  # of the update that it was taken after
    is_final: bool  # of more images, at the end of the run


def score_of(curves: Curves) -> Score | None:
    """Return the score of a run from its curves; None for a run that was never scored.

    It is the score at the end of the run. A run that is not over, or that was resumed and scored since, has the mean
    of its last in-run scores instead, which a search minimises.
    """
    in_run_steps, in_run = curves.get(metric_names.FID_PROXY, ([], []))
    final_steps, final = curves.get(metric_names.FINAL_FID_PROXY, ([], []))
    if final and final_steps[-1] >= max(in_run_steps, default=0):
        return Score(final[-1], final_steps[-1], True)
    return Score(metric_names.in_run_score(in_run), in_run_steps[-1], False) if in_run else None


def step_of_model(file: Path) -> int | None:
    """Return after which update the last generator was saved for MLflow's models; None if none was."""
    step = saved = None
    for record in _records(file):
        match record:
            case Scalars(_, at, values) if metric_names.FINAL_FID_PROXY in values:  # stands before the generator
                step = at
            case Model():
                saved = step
    return saved


def curve(file: Path, key: str) -> tuple[list[int], list[float]]:
    """Return the steps and values of one metric."""
    return curves(file).get(key, ([], []))


def curves(file: Path) -> Curves:
    """Return the steps and values of all metrics, by name; steps rise, also where values of some came late."""
    by_metric: Curves = {}
    for record in _records(file):
        if isinstance(record, Scalars):
            for key, value in record.values.items():
                steps, values = by_metric.setdefault(key, ([], []))
                place = bisect.bisect_right(steps, record.step)
                steps.insert(place, record.step)
                values.insert(place, value)
    return by_metric


def all_tags(file: Path) -> dict[str, str]:
    """Return the run's tags, each with its last value."""
    tags: dict[str, str] = {}
    for record in _records(file):
        if isinstance(record, Tags):
            tags |= record.tags
    return tags


def last_status(file: Path) -> RunStatus | None:
    """Return the state that a run was last in; None for a new one, which has not said so yet."""
    return _last_state(file)[0]


def last_failure(file: Path) -> Failure | None:
    """Return why a run failed; None where its last state is another one than FAILED."""
    status, tags = _last_state(file)
    if status != RunStatus.FAILED:
        return None
    message = tags.get(FAILURE, "failed")  # a program that broke off left no message
    kind = tags.get(FAILURE_KIND)
    return Failure(FailureKind(kind) if kind is not None else _kind_in(message), message)


def has_ended(file: Path) -> bool:
    """Return whether a run finished or diverged; one that the disk, memory or a signal ended may be resumed."""
    failure = last_failure(file)
    if failure is not None:
        return failure.kind == FailureKind.DIVERGED
    return last_status(file) == RunStatus.FINISHED


def _last_state(file: Path) -> tuple[RunStatus | None, dict[str, str]]:
    """Return the last status, and the tags since the run was started or resumed."""
    status: RunStatus | None = None
    tags: dict[str, str] = {}
    for record in _records(file):
        if isinstance(record, Status):
            status = record.status
            if status == RunStatus.RUNNING:
                tags = {}
        elif isinstance(record, Tags):
            tags |= record.tags
    return status, tags


def _kind_in(message: str) -> FailureKind:
    """Return the kind of a failure in a journal of 0.1, which has the message alone."""
    if message.startswith("records cannot be written"):
        return FailureKind.RECORDS
    if message.startswith("out of memory"):
        return FailureKind.OUT_OF_MEMORY
    return FailureKind.DIVERGED if "last finite checkpoint" in message else FailureKind.OTHER


def _now() -> int:
    return time.time_ns() // 1_000_000


def _keys(record: Scalars | Image) -> list[str]:
    return [record.key] if isinstance(record, Image) else list(record.values)


def parse(line: bytes) -> Record | None:
    """Return the record of a line; None for what is none."""
    try:
        return from_json(_decode(line.decode()))
    except (ValueError, KeyError, TypeError):
        return None


def _damaged(file: Path, offset: int) -> ConfigError:
    remedy = f"the line at byte {offset} is not a record of a run; without that line the run can be resumed"
    return ConfigError("the run", "one with undamaged records", str(file), remedy)


def _drop_torn_end(file: Path) -> None:
    """Cut off what a kill or a power cut left at the end: half a line, or zeros.

    Raises ConfigError where records stand behind a damaged one: that is not how a process ends.
    """
    whole, torn = 0, False
    with open(file, "r+b") as stream:
        for line in stream:
            good = line.endswith(b"\n") and parse(line) is not None
            if good and torn:
                raise _damaged(file, whole)
            torn = torn or not good
            whole += 0 if torn else len(line)
        stream.truncate(whole)
