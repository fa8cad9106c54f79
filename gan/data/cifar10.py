"""CIFAR-10 in its standard layout: the folder, the .tar.gz, Keras' cache, or a download."""

import io
import os
import pickle
import tarfile
import zlib
from pathlib import Path

import numpy as np

from gan.arrays import Arrays
from gan.cache import fingerprint, locked, prepared
from gan.data.contract import SIZE, DataError
from gan.downloads import DownloadError, download, is_readable, is_whole, keras_homes

TRAIN_BATCHES = tuple(f"data_batch_{k}" for k in range(1, 6))
BATCHES = (*TRAIN_BATCHES, "test_batch")
ORIGIN = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
ARCHIVE_SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
KEPT_AS = "cifar-10-batches-py-target"  # in the cache of Keras 3


def read(path: Path, cache: Path) -> Arrays:
    if path.is_file():
        return prepared(cache, "data", fingerprint([path]), lambda: _stack(_read_archive(path)))
    folder = batches_folder(path)
    if folder is None:
        raise DataError("data.path", "a folder with cifar-10-batches-py or its .tar.gz", str(path))
    files = [folder / name for name in BATCHES]
    for file in files:
        if not file.is_file():
            raise DataError("data.path", f"a folder with {file.name}", str(folder), "a batch file is missing")
    return prepared(
        cache, "data", fingerprint(files), lambda: _stack({f.name: _read_batch(f.read_bytes(), str(f)) for f in files})
    )


def of_keras(cache: Path) -> str:
    """Return the place of CIFAR-10 in Keras' cache; if it is not there, Keras downloads it.

    One process at a time, so that none looks while another unpacks.

    Args:
        cache: where the lock of the download lies if Keras' own folder cannot be written.

    Raises:
        DownloadError: if it cannot be downloaded.
    """
    home = keras_homes()[-1]  # that of processes with other records, too
    with locked((home if os.access(home, os.W_OK) else cache) / "download"):
        if place := _keras_cache():
            return place
        download(ORIGIN, "datasets", ARCHIVE_SHA256, name=KEPT_AS, extract=True)
        if place := _keras_cache():
            return place
    raise DownloadError("Keras left no batch files in its cache")


def batches_folder(path: Path) -> Path | None:
    """Return the folder that holds the batch files: the path itself or one in it."""
    for folder in (path, path / "cifar-10-batches-py"):
        if any(os.path.isfile(folder / name) for name in BATCHES):  # Path.is_file raises where it may not enter
            return folder
    return None


def _keras_cache() -> str | None:
    """Return CIFAR-10 as any Keras version left it in its cache, whole and readable, or None."""
    for place in (home / "datasets" / name for home in keras_homes() for name in (KEPT_AS, "cifar-10-batches-py")):
        folders = (place, place / "cifar-10-batches-py")
        if any(all(is_readable(folder / name) for name in BATCHES) for folder in folders):
            return str(place)
    # An archive may be what an interrupted download has left, so Keras' names for it count with the right hash alone.
    archives = ("cifar-10-batches-py.tar.gz", f"{KEPT_AS}_archive")
    for place in (home / "datasets" / name for home in keras_homes() for name in archives):
        if is_whole(place, "sha256", ARCHIVE_SHA256):
            return str(place)
    return None


def _read_archive(path: Path) -> dict[str, Arrays]:
    """Read the batches of the .tar.gz in place: no member is ever written to disk."""
    batches = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = Path(member.name).name
                if name in BATCHES and (stream := archive.extractfile(member)) is not None:
                    batches[name] = _read_batch(stream.read(), f"{path}:{member.name}")
    except DataError:  # of one batch in it: says which
        raise
    except (tarfile.TarError, zlib.error, OSError, EOFError, ValueError) as error:
        raise DataError("data.path", "an undamaged CIFAR-10 .tar.gz", str(path), str(error)) from error
    for name in BATCHES:
        if name not in batches:
            raise DataError("data.path", f"a CIFAR-10 archive with {name}", str(path))
    return batches


def _stack(batches: dict[str, Arrays]) -> Arrays:
    train = [batches[name] for name in TRAIN_BATCHES]
    return {
        "train_images": np.concatenate([b["images"] for b in train]),
        "train_labels": np.concatenate([b["labels"] for b in train]),
        "test_images": batches["test_batch"]["images"],
        "test_labels": batches["test_batch"]["labels"],
    }


class _ArraysOnly(pickle.Unpickler):
    """Reads dictionaries, lists, numbers, bytes and NumPy arrays, and runs nothing."""

    ALLOWED = frozenset(
        (module, name)
        for core in ("numpy.core", "numpy._core")  # before and after NumPy 2
        for module, name in (
            (f"{core}.multiarray", "_reconstruct"),
            (f"{core}.multiarray", "scalar"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
        )
    )

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is no array")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def _read_batch(content: bytes, place: str) -> Arrays:
    """Read one pickled batch: images (N, 32, 32, 3) uint8 and labels (N,) uint8."""
    rule = "an undamaged CIFAR-10 batch file"
    try:
        batch = _ArraysOnly(io.BytesIO(content), encoding="bytes").load()
    # A damaged pickle can raise nearly anything that building plain objects can raise.
    except (
        pickle.UnpicklingError,
        EOFError,
        ValueError,
        TypeError,
        AttributeError,
        LookupError,
        ArithmeticError,
        ImportError,
        MemoryError,
        RecursionError,
    ) as error:
        raise DataError("data.path", rule, place, str(error) or type(error).__name__) from error
    data = batch.get(b"data") if isinstance(batch, dict) else None
    labels = batch.get(b"labels") if isinstance(batch, dict) else None
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 3 * SIZE * SIZE:
        raise DataError("data.path", rule, place, "no uint8 array (N, 3072) under b'data'")
    if (
        not isinstance(labels, list)
        or len(labels) != len(data)
        or not all(isinstance(x, int) and 0 <= x <= 9 for x in labels)
    ):
        raise DataError("data.path", rule, place, "no list of N labels 0 to 9 under b'labels'")
    images = data.reshape(-1, 3, SIZE, SIZE).transpose(0, 2, 3, 1)
    return {"images": np.ascontiguousarray(images), "labels": np.array(labels, np.uint8)}
