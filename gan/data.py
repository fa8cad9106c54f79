"""Where the pictures come from: every source ends in the same `Dataset` of uint8 images.

Nothing here needs TensorFlow but the download, which is Keras' own.
"""

import contextlib
import hashlib
import io
import json
import os
import pickle
import socket
import tarfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from filelock import FileLock

from gan.arrays import UNREADABLE, read_npz, write_atomically
from gan.config import CIFAR10_CLASSES, ConfigError, class_index

if TYPE_CHECKING:
    from PIL import Image

SIZE = 32  # height and width of every image, in pixels
MIN_IMAGES = 40  # the final picture shows as many real ones
SHIP = CIFAR10_CLASSES.index("ship")

Arrays = dict[str, np.ndarray]


class DataError(ConfigError):
    """Images that cannot be had or used, in one line: key, rule, value, remedy."""


class DownloadError(Exception):
    """CIFAR-10 that cannot be fetched, and why."""


class DataWarning(UserWarning):
    """Something about the images that the user should know before looking at results."""


@dataclass(frozen=True)
class Dataset:
    """Images to train on and, where the source has them, held-out ones."""

    source: str  # cifar10, embedded, folder or npz
    path: str | None  # where they were found, absolute; None for the built-in ones
    class_id: int | str  # the class by index, or all; all where there are no labels
    description: str  # for people: the source, its place and the class
    train: np.ndarray  # (N, 32, 32, 3) uint8
    test: np.ndarray  # (M, 32, 32, 3) uint8; M is 0 where nothing is held out

    @property
    def sha256(self) -> str:
        """Hash of the training pixels: equal for equal images in equal order."""
        return hashlib.sha256(np.ascontiguousarray(self.train).data).hexdigest()


def load_dataset(source: str, path: str | None, class_id: int | str, cache: Path) -> Dataset:
    """The images of a source, in the class asked for.

    `auto` takes `path` if given, else CIFAR-10 from Keras' cache, else a download, else
    the built-in pictures with a DataWarning. What takes time to decode is decoded once,
    into `cache`, safely for processes that start together. Raises DataError.
    """
    try:
        return _load(source, path, class_id, cache)
    except PermissionError as error:
        raise DataError("data.path", "readable", error.filename, error.strerror or "") from error


def _load(source: str, path: str | None, class_id: int | str, cache: Path) -> Dataset:
    index = class_index(class_id)
    asked = source
    if path is not None:
        path = os.path.expanduser(path)
        if not Path(path).exists():
            raise DataError("data.path", "an existing file or folder", path)
    if source == "auto":
        source, path = _find(path) if path is not None else _cifar10_or_embedded(cache)
    if source in ("folder", "npz") and path is None:
        raise DataError("data.path", f"given for data={source}", path)
    if source == "embedded" and path is not None:
        raise DataError("data.path", "absent for data=embedded, which is built in", path)
    if source == "cifar10" and path is None:
        try:
            path = _cifar10_of_keras(cache)
        except DownloadError as error:
            raise DataError(
                "data.path", "the place of CIFAR-10, as it cannot be downloaded", path, str(error)
            ) from error

    if source == "embedded":
        arrays, place = _load_embedded(index, class_id, cache), "built-in pictures"
    else:
        assert path is not None
        read = {"cifar10": _load_cifar10, "folder": _load_folder, "npz": _load_npz}[source]
        arrays, place = read(Path(path), cache), f"{source} {path}"
    if asked in ("folder", "npz") and "train_labels" not in arrays and index is not None:
        raise DataError("data.class_id", f"all for {place}, which has no labels", class_id)
    train, test, what = _select(source, place, arrays, index, class_id)
    found = None if path is None else str(Path(path).resolve())
    chosen = "all" if index is None or "train_labels" not in arrays else index
    return Dataset(source, found, chosen, f"{place}, {what}, {len(train):,} images", train, test)


def unscale(images: np.ndarray) -> np.ndarray:
    """float32 [-1, 1] -> uint8 [0, 255], rounded to the nearest, as a viewer shows it.

    The inverse of the tutorial's x / 127.5 - 1.
    """
    return np.clip(np.rint((images + 1.0) * 127.5), 0, 255).astype(np.uint8)


def _select(
    source: str, place: str, arrays: Arrays, index: int | None, class_id: int | str
) -> tuple[np.ndarray, np.ndarray, str]:
    """The class asked for out of images (N, 32, 32, 3) and, where present, labels (N,): train, test, its name."""
    train, test = arrays["train_images"], arrays["test_images"]
    labels = arrays.get("train_labels")
    if labels is None or index is None:
        what = "all classes" if labels is not None else "no labels"
    else:
        train, test = train[labels == index], test[arrays["test_labels"] == index]
        what = f"class {index} ({CIFAR10_CLASSES[index]})" if source != "npz" else f"class {index}"
        if not len(train):
            have = ", ".join(map(str, np.unique(labels)))
            raise DataError("data.class_id", f"a class of {place} ({have}) or all", class_id)
    if len(train) < MIN_IMAGES:
        raise DataError("data.path", f"at least {MIN_IMAGES} training images", f"{len(train)} in {place}")
    return np.ascontiguousarray(train), np.ascontiguousarray(test), what


# --- which source -----------------------------------------------------------------


def _find(path: str) -> tuple[str, str]:
    if path.endswith(".npz"):
        return "npz", path
    if path.endswith((".tar.gz", ".tgz")) or _batches_folder(Path(path)) is not None:
        return "cifar10", path
    if Path(path).is_dir():
        return "folder", path
    raise DataError("data.path", "a folder, an .npz file or CIFAR-10's .tar.gz", path)


def _keras_cache() -> str | None:
    """CIFAR-10 as any Keras version left it in its cache, whole, or None."""
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "datasets"
    for name in (
        "cifar-10-batches-py-target",
        "cifar-10-batches-py",
        "cifar-10-batches-py.tar.gz",
        "cifar-10-batches-py-target_archive",
    ):
        place = home / name
        folder = _batches_folder(place)
        if place.is_file() or (folder is not None and all((folder / batch).is_file() for batch in BATCHES)):
            return str(place)
    return None


def _cifar10_or_embedded(cache: Path) -> tuple[str, str | None]:
    try:
        return "cifar10", _cifar10_of_keras(cache)
    except DownloadError as error:
        warnings.warn(
            f"CIFAR-10 IS NOT HERE AND CANNOT BE DOWNLOADED ({error}).\n"
            "Training on the built-in drawings of ships instead; scores are not comparable with CIFAR-10's.\n"
            "If you have the data set: data.path=<folder or .tar.gz>",
            DataWarning,
            stacklevel=2,
        )
        return "embedded", None


def _cifar10_of_keras(cache: Path) -> str:
    """CIFAR-10 in Keras' cache; if it is not there, Keras fetches it, checksum and progress bar included.

    One process at a time, so that none looks while another unpacks. Raises DownloadError.
    """
    with _locked(cache / "download"):
        if found := _keras_cache():
            return found
        import keras

        timeout = socket.getdefaulttimeout()
        socket.setdefaulttimeout(20)  # seconds without a byte, so that a dead network is not waited for
        try:
            keras.datasets.cifar10.load_data()
        except Exception as error:  # Keras raises a plain Exception when a URL cannot be fetched
            raise DownloadError(" ".join(str(error).split())) from error
        finally:
            socket.setdefaulttimeout(timeout)
        if found := _keras_cache():
            return found
    raise DownloadError("Keras left no batch files in its cache")


# --- decoding once ----------------------------------------------------------------


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold `<path>.lock`, one process at a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        yield


def _prepared(cache: Path, key: str, build: Callable[[], Arrays]) -> Arrays:
    """What `build` makes, kept in the cache under a hash of `key` for the next caller."""
    file = cache / f"data-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
    with _locked(file):
        if file.exists():
            with contextlib.suppress(*UNREADABLE):
                return read_npz(file)
        arrays = build()
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        write_atomically(file, buffer.getvalue())
        return arrays


def _fingerprint(files: list[Path]) -> str:
    """A key that changes when any of the files does: names, sizes, times of change."""
    return json.dumps([(str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns) for f in files])


# --- CIFAR-10 ---------------------------------------------------------------------

TRAIN_BATCHES = tuple(f"data_batch_{k}" for k in range(1, 6))
BATCHES = (*TRAIN_BATCHES, "test_batch")


def _batches_folder(path: Path) -> Path | None:
    """The folder that holds the batch files: the path itself or one in it."""
    for folder in (path, path / "cifar-10-batches-py"):
        if any((folder / name).is_file() for name in BATCHES):
            return folder
    return None


def _load_cifar10(path: Path, cache: Path) -> Arrays:
    if path.is_file():
        return _prepared(cache, _fingerprint([path]), lambda: _stack(_read_archive(path)))
    folder = _batches_folder(path)
    if folder is None:
        raise DataError("data.path", "a folder with cifar-10-batches-py or its .tar.gz", str(path))
    files = [folder / name for name in BATCHES]
    for file in files:
        if not file.is_file():
            raise DataError("data.path", f"a folder with {file.name}", str(folder), "a batch file is missing")
    return _prepared(
        cache, _fingerprint(files), lambda: _stack({f.name: _read_batch(f.read_bytes(), str(f)) for f in files})
    )


def _read_archive(path: Path) -> dict[str, Arrays]:
    """The batches of the .tar.gz, read in place: no member is ever written to disk."""
    batches = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = Path(member.name).name
                if name in BATCHES and (stream := archive.extractfile(member)) is not None:
                    batches[name] = _read_batch(stream.read(), f"{path}:{member.name}")
    except (tarfile.TarError, *UNREADABLE) as error:
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
    """One pickled batch -> images (N, 32, 32, 3) uint8 and labels (N,) uint8."""
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


# --- the other sources ------------------------------------------------------------


def _load_embedded(index: int | None, class_id: int | str, cache: Path) -> Arrays:
    if index not in (SHIP, None):
        raise DataError(
            "data.class_id", "8 (ship) for the built-in pictures", class_id, "for other classes pass data.path"
        )
    from gan import embedded

    def build() -> Arrays:
        train, test = embedded.draw()
        labels = {f"{part}_labels": np.full(len(x), SHIP, np.uint8) for part, x in (("train", train), ("test", test))}
        return {"train_images": train, "test_images": test, **labels}

    return _prepared(cache, f"embedded {embedded.VERSION}", build)


def _load_npz(path: Path, cache: Path) -> Arrays:
    """`images` (N, 32, 32, 3) uint8; optional `labels`, `test_images`, `test_labels`."""
    try:
        arrays = read_npz(path)
    except UNREADABLE as error:
        raise DataError("data.path", "an .npz file of plain arrays", str(path), str(error)) from error
    if "images" not in arrays:
        have = ", ".join(arrays) or "nothing"
        raise DataError("data.path", "an .npz file with an array `images`", str(path), f"it holds {have}")
    result = {
        "train_images": arrays["images"],
        "test_images": arrays.get("test_images", np.zeros((0, SIZE, SIZE, 3), np.uint8)),
    }
    for name, images in result.items():
        if images.dtype != np.uint8 or images.shape[1:] != (SIZE, SIZE, 3):
            got = f"{images.dtype} {images.shape} in {path}"
            raise DataError("data.path", f"{name.removeprefix('train_')} of (N, 32, 32, 3) uint8", got)
    if "labels" in arrays:
        result["train_labels"] = arrays["labels"]
        result["test_labels"] = arrays.get("test_labels", np.zeros(len(result["test_images"]), np.uint8))
        for part in ("train", "test"):
            labels = result[f"{part}_labels"]
            if labels.shape != (len(result[f"{part}_images"]),) or labels.dtype.kind not in "iu":
                got = f"labels {labels.dtype} {labels.shape} in {path}"
                raise DataError("data.path", "an .npz with one integer label an image", got)
    return result


def _load_folder(path: Path, cache: Path) -> Arrays:
    """All pictures in a folder and the folders in it, by extension."""
    from PIL import Image

    if not path.is_dir():
        raise DataError("data.path", "a folder of pictures", str(path))
    known = set(Image.registered_extensions())
    files = sorted(f for f in path.rglob("*") if f.suffix.lower() in known and f.is_file())
    if len(files) < MIN_IMAGES:
        raise DataError(
            "data.path", f"a folder with at least {MIN_IMAGES} pictures", str(path), f"it holds {len(files)}"
        )
    arrays = _prepared(cache, _fingerprint(files), lambda: _read_pictures(files))
    if len(arrays["train_images"]) < MIN_IMAGES:
        got = f"{len(arrays['train_images'])} of {len(files)} in {path}"
        raise DataError("data.path", f"a folder with at least {MIN_IMAGES} pictures that can be read", got)
    bad = [str(files[i].relative_to(path)) for i in arrays.pop("unreadable")]
    if bad:
        shown = ", ".join(bad[:10]) + (f" and {len(bad) - 10} more" if len(bad) > 10 else "")
        warnings.warn(
            f"{len(bad)} of {len(files)} files in {path} cannot be read and are left out: {shown}",
            DataWarning,
            stacklevel=2,
        )
    return arrays


def _read_pictures(files: list[Path]) -> Arrays:
    """Centre-cropped to a square and resized to 32x32; indices of those that cannot be read."""
    from PIL import Image, ImageOps

    images, unreadable = [], []
    for index, file in enumerate(files):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # large, and wanted
                picture = Image.open(file)
            with picture:
                upright = _rgb(ImageOps.exif_transpose(picture))
                images.append(np.asarray(ImageOps.fit(upright, (SIZE, SIZE), Image.Resampling.LANCZOS)))
        except (*UNREADABLE, SyntaxError, Image.DecompressionBombError):
            unreadable.append(index)
    return {
        "train_images": np.stack(images) if images else np.zeros((0, SIZE, SIZE, 3), np.uint8),
        "test_images": np.zeros((0, SIZE, SIZE, 3), np.uint8),
        "unreadable": np.array(unreadable, np.int64),
    }


def _rgb(picture: "Image.Image") -> "Image.Image":
    """What a viewer shows: 16 bits a channel scaled down, transparency on white."""
    from PIL import Image

    if picture.mode.startswith("I"):
        values = np.asarray(picture).astype(np.float64)
        values /= 257 if values.max() > 255 else 1
        picture = Image.fromarray(values.clip(0, 255).astype(np.uint8))
    if picture.has_transparency_data:
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA"))
    return picture.convert("RGB")
