"""The record of a run on disk: one line of JSON for each thing that happened, in order.

Training only ever appends here; MLflow is fed from it by another thread, or later. A
run taken up from a checkpoint passes through some steps again: what the journal has
already is not written twice.
"""

import errno
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.records.folders import RunFolder
from gan.errors import ConfigError
from gan.images import save_png

Record = dict[str, Any]


class Journal:
    """A `gan.tracker.Tracker` that writes to a run's folder.

    fid_proxy_id: the extractor that scores of a training are in, written beside each.
    """

    def __init__(self, folder: RunFolder, fid_proxy_id: str = "") -> None:
        self._folder = folder
        self._score = {"fid_proxy_id": fid_proxy_id} if fid_proxy_id else {}
        self._last_step: dict[str, int] = {}  # of each metric and picture
        if folder.journal.exists():
            _drop_torn_end(folder.journal)
            for record, _ in read(folder.journal, 0):
                for key in _keys(record):
                    self._last_step[key] = max(self._last_step.get(key, -1), record["step"])
        self._stream = open(folder.journal, "a", encoding="utf-8")

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        new = {key: value for key, value in values.items() if step > self._last_step.get(key, -1)}
        if new:
            is_score = any(key.startswith(("eval/", "final/")) for key in new)
            self._append({"step": step, "scalars": new, **(self._score if is_score else {})})

    def late_scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Values of any step, found out after the training; what the journal has already is not written twice."""
        new = {key: value for key, value in values.items() if step not in curve(self._folder.journal, key)[0]}
        if new:
            self._append({"step": step, "scalars": new})

    def image(self, step: int, key: str, pixels: np.ndarray) -> None:
        if step <= self._last_step.get(key, -1):
            return
        self._folder.samples.mkdir(exist_ok=True)
        file = self._folder.samples / f"{key}_{step:08d}.png"
        save_png(file, pixels)
        self._append({"step": step, "image": key, "file": self._relative(file)})

    def tick(self, step: int) -> None:
        pass

    def artifact(self, file: Path) -> None:
        """A finished file for MLflow, shown there under the same relative path."""
        self._append({"artifact": self._relative(file)})

    def model(self, file: Path) -> None:
        """A saved Keras generator for MLflow's models."""
        self._append({"model": self._relative(file)})

    def winner(self, name: str, alias: str, note: str) -> None:
        """The run's model won a search: MLflow's registered model of this name gets it under the alias."""
        self._append({"champion": name, "alias": alias, "note": note})

    def tags(self, tags: Mapping[str, str]) -> None:
        self._append({"tags": dict(tags)})

    def status(self, status: str) -> None:
        """MLflow's word for the run's state: RUNNING, FINISHED, KILLED or FAILED."""
        self._append({"status": status})

    def close(self) -> None:
        self._stream.close()

    def _relative(self, file: Path) -> str:
        return file.relative_to(self._folder.path).as_posix()

    def _append(self, record: Record) -> None:
        if os.fstat(self._stream.fileno()).st_nlink == 0:  # written to, it would grow unseen
            raise FileNotFoundError(errno.ENOENT, "the run's folder was deleted", str(self._folder.path))
        for key in _keys(record):
            self._last_step[key] = record["step"]
        self._stream.write(json.dumps({"time": time.time_ns() // 1_000_000, **record}) + "\n")
        self._stream.flush()
        os.fsync(self._stream.fileno())  # a checkpoint says that all before it is on the disk


def read(file: Path, offset: int) -> Iterator[tuple[Record, int]]:
    """Whole records from a byte offset on, each with the offset after it. Raises ConfigError for a damaged one."""
    with open(file, "rb") as stream:
        stream.seek(offset)
        for line in stream:
            if not line.endswith(b"\n"):
                return
            record = _parsed(line)
            if record is None:
                raise _damaged(file, offset)
            offset += len(line)
            yield record, offset


def curve(file: Path, key: str) -> tuple[list[int], list[float]]:
    """Steps and values of one metric."""
    points = [(r["step"], r["scalars"][key]) for r, _ in read(file, 0) if key in r.get("scalars", {})]
    return [step for step, _ in points], [value for _, value in points]


def curves(file: Path) -> dict[str, tuple[list[int], list[float]]]:
    """Steps and values of all metrics, by name."""
    found: dict[str, tuple[list[int], list[float]]] = {}
    for record, _ in read(file, 0):
        for key, value in record.get("scalars", {}).items():
            steps, values = found.setdefault(key, ([], []))
            steps.append(record["step"])
            values.append(value)
    return found


def last_status(file: Path) -> str:
    """MLflow's word for the state that a run was last in; nothing for a new one, which has not said so yet."""
    if not file.exists():
        return ""
    states = [record["status"] for record, _ in read(file, 0) if "status" in record]
    return str(states[-1]) if states else ""


def _keys(record: Record) -> list[str]:
    return [record["image"]] if "image" in record else list(record.get("scalars", {}))


def _parsed(line: bytes) -> Record | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _damaged(file: Path, offset: int) -> ConfigError:
    remedy = f"the line at byte {offset} is no JSON object; without that line the run can go on"
    return ConfigError("the run", "one with undamaged records", str(file), remedy)


def _drop_torn_end(file: Path) -> None:
    """A process killed while writing leaves half a line at the end; a power cut, zeros.

    Raises ConfigError where records stand behind a damaged one: that is not how a process ends.
    """
    whole, torn = 0, False
    with open(file, "r+b") as stream:
        for line in stream:
            good = line.endswith(b"\n") and _parsed(line) is not None
            if good and torn:
                raise _damaged(file, whole)
            torn = torn or not good
            whole += 0 if torn else len(line)
        stream.truncate(whole)
