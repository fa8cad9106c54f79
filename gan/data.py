"""Where the pictures come from: every source ends in the same `Dataset` of uint8 images.

Nothing here needs TensorFlow but the download, which is Keras' own.
"""

import hashlib
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gan import embedded
from gan.arrays import Arrays
from gan.cache import prepared
from gan.config import CIFAR10_CLASSES, ClassId, class_index
from gan.sources import MIN_IMAGES, DataError, DataWarning, cifar10, folder, npz

SHIP = CIFAR10_CLASSES.index("ship")


@dataclass(frozen=True)
class Dataset:
    """Images to train on and, where the source has them, held-out ones."""

    source: str  # cifar10, embedded, folder or npz
    path: str | None  # where they were found, absolute; None for the built-in ones
    class_id: int | str  # the class by index, or all; all where there are no labels
    description: str  # for people: the source, its place and the class
    train: np.ndarray  # (N, 32, 32, 3) uint8
    test: np.ndarray  # (M, 32, 32, 3) uint8; M is 0 where nothing is held out
    train_labels: np.ndarray | None = None  # (N,) integers, where the source has them
    test_labels: np.ndarray | None = None

    @property
    def sha256(self) -> str:
        """Hash of the training pixels: equal for equal images in equal order."""
        return pixel_hash(self.train)


def pixel_hash(images: np.ndarray) -> str:
    """SHA-256 of the bytes of (N, 32, 32, 3) uint8."""
    return hashlib.sha256(np.ascontiguousarray(images).data).hexdigest()


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
    found, place = _where(source, path, cache)
    if found != "npz" and place is not None and index is not None and index >= len(CIFAR10_CLASSES):
        raise DataError("data.class_id", str(ClassId()), class_id)
    arrays = _read(found, place, index, class_id, cache)
    name = "built-in pictures" if place is None else f"{found} {place}"
    labelled = "train_labels" in arrays
    if source in ("folder", "npz") and not labelled and index is not None:
        raise DataError("data.class_id", f"all for {name}, which has no labels", class_id)
    chosen = index if labelled and index is not None else "all"
    what = "all classes" if labelled else "no labels"
    if isinstance(chosen, int):
        labels = arrays["train_labels"]
        arrays = _of_class(arrays, chosen)
        what = f"class {chosen}" + (f" ({CIFAR10_CLASSES[chosen]})" if found != "npz" else "")
        if not len(arrays["train_images"]):
            have = ", ".join(map(str, np.unique(labels)))
            raise DataError("data.class_id", f"a class of {name} ({have}) or all", class_id)
    count = len(arrays["train_images"])
    if count < MIN_IMAGES:
        raise DataError("data.path", f"at least {MIN_IMAGES} training images", f"{count} in {name}")
    return Dataset(
        found,
        None if place is None else str(Path(place).resolve()),
        chosen,
        f"{name}, {what}, {count:,} images",
        np.ascontiguousarray(arrays["train_images"]),
        np.ascontiguousarray(arrays["test_images"]),
        arrays.get("train_labels"),
        arrays.get("test_labels"),
    )


def _of_class(arrays: Arrays, index: int) -> Arrays:
    """What is of a class; held-out images without labels are of none."""
    of_class = {}
    for name, array in arrays.items():
        labels = arrays.get(f"{name.partition('_')[0]}_labels")
        of_class[name] = array[:0] if labels is None else array[labels == index]
    return of_class


def _where(source: str, path: str | None, cache: Path) -> tuple[str, str | None]:
    """The source that `auto` comes to, and its place; None for the built-in pictures."""
    if path is not None:
        path = os.path.expanduser(path)
        if not Path(path).exists():
            raise DataError("data.path", "an existing file or folder", path)
        if source == "embedded":
            raise DataError("data.path", "absent for data=embedded, which is built in", path)
        return (_kind(path), path) if source == "auto" else (source, path)
    if source in ("folder", "npz"):
        raise DataError("data.path", f"given for data={source}", path)
    if source == "embedded":
        return source, None
    try:
        return "cifar10", cifar10.of_keras(cache)
    except cifar10.DownloadError as error:
        if source == "cifar10":
            rule = "the place of CIFAR-10, as it cannot be downloaded"
            raise DataError("data.path", rule, path, f"{error}; data=embedded needs no download") from error
        warnings.warn(
            f"CIFAR-10 IS NOT HERE AND CANNOT BE DOWNLOADED ({error}).\n"
            "Training on the built-in drawings of ships instead; scores are not comparable with CIFAR-10's.\n"
            "If you have the data set: data.path=<folder or .tar.gz>",
            DataWarning,
            stacklevel=2,
        )
        return "embedded", None


def _kind(path: str) -> str:
    """What `auto` takes a path for, by its name and what is in it."""
    if path.endswith(".npz"):
        return "npz"
    if path.endswith((".tar.gz", ".tgz")) or cifar10.batches_folder(Path(path)) is not None:
        return "cifar10"
    if Path(path).is_dir():
        return "folder"
    raise DataError("data.path", "a folder, an .npz file or CIFAR-10's .tar.gz", path)


def _read(source: str, place: str | None, index: int | None, class_id: int | str, cache: Path) -> Arrays:
    if place is None:
        if index not in (SHIP, None):
            rule = "8 (ship) for the built-in pictures"
            raise DataError("data.class_id", rule, class_id, "for other classes pass data.path")
        return prepared(cache, "data", f"embedded {embedded.VERSION}", _draw)
    if source == "npz":
        return npz.read(Path(place))
    return (cifar10 if source == "cifar10" else folder).read(Path(place), cache)


def _draw() -> Arrays:
    train, test = embedded.draw()
    labels = {f"{part}_labels": np.full(len(x), SHIP, np.uint8) for part, x in (("train", train), ("test", test))}
    return {"train_images": train, "test_images": test, **labels}


def unscale(images: np.ndarray) -> np.ndarray:
    """float32 [-1, 1] -> uint8 [0, 255], rounded to the nearest, as a viewer shows it.

    The inverse of the tutorial's x / 127.5 - 1.
    """
    return np.clip(np.rint((images + 1.0) * 127.5), 0, 255).astype(np.uint8)
