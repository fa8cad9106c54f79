"""An array of one's own: `images` (N, 32, 32, 3) uint8; optional `labels`, `test_images`, `test_labels`."""

from pathlib import Path

import numpy as np

from gan.arrays import Arrays, read_npz
from gan.sources import SIZE, DataError


def read(path: Path) -> Arrays:
    """`images` (N, 32, 32, 3) uint8; optional `labels`, `test_images`, `test_labels`."""
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
            got = f"{images.dtype} {images.shape} in {path}"
            raise DataError("data.path", f"{name.removeprefix('train_')} of (N, 32, 32, 3) uint8", got)
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
