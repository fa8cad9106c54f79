"""Where the images come from: every source ends in the same `Dataset` of uint8 images.

Nothing here needs TensorFlow but the download, which is Keras' own.
"""

import contextlib
import functools
import hashlib
import os
import unicodedata
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gan.arrays import Arrays
from gan.cache import prepared
from gan.data import cifar10, drawings, folder, npz
from gan.data.classes import CIFAR10_CLASSES, CIFAR10_RULE, class_index, is_cifar10_class
from gan.data.contract import MIN_IMAGES, SOURCES, DataError, DataWarning
from gan.data.folder import CheckNames, Progress
from gan.downloads import DownloadError
from gan.errors import check_name, nearest

SHIP = CIFAR10_CLASSES.index("ship")
NEARLY_CONSTANT = 8  # standard deviation of all values, of 255
FLAT = 2  # and of those of one image
DARK = 32  # an image below this is black, one as near to 255 white: so 12 of 16 bits look, read wrongly
SOME = 0.1  # fraction of images that show next to nothing, from which on a warning is printed
LISTED = 20  # names of sub-folders in one line


@dataclass(frozen=True)
class Dataset:
    """Images to train on and, where the source has them, held-out ones."""

    source: str  # cifar10, embedded, folder or npz
    path: str | None  # where they were found, absolute; None for the built-in ones
    class_id: int | str  # the class by index, or by a sub-folder's name; all where there are no labels
    description: str  # for people: the source, its place and the class
    train: np.ndarray  # (N, 32, 32, 3) uint8
    test: np.ndarray  # (M, 32, 32, 3) uint8; M is 0 where nothing is held out
    train_labels: np.ndarray | None = None  # (N,) integers, where the source has them
    test_labels: np.ndarray | None = None
    class_names: tuple[str, ...] = ()  # of a folder's sub-folders, by label

    @functools.cached_property
    def sha256(self) -> str:
        """Hash of the training pixels: equal for equal images in equal order."""
        return pixel_hash(self.train)


def pixel_hash(images: np.ndarray) -> str:
    """Return the SHA-256 of the bytes of (N, 32, 32, 3) uint8."""
    return hashlib.sha256(np.ascontiguousarray(images).data).hexdigest()


def load_dataset(
    source: str,
    path: str | None,
    class_id: int | str,
    cache: Path,
    progress: Progress = lambda done, total: None,
) -> Dataset:
    """Load the images of a source, in the class asked for.

    `auto` takes `path` if given, else CIFAR-10 from Keras' cache, else a download, else
    the built-in drawings with a DataWarning. What takes time to decode is decoded once,
    into `cache`, safely for processes that start together.

    Args:
        source: auto, cifar10, embedded, folder or npz.
        path: file or folder of the images, `~` allowed. None for those that need none: embedded, and cifar10 from
            Keras' cache or a download.
        class_id: a class by index, by its name in CIFAR-10 or by a sub-folder's name; `all` for all images.
        cache: folder for what is decoded.
        progress: called with the number of images decoded and the number of all images, while a folder is decoded.

    Returns:
        The images, at least `MIN_IMAGES` of them to train on, with their labels where the source has them.

    Raises:
        DataError: for images that cannot be had, read or used, and for a class that they do not have.
        ConfigError: for another source, and for a class of an .npz that is neither an index nor the name of a class of
            CIFAR-10.
        PermissionError: for a file outside `path` that may not be used, such as one of the cache.
    """
    check_name("data.source", source, SOURCES)
    try:
        return _load(source, path, class_id, cache, progress)
    except PermissionError as error:
        if path is None or not Path(str(error.filename)).is_relative_to(os.path.expanduser(path)):
            raise  # of the cache, say
        raise DataError("data.path", "readable", error.filename, error.strerror or "") from error


def _load(source: str, path: str | None, class_id: int | str, cache: Path, progress: Progress) -> Dataset:
    kind, place = _where(source, path, cache)
    name = "built-in drawings" if place is None else f"{kind} {place}"

    def check_names(folders: list[str]) -> None:
        _choose(source, kind, name, class_id, folders, bool(folders))

    arrays = _read(kind, place, class_id, cache, progress, check_names)
    for part in ("train", "test"):
        _check_range(arrays[f"{part}_images"], part, name)
    folders = [str(class_name) for class_name in arrays.pop("class_names", [])]
    chosen, index = _choose(source, kind, name, class_id, folders, "train_labels" in arrays)
    different = np.unique(arrays["train_labels"]) if kind == "npz" and "train_labels" in arrays else None
    _warn_if_ships(source, class_id, folders, name, different)
    if index is None:
        content = _of_all(folders) if "train_labels" in arrays else "no labels"
    else:
        labels = arrays["train_labels"]
        arrays = _of_class(arrays, index)
        names = folders or (CIFAR10_CLASSES if kind != "npz" else ())
        content = f"class {chosen}" + (f" ({names[index]})" if names and names[index] != chosen else "")
        if not len(arrays["train_images"]):
            have = ", ".join(folders[label] if folders else str(label) for label in np.unique(labels[labels >= 0]))
            unread = f"no image of {chosen} can be read" if folders else ""
            raise DataError("data.class_id", f"a class of {name} ({have}) or all", class_id, unread)
    count = len(arrays["train_images"])
    if count < MIN_IMAGES:
        of_class = f", {content}" if index is not None else ""
        raise DataError("data.path", f"at least {MIN_IMAGES} training images", f"{count} in {name}{of_class}")
    _warn_if_constant(arrays["train_images"], name)
    return Dataset(
        kind,
        None if place is None else str(Path(place).resolve()),
        chosen,
        f"{name}, {content}, {count:,} images",
        np.ascontiguousarray(arrays["train_images"]),
        np.ascontiguousarray(arrays["test_images"]),
        arrays.get("train_labels"),
        arrays.get("test_labels"),
        tuple(folders),
    )


def _choose(
    source: str, kind: str, name: str, class_id: int | str, folders: list[str], labelled: bool
) -> tuple[int | str, int | None]:
    """Return the class as records have it, and its label; `all` and None for all images.

    A folder's class is recorded by its name, which stays when others come or go. Raises DataError.
    """
    if folders:
        return _choose_folder(source, name, class_id, folders)
    if source == "auto" and kind in ("folder", "npz") and class_id == SHIP:  # the default, which means CIFAR-10's ships
        return "all", None
    if kind == "folder" and class_id != "all":
        raise DataError("data.class_id", f"all for {name}, which has no sub-folders", class_id)
    index = class_index(class_id)
    if kind == "npz" and not labelled and index is not None:
        raise DataError("data.class_id", f"all for {name}, which has no labels", class_id)
    return (index, index) if labelled and index is not None else ("all", None)


def _choose_folder(source: str, name: str, class_id: int | str, folders: list[str]) -> tuple[int | str, int | None]:
    """Return a sub-folder by name or, where none has that name, by its place in their order."""
    if class_id == "all":
        return "all", None
    if source == "auto" and class_id == SHIP:  # the default, as above
        return "all", None
    _check_number(name, class_id, folders)
    if (named := _named(str(class_id), folders)) is not None:
        index = folders.index(named)
    elif isinstance(class_id, int) and class_id < len(folders):
        index = class_id
    else:
        rule = f"all or a sub-folder of {name}: {_listed(folders)}"
        raise DataError("data.class_id", rule, class_id, nearest(str(class_id), folders))
    return (folders[index] if folders[index] != "all" else index), index


def _named(name: str, folders: list[str]) -> str | None:
    """Return the sub-folder of a name, on disk perhaps with accents as letters of their own, as macOS has them."""
    alike = [folder for folder in folders if composed(folder) == composed(name)]
    return name if name in alike else alike[0] if alike else None


def composed(name: str) -> str:
    """Return a name in which a letter and its accent are one character."""
    return unicodedata.normalize("NFC", name)


def _check_number(name: str, class_id: int | str, folders: list[str]) -> None:
    """Raise DataError for a number that YAML may have made of a sub-folder's name: of 007 it makes 7, of 010 8."""
    if isinstance(class_id, str):
        return
    named = [folder for folder in folders if class_id in _as_numbers(folder)]
    if named and named not in ([str(class_id)], folders[class_id : class_id + 1]):
        rule = f"in quotation marks where it is the name of a sub-folder of {name}"
        remedy = f"which sub-folder is not plain: {_listed(named)}, or the one at place {class_id}; write '{named[0]}'"
        raise DataError("data.class_id", rule, class_id, remedy)


def _as_numbers(text: str) -> set[int]:
    """Return the whole numbers that a text may be read as, by people and by YAML."""
    numbers = set()
    for base in (10, 8 if text.startswith("0") else 10, 0):  # 0: 0x1f
        with contextlib.suppress(ValueError):
            numbers.add(int(text, base))
    return numbers


def _warn_if_ships(source: str, class_id: int | str, folders: list[str], name: str, labels: np.ndarray | None) -> None:
    """Warn if the default class could be meant for a sub-folder, or for a label of an .npz, None for another source."""
    if source == "auto" and class_id == SHIP and (str(SHIP) in folders or len(folders) > SHIP):
        warnings.warn(
            f"data.class_id={SHIP}, the default of data=auto, is a class of CIFAR-10: training on all"
            f" {len(folders)} sub-folders of {name}. One of them: data=folder data.class_id=<its name>",
            DataWarning,
            stacklevel=4,
        )
    elif source == "auto" and class_id == SHIP and labels is not None and len(labels) > 1:
        warnings.warn(
            f"data.class_id={SHIP}, the default of data=auto, is a class of CIFAR-10: training on all images of {name},"
            f" which have {len(labels)} labels. Those of one label: data=npz data.class_id=<label>",
            DataWarning,
            stacklevel=4,
        )


def _of_all(folders: list[str]) -> str:
    return f"all of {len(folders)} sub-folders ({_listed(folders)})" if folders else "all classes"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")


def _check_range(images: np.ndarray, part: str, name: str) -> None:
    if len(images) and images.max() == 1:
        remedy = "all would be black; where 1 is white, multiply by 255"
        got = f"{part} images uint8 from {images.min()} to 1 in {name}"
        raise DataError("data.path", "images with values 0 to 255", got, remedy)


def _warn_if_constant(images: np.ndarray, name: str) -> None:
    """Warn of images that show next to nothing: they, or images that were read wrongly, raise no error."""
    values = images.reshape(len(images), -1)
    # A thousand at a time: for a variance NumPy copies all values to floats of eight bytes.
    parts = [values[start : start + 1000] for start in range(0, len(values), 1000)]
    means, variances = (np.concatenate([of(part, axis=1) for part in parts]) for of in (np.mean, np.var))
    flat = variances < FLAT**2
    black, white = values.max(axis=1) < DARK, values.min(axis=1) > 255 - DARK
    few = (flat | black | white).mean() < SOME
    if few and np.sqrt(variances.mean() + means.var()) >= NEARLY_CONSTANT:
        return
    warnings.warn(
        f"TRAINING IMAGES ARE NEARLY CONSTANT: of {len(images):,} in {name}, {flat.sum():,} show a single colour,"
        f" {black.sum():,} have no value above {DARK - 1} and {white.sum():,} none below {256 - DARK}; of 0 to 255,"
        f" the mean is {means.mean():.3g}, the least {images.min()}, the greatest {images.max()}.\n"
        "plots/training_images.png of the run shows some of them.",
        DataWarning,
        stacklevel=4,
    )


def _of_class(arrays: Arrays, index: int) -> Arrays:
    """Return the arrays of one class; held-out images without labels belong to none."""
    of_class = {}
    for name, array in arrays.items():
        labels = arrays.get(f"{name.partition('_')[0]}_labels")
        of_class[name] = array[:0] if labels is None else array[labels == index]
    return of_class


def _where(source: str, path: str | None, cache: Path) -> tuple[str, str | None]:
    """Return the source that `auto` stands for, and its place; None for the built-in drawings."""
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
    except DownloadError as error:
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
    """Return the source that `auto` takes a path for, by its name and content."""
    name = path.lower()
    if name.endswith(".npz"):
        return "npz"
    if name.endswith((".tar.gz", ".tgz")) or cifar10.batches_folder(Path(path)) is not None:
        return "cifar10"
    if Path(path).is_dir():
        below = [each for each in sorted(Path(path).glob("*/")) if cifar10.batches_folder(each) is not None]
        if below:
            rule = "a folder of images, or CIFAR-10's own"
            raise DataError(
                "data.path", rule, path, f"did you mean {str(below[0])!r}? data=folder trains on all below it"
            )
        return "folder"
    raise DataError("data.path", "a folder, an .npz file or CIFAR-10's .tar.gz", path)


def _read(
    source: str,
    place: str | None,
    class_id: int | str,
    cache: Path,
    progress: Progress,
    check_names: CheckNames,
) -> Arrays:
    if source in ("cifar10", "embedded") and not is_cifar10_class(class_id):
        raise DataError("data.class_id", CIFAR10_RULE, class_id, nearest(str(class_id), (*CIFAR10_CLASSES, "all")))
    if place is None:
        if class_index(class_id) not in (SHIP, None):
            rule = "8 (ship) for the built-in drawings"
            raise DataError("data.class_id", rule, class_id, "for other classes pass data.path")
        return prepared(cache, "data", f"embedded {drawings.VERSION}", _draw)
    if source == "npz":
        return npz.read(Path(place))
    if source == "folder":
        return folder.read(Path(place), cache, progress, check_names)
    return cifar10.read(Path(place), cache)


def _draw() -> Arrays:
    train, test = drawings.draw()
    labels = {f"{part}_labels": np.full(len(x), SHIP, np.uint8) for part, x in (("train", train), ("test", test))}
    return {"train_images": train, "test_images": test, **labels}
