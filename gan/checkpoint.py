"""Checkpoints: arrays and a few plain numbers, written whole or not at all.

A file is an uncompressed .npz; each array in it carries a CRC-32 that is verified on
reading. It holds data only: nothing in it is unpickled or executed.
"""

import json
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gan.arrays import read_npz, write_npz

_META = "meta.json"


class CheckpointError(Exception):
    """A checkpoint that cannot be read, or none at all."""


class CheckpointWarning(UserWarning):
    """A damaged checkpoint was passed over for the one before."""


@dataclass(frozen=True)
class Checkpoint:
    """State after `step` updates."""

    step: int
    arrays: dict[str, np.ndarray]
    meta: dict[str, Any]  # JSON types


class Checkpoints:
    """The checkpoints of one run: the last few, and the best by score."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def best_file(self) -> Path:
        return self.folder / "best.npz"

    def by_step(self) -> dict[int, Path]:
        """Return the files of the last steps by step, the lowest first."""
        matches = {file: re.fullmatch(r"step_(\d+)", file.stem) for file in self.folder.glob("step_*.npz")}
        return dict(sorted((int(match[1]), file) for file, match in matches.items() if match))

    def files(self) -> list[Path]:
        """Return the files of the last steps, oldest first."""
        return list(self.by_step().values())

    @property
    def note(self) -> Path:  # why there are none any more
        return self.folder / "removed.txt"

    def all_files(self) -> list[Path]:
        """Return the files of the last steps and of the best one."""
        return [*self.files(), *([self.best_file] if self.best_file.exists() else [])]

    def remove(self, why: str) -> None:
        """Remove all checkpoints, and leave a note that says why."""
        self.folder.mkdir(exist_ok=True)
        self.note.write_text(f"{why}\n", encoding="utf-8")
        for file in self.all_files():
            file.unlink(missing_ok=True)

    @property
    def removed_because(self) -> str:
        """Why there are no checkpoints any more; empty where there are some, or never were."""
        return self.note.read_text(encoding="utf-8").strip() if self.note.exists() and not self.all_files() else ""

    def save(self, checkpoint: Checkpoint, keep: int = 3) -> Path:
        """Write a checkpoint and drop those before the last `keep`.

        Those of later steps are dropped too: a run that resumed from an earlier one trains these steps again.
        Raises OSError, as where the run's folder is gone, and ValueError if none would be kept.
        """
        if keep < 1:
            raise ValueError(f"keep must be at least 1; got {keep}")
        self.folder.mkdir(exist_ok=True)
        file = self.folder / f"step_{checkpoint.step:08d}.npz"
        write(file, checkpoint)
        files = self.files()
        upto = files.index(file) + 1
        for other in [*files[: max(upto - keep, 0)], *files[upto:]]:
            other.unlink()
        self.note.unlink(missing_ok=True)
        return file

    def save_best(self, checkpoint: Checkpoint) -> None:
        self.folder.mkdir(exist_ok=True)
        write(self.best_file, checkpoint)

    def find(self, step: str) -> Checkpoint:
        """Read the checkpoint of a step, `last` or `best`. Raises CheckpointError if it is not there or damaged."""
        if why := self.removed_because:
            raise CheckpointError(f"the checkpoints in {self.folder} were removed: {why}")
        if step == "last":
            return self.latest()
        if step == "best" and not self.best_file.exists():
            raise CheckpointError(f"there is no best checkpoint in {self.folder} yet: it is kept with the first score")
        if step == "best":
            return read(self.best_file)
        file = self.folder / f"step_{int(step):08d}.npz" if step.isdecimal() else None
        if file is None or not file.is_file():
            have = ", ".join(map(str, self.by_step()))
            raise CheckpointError(f"there is no checkpoint of step {step} in {self.folder}, but of {have or 'none'}")
        return read(file)

    def latest(self) -> Checkpoint:
        """Read the newest checkpoint that can be read; a damaged one is passed over with a warning.

        Raises CheckpointError if there is none.
        """
        for file in reversed(self.files()):
            try:
                return read(file)
            except CheckpointError as error:
                warnings.warn(f"{error}; it is skipped", CheckpointWarning, stacklevel=2)
        removed = f", which were removed: {why}" if (why := self.removed_because) else ""
        raise CheckpointError(f"no readable checkpoint in {self.folder}{removed}")


def read(file: Path) -> Checkpoint:
    """Read a checkpoint. Raises CheckpointError for a file that is missing, damaged or something else."""
    try:
        arrays = read_npz(file)
        meta = json.loads(arrays.pop(_META).tobytes())
        return Checkpoint(int(meta["step"]), arrays, meta)
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise CheckpointError(f"checkpoint {file} cannot be read: {error}") from error


def write(file: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, whole or not at all. Raises OSError."""
    meta = json.dumps({**checkpoint.meta, "step": checkpoint.step}).encode()
    write_npz(file, {**checkpoint.arrays, _META: np.frombuffer(meta, np.uint8)})
