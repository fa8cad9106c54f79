"""A folder of images of any kind: everything that Pillow reads, in it and in the folders in it."""

import contextlib
import struct
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from gan.arrays import Arrays
from gan.cache import fingerprint, prepared
from gan.data import depth
from gan.data.contract import MIN_IMAGES, SIZE, DataError, DataWarning
from gan.data.listing import Listing, list_images, remedies
from gan.errors import in_one_line

VERSION = 6  # of how images are read; another one reads them anew
DRAFT = 8 * SIZE  # pixels that a JPEG is decoded to at least: many more than are kept
SHOWN = 10  # names in a warning
MOST_REASON = 100  # letters of why a file cannot be read

Progress = Callable[[int, int], None]  # told how many of how many images are read
CheckNames = Callable[[list[str]], object]  # raises DataError for sub-folders among which the class is not

# What Pillow's readers raise on damaged files.
UNREADABLE = (
    OSError, ValueError, TypeError, LookupError, EOFError, SyntaxError, NotImplementedError, OverflowError,
    RuntimeError, MemoryError, struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip


def read(path: Path, cache: Path, progress: Progress, check_names: CheckNames) -> Arrays:
    """Read all images in a folder and the folders in it, by extension.

    Args:
        path: the folder.
        cache: where images that are read are kept.
        progress: told of images that are read.
        check_names: called with the names of the sub-folders before anything is read.

    Returns:
        `train_images`. Those in its sub-folders have the label of theirs, an index into `class_names`; those
        beside the sub-folders have -1. A folder without sub-folders has no labels. A sub-folder whose images
        cannot be read has a name and no images.

    Raises:
        DataError: for a folder that cannot be used, and what `check_names` raises.
    """
    if not path.is_dir():
        raise DataError("data.path", "a folder of images", str(path))
    listing = list_images(path)
    files = listing.files
    if len(files) < MIN_IMAGES:
        holds = f"it holds {len(files)}{_beside(listing)}"
        raise DataError("data.path", f"a folder with at least {MIN_IMAGES} images", str(path), holds)
    names = _folders(path, files)
    check_names(names)
    key = f"folder {VERSION} {fingerprint(files)}"
    arrays = prepared(cache, "data", key, lambda: _read_images(files, str(path), progress), _is_final)
    unreadable, why = [files[index] for index in arrays.pop("unreadable")], _counted(arrays.pop("reasons"))
    del arrays["may_pass"]
    if len(arrays["train_images"]) < MIN_IMAGES:
        got = f"{len(arrays['train_images'])} of {len(files)} in {path}"
        raise DataError("data.path", f"a folder with at least {MIN_IMAGES} images that can be read", got, why)
    _warn_of_left_out(path, listing, unreadable, why)
    return arrays | _labels(path, sorted(set(files) - set(unreadable)), names)


def _beside(listing: Listing) -> str:
    """Say what a folder with too few images holds beside them."""
    beside = [remedies(listing.foreign)] if listing.foreign else []
    beside += [f"{count:,} of {suffix}" for suffix, count in listing.others.most_common(3)]
    beside += [f"{len(listing.closed):,} folders that may not be entered"] if listing.closed else []
    return f", beside {', '.join(beside)}" if beside else ""


def _counted(reasons: np.ndarray) -> str:
    """Say why files cannot be read: `40 with values that are not finite, 2 damaged`, the most frequent first."""
    return ", ".join(f"{count:,} {reason}" for reason, count in Counter(map(str, reasons)).most_common(3))


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "damaged or of no format that can be read"
    text = (error.strerror if isinstance(error, OSError) else "") or str(error) or type(error).__name__
    return in_one_line(text)[:MOST_REASON]


def _warn_of_left_out(path: Path, listing: Listing, unreadable: list[Path], why: str) -> None:
    total = len(listing.files) + len(listing.foreign) + len(listing.lost)
    bad = [*unreadable, *listing.lost]
    why = ", ".join(filter(None, [why, f"{len(listing.lost):,} links that cannot be followed" if listing.lost else ""]))
    for count, warning in (
        (
            len(bad),
            f"{len(bad)} of {total} files in {path} cannot be read and are left out: {_named(path, bad)} ({why})",
        ),
        (
            len(listing.foreign),
            f"{len(listing.foreign)} of {total} images in {path} are left out, as there is no reader for them:"
            f" {remedies(listing.foreign)}",
        ),
        (
            len(listing.closed),
            f"{len(listing.closed)} folders in {path} may not be entered and are left out:"
            f" {_named(path, listing.closed)}",
        ),
    ):
        if count:
            warnings.warn(warning, DataWarning, stacklevel=3)


def _named(path: Path, bad: Sequence[Path]) -> str:
    names = [str(file.relative_to(path)) for file in bad]
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _folders(path: Path, files: Sequence[Path]) -> list[str]:
    """Return the names of the sub-folders that hold images, sorted."""
    parts = [file.relative_to(path).parts for file in files]
    return sorted({part[0] for part in parts if len(part) > 1})


def _labels(path: Path, files: Sequence[Path], names: Sequence[str]) -> Arrays:
    """Return `train_labels` (N,) and `class_names`, those of the sub-folders; empty if there are none."""
    if not names:
        return {}
    index = {name: k for k, name in enumerate(names)}
    parts = [file.relative_to(path).parts for file in files]
    labels = [index[part[0]] if len(part) > 1 else -1 for part in parts]
    return {"train_labels": np.array(labels, np.int64), "class_names": np.array(names, object)}


def _read_images(files: Sequence[Path], place: str, progress: Progress) -> Arrays:
    """Read images, cropped to the middle square and resized to 32x32, with the indices of unreadable ones and why.

    Those of more than 8 bits come last: what is white in them, all of them together say.
    """
    images: dict[int, np.ndarray] = {}
    depths: dict[int, depth.Depth] = {}
    errors: dict[int, Exception] = {}
    for index, file in enumerate(files):
        with _noting(errors, index), _opened(file) as image:
            if depth.is_deep(image):
                depths[index] = depth.measure(image, file.name)
            else:
                image.draft(None, (DRAFT, DRAFT))
                images[index] = _fitted(image)
        progress(index + 1, len(files) + len(depths))
    for done, (index, white) in enumerate(zip(depths, depth.whites(list(depths.values()), place), strict=True), 1):
        with _noting(errors, index), _opened(files[index]) as image:
            images[index] = _fitted(image, white)
        progress(len(files) + done, len(files) + len(depths))
    none = np.zeros((0, SIZE, SIZE, 3), np.uint8)
    return {
        "train_images": np.stack([images[k] for k in sorted(images)]) if images else none,
        "test_images": none,
        "unreadable": np.array(sorted(errors), np.int64),
        "reasons": np.array([_reason(errors[k]) for k in sorted(errors)], str),
        "may_pass": np.array([_may_pass(errors[k]) for k in sorted(errors)], bool),
    }


def _may_pass(error: Exception) -> bool:
    """Return whether a file may be readable the next time: it is its place that failed, or the memory."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno is not None)


def _is_final(arrays: Arrays) -> bool:
    return not arrays["may_pass"].any()


@contextlib.contextmanager
def _noting(errors: dict[int, Exception], index: int) -> Iterator[None]:
    """Note why a file cannot be read, and continue."""
    try:
        yield
    except UNREADABLE as error:
        errors[index] = error


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[Image.Image]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")  # odd metadata, a large image: it is read, or is not
        # As a stream: of a file Pillow maps some TIFFs into memory, and shears those that are to be turned.
        with file.open("rb") as stream, Image.open(stream) as image:
            yield image


def _fitted(image: Image.Image, white: float = 255) -> np.ndarray:
    is_negative = depth.is_negative(image)  # before it is turned, which drops the tags
    upright = _rgb(ImageOps.exif_transpose(image), white, is_negative)
    return np.asarray(ImageOps.fit(upright, (SIZE, SIZE), Image.Resampling.LANCZOS))


def _rgb(image: Image.Image, white: float, is_negative: bool) -> Image.Image:
    """Return what a viewer shows: `white` of one channel of many bits as 255, transparency on white."""
    if image.mode.startswith(("I", "F")):
        samples, clear = np.asarray(image), image.info.get("transparency")
        values = depth.to_bytes(samples, white)
        values = depth.BYTE - values if is_negative else values
        if isinstance(clear, int):  # a PNG names the value that is transparent
            values[samples == clear] = depth.BYTE
        image = Image.fromarray(values)
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image.convert("RGB")
