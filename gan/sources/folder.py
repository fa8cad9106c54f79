"""A folder of pictures of any kind: everything that Pillow reads, in it and in the folders in it."""

import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from gan.arrays import Arrays
from gan.cache import fingerprint, prepared
from gan.sources import MIN_IMAGES, SIZE, DataError, DataWarning

# What Pillow's readers raise on damaged files.
UNREADABLE = (
    OSError, ValueError, TypeError, LookupError, EOFError, SyntaxError, NotImplementedError, OverflowError,
    MemoryError, struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip


def read(path: Path, cache: Path) -> Arrays:
    """All pictures in a folder and the folders in it, by extension."""
    if not path.is_dir():
        raise DataError("data.path", "a folder of pictures", str(path))
    known = set(Image.registered_extensions())
    files = sorted(f for f in path.rglob("*") if f.suffix.lower() in known and f.is_file())
    if len(files) < MIN_IMAGES:
        raise DataError(
            "data.path", f"a folder with at least {MIN_IMAGES} pictures", str(path), f"it holds {len(files)}"
        )
    arrays = prepared(cache, "data", fingerprint(files), lambda: _read_pictures(files))
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
    images, unreadable = [], []
    for index, file in enumerate(files):
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", module="PIL")  # odd metadata, a large picture: it is read, or is not
                with Image.open(file) as picture:
                    upright = _rgb(ImageOps.exif_transpose(picture))
                    images.append(np.asarray(ImageOps.fit(upright, (SIZE, SIZE), Image.Resampling.LANCZOS)))
        except UNREADABLE:
            unreadable.append(index)
    return {
        "train_images": np.stack(images) if images else np.zeros((0, SIZE, SIZE, 3), np.uint8),
        "test_images": np.zeros((0, SIZE, SIZE, 3), np.uint8),
        "unreadable": np.array(unreadable, np.int64),
    }


def _rgb(picture: Image.Image) -> Image.Image:
    """What a viewer shows: 16 bits a channel scaled down, transparency on white."""
    if picture.mode.startswith("I"):
        values = np.asarray(picture).astype(np.float64)
        values /= 257 if values.max() > 255 else 1
        picture = Image.fromarray(values.clip(0, 255).astype(np.uint8))
    if picture.has_transparency_data:
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA"))
    return picture.convert("RGB")
