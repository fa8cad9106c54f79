"""An array of one's own: `images` (N, 32, 32, 3) uint8; optional `labels`, `test_images`, `test_labels`."""

from pathlib import Path

import numpy as np

from gan.arrays import Arrays, read_npz
from gan.data.contract import SIZE, DataError


def read(path: Path) -> Arrays:
    """Read `images` (N, 32, 32, 3) uint8; optional `labels`, `test_images`, `test_labels`."""
    try:
        arrays = read_npz(path)
    except (OSError, ValueError) as error:
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
            kind = name.removeprefix("train_")
            got = f"{images.dtype} {images.shape}{_range(images)} in {path}"
            raise DataError("data.path", f"{kind} of (N, 32, 32, 3) uint8", got, _conversion(kind, images))
    if "labels" in arrays:
        result["train_labels"] = arrays["labels"]
        if "test_labels" in arrays:
            result["test_labels"] = arrays["test_labels"]
        for part in [name.removesuffix("_labels") for name in result if name.endswith("_labels")]:
            labels = result[f"{part}_labels"]
            if labels.shape != (len(result[f"{part}_images"]),) or labels.dtype.kind not in "iu":
                got = f"labels {labels.dtype} {labels.shape} in {path}"
                raise DataError("data.path", "an .npz with one integer label an image", got)
    return result


def _range(images: np.ndarray) -> str:
    if not images.size or images.dtype.kind not in "biuf":
        return ""
    return f" from {images.min():.4g} to {images.max():.4g}"


def _conversion(name: str, images: np.ndarray) -> str:
    """Return the NumPy expression that makes (N, 32, 32, 3) uint8 of an array, where that is plain."""
    shape, new = images.shape[1:], name
    if shape == (3, SIZE, SIZE):
        new = f"{new}.transpose(0, 2, 3, 1)"
    elif shape in ((SIZE, SIZE), (1, SIZE, SIZE), (SIZE, SIZE, 1)):
        new = f"np.repeat({new}.reshape(-1, 32, 32, 1), 3, axis=3)"
    elif shape == (SIZE, SIZE, 4):
        new = f"{new}[..., :3]"
    elif shape != (SIZE, SIZE, 3):
        return "data=folder takes images of any size" if images.ndim in (3, 4) else ""
    if images.dtype == np.uint8:
        return f"{name} = {new}"
    if not images.size or images.dtype.kind not in "biuf" or not np.isfinite(images).all():
        return ""
    low, high = images.min(), images.max()
    if low >= 0 and high <= 1:
        new = f"({new} * 255.0).round()"
    elif images.dtype.kind == "f" and low >= -1 and high <= 1:
        new = f"(({new} + 1) * 127.5).round()"
    elif low < 0 or high > 255:
        return "bring its values to 0 to 255 first"
    return f"{name} = {new}.astype(np.uint8)"
