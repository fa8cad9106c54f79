"""What takes time to make is made once, safely for processes that start together."""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock

from gan.arrays import Arrays, read_npz, write_npz


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold `<path>.lock`, one process at a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        yield


def prepared(cache: Path, kind: str, key: str, build: Callable[[], Arrays]) -> Arrays:
    """What `build` makes, kept in the cache under its kind and a hash of `key` for the next caller."""
    file = cache / f"{kind}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
    with locked(file):
        if file.exists():
            with contextlib.suppress(OSError, ValueError):  # damaged: it is made anew
                return read_npz(file)
        arrays = build()
        write_npz(file, arrays)
        return arrays


def fingerprint(files: list[Path]) -> str:
    """A key that changes when any of the files does: names, sizes, times of change."""
    return json.dumps([(str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns) for f in files])
