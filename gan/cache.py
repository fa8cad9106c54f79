"""A cache of what takes time to make, safe for processes that start together."""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock

from gan.arrays import Arrays, read_npz, write_npz


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold `<path>.lock`, one process at a time; what fails leaves no folder or lock that was not there before."""
    lock = Path(f"{path}.lock")
    new = [place for place in (lock, path.parent, *path.parent.parents) if not place.exists()]
    try:
        with _acquired(lock):
            yield
    except BaseException:
        for each in new:
            with contextlib.suppress(OSError):  # other files are in it by now
                each.unlink() if each == lock else each.rmdir()
        raise


def _acquired(file: Path) -> contextlib.AbstractContextManager[object]:
    while True:
        file.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # another process, whose own work failed, took the folder back
            return FileLock(file).acquire()


def prepared(
    cache: Path, kind: str, key: str, build: Callable[[], Arrays], is_final: Callable[[Arrays], bool] = lambda _: True
) -> Arrays:
    """Return what `build` makes, kept in the cache for the next caller.

    Processes that ask for the same key at the same time wait for the first one. A damaged file is made anew.

    Args:
        cache: folder of the cache. It is made where it is missing.
        kind: what the file's name begins with.
        key: everything that the arrays depend on. Its hash ends the file's name.
        build: makes the arrays. It is called only if the cache does not have them.
        is_final: whether they may be kept; where not, the next caller makes them anew.

    Returns:
        The arrays by name.

    Raises:
        OSError: if the cache cannot be written. What `build` raises passes through, and nothing is kept then.
    """
    file = _file(cache, kind, key)
    if (arrays := _kept(file)) is not None:  # without a lock, which somebody else's folder may not allow
        return arrays
    with locked(file):
        if (arrays := _kept(file)) is not None:  # of a process that came first
            return arrays
        arrays = build()
        if is_final(arrays):
            write_npz(file, arrays)
        return arrays


def _file(cache: Path, kind: str, key: str) -> Path:
    return cache / f"{kind}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"


def _kept(file: Path) -> Arrays | None:
    if file.exists():
        with contextlib.suppress(OSError, ValueError):  # damaged: it is made anew
            return read_npz(file)
    return None


def fingerprint(files: list[Path]) -> str:
    """Return a key that changes when any of the files does: names, sizes, times of change."""
    return json.dumps([(str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns) for f in files])
