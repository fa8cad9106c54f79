"""Image files: grids, the real beside the generated, an animation, the curves."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from gan.arrays import write_atomically

if TYPE_CHECKING:
    import matplotlib.figure
    import tensorflow as tf

GAP = 2  # pixels between the tiles of a grid
ZOOM = 3  # screen pixels to an image's pixel
FRAME_MILLISECONDS = 400  # that a step's samples stay; the last ones stay five times as long
WALK_MILLISECONDS, WALK_ZOOM = 80, 4  # of a walk between latents

Curve = tuple[Sequence[int], Sequence[float]]  # steps and values


def check_images(images: np.ndarray) -> np.ndarray:
    """Return images if they are (N, 32, 32, 3) uint8: those of a network, in [-1, 1], would become nearly all 0.

    Raises:
        ValueError: if they are not.
    """
    if images.dtype != np.uint8 or images.shape[1:] != (32, 32, 3):
        remedy = "; gan.images.unscale makes them of a network's" if images.dtype.kind == "f" else ""
        raise ValueError(f"images must be (N, 32, 32, 3) uint8; got {images.shape} {images.dtype}{remedy}")
    return images


def grid(images: np.ndarray, rows: int, columns: int, zoom: int = ZOOM) -> np.ndarray:
    """Lay images out as one, row by row, with white gaps of 2 pixels (before the zoom).

    Args:
        images: (N, H, W, 3) uint8, N at least rows * columns; those beyond are left out.
        rows: number of rows.
        columns: number of columns.
        zoom: screen pixels to an image's pixel, a whole number from 1.

    Returns:
        (zoom * (rows * (H + 2) + 2), zoom * (columns * (W + 2) + 2), 3) uint8.

    Raises:
        ValueError: if there are fewer images than places, or they are not uint8.
    """
    if images.dtype != np.uint8:
        raise ValueError(
            f"a grid is of uint8 images; got {images.dtype} (gan.images.unscale makes them of a network's)"
        )
    if len(images) < rows * columns:
        raise ValueError(f"a grid of {rows}x{columns} needs {rows * columns} images; got {len(images)}")
    height, width = images.shape[1:3]
    canvas = np.full((rows * (height + GAP) + GAP, columns * (width + GAP) + GAP, 3), 255, np.uint8)
    for place, image in enumerate(images[: rows * columns]):
        y, x = (GAP + (place // columns) * (height + GAP), GAP + (place % columns) * (width + GAP))
        canvas[y : y + height, x : x + width] = image
    return canvas.repeat(zoom, axis=0).repeat(zoom, axis=1)


def read_pixels(path: Path) -> np.ndarray:
    """Return the pixels of an image file, (H, W, 3) uint8, also where it has a palette.

    Raises:
        OSError: if it cannot be read.
    """
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def save_png(path: Path, pixels: np.ndarray) -> None:
    """Save pixels (H, W, 3) uint8, whole or not at all, as `gan.arrays.write_atomically` does."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    write_atomically(path, buffer.getvalue())


def save_animation(path: Path, frames: Sequence[Path], captions: Sequence[str]) -> None:
    """Save a looping GIF of image files, a caption under each; whole or not at all.

    Args:
        path: the GIF.
        frames: image files of one size, in order; at least one.
        captions: one line of text a frame.

    Raises:
        ValueError: if there are no frames, or not as many captions.
        OSError: if a frame cannot be read or the GIF cannot be written.
    """
    if not frames:
        raise ValueError("an animation needs at least one frame")
    sheets = []
    for frame, caption in zip(frames, captions, strict=True):
        with Image.open(frame) as image:
            sheet = Image.new("RGB", (image.width, image.height + 22), "white")
            sheet.paste(image, (0, 0))
        ImageDraw.Draw(sheet).text((8, image.height + 3), caption, fill="black", font_size=14)
        sheets.append(sheet.quantize(256))
    durations = [FRAME_MILLISECONDS] * (len(sheets) - 1) + [5 * FRAME_MILLISECONDS]
    buffer = io.BytesIO()
    sheets[0].save(buffer, "GIF", save_all=True, append_images=sheets[1:], duration=durations, loop=0)
    write_atomically(path, buffer.getvalue())


def evenly(steps: Sequence[int], most: int) -> list[int]:
    """Return at most so many of the steps, evenly chosen, the last and, of several, the first among them."""
    if len(steps) <= most:
        return list(steps)
    if most == 1:
        return list(steps[-1:])
    return [steps[round(k * (len(steps) - 1) / (most - 1))] for k in range(most)]


def save_frames(path: Path, images: np.ndarray) -> None:
    """Save a looping GIF of images, there and back again; whole or not at all.

    Args:
        path: the GIF.
        images: (N, H, W, 3) uint8, N at least 1.

    Raises:
        OSError: if the GIF cannot be written.
    """
    frames = [Image.fromarray(image.repeat(WALK_ZOOM, axis=0).repeat(WALK_ZOOM, axis=1)) for image in images]
    first, *others = (frame.quantize(256) for frame in [*frames, *frames[-2:0:-1]])
    buffer = io.BytesIO()
    first.save(buffer, "GIF", save_all=True, append_images=others, duration=WALK_MILLISECONDS, loop=0)
    write_atomically(path, buffer.getvalue())


def save_real_vs_generated(path: Path, real: np.ndarray, generated: np.ndarray) -> None:
    """Save the tutorial's last figure: 5x8 real images beside 5x8 generated.

    Args:
        path: the file; its ending says the format.
        real: (N, H, W, 3) uint8, of which the first 40 are shown.
        generated: likewise.

    Raises:
        ValueError: if there are fewer than 40 of either.
    """
    import matplotlib.figure

    figure = matplotlib.figure.Figure(figsize=(8.6, 3.1), layout="constrained")
    for axes, images, title in zip(figure.subplots(1, 2), (real, generated), ("real", "generated"), strict=True):
        axes.imshow(grid(images, 5, 8, zoom=1), interpolation="nearest")
        axes.set_title(title)
        axes.axis("off")
    _save_figure(figure, path, dpi=100)  # as wide as MLflow's page of a run has room for


def save_curves(path: Path, losses: Mapping[str, Curve], score: Curve, score_label: str, real_baseline: float) -> None:
    """Save a figure of the loss curves over the score's curve.

    Args:
        path: the file; its ending says the format.
        losses: curves by label, each (steps, values). The first two are drawn.
        score: (steps, values) of the score; both may be empty.
        score_label: what the score's axis says.
        real_baseline: the score of two halves of the real images, drawn as a dashed line.
    """
    import matplotlib.figure

    figure = matplotlib.figure.Figure(figsize=(8, 6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    for (label, (steps, values)), colour in zip(losses.items(), ("#0072B2", "#D55E00"), strict=False):
        upper.plot(steps, values, label=label, color=colour, linewidth=1.2)
    upper.set_ylabel("loss")
    upper.legend(frameon=False)
    lower.plot(*score, color="#009E73", marker="o", markersize=3)
    lower.axhline(real_baseline, color="#555555", linestyle="--", linewidth=1, label="two halves of the real images")
    lower.legend(frameon=False)
    lower.set_ylabel(f"{score_label}\n(lower is better)")
    lower.set_ylim(bottom=0)
    lower.set_xlabel("updates")
    for axes in (upper, lower):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    _save_figure(figure, path, dpi=120)


def _save_figure(figure: "matplotlib.figure.Figure", path: Path, dpi: int) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix.removeprefix("."), dpi=dpi)
    write_atomically(path, buffer.getvalue())


def scale(images: "tf.Tensor") -> "tf.Tensor":
    """Return (..., 3) uint8 as float32 in [-1, 1], as the tutorial does: x / 127.5 - 1."""
    import tensorflow as tf  # here, as processes without it save images, too

    return tf.cast(images, tf.float32) / 127.5 - 1.0


def unscale(images: np.ndarray) -> np.ndarray:
    """Return float32 in [-1, 1] as uint8, rounded to the nearest, as a viewer shows it: the inverse of `scale`."""
    return np.clip(np.rint((images + 1.0) * 127.5), 0, 255).astype(np.uint8)
