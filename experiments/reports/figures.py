"""One look for all figures: readable labels, and colours that all eyes tell apart. PNGs are light; pages have both themes."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np

from gan.arrays import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito (2008), in an order that stands out from the ground.
COLOURS = {
    "light": ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#000000"),
    "dark": ("#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#F0E442"),
}
LINES = ("-", "--", ":")  # where there are more curves than colours
INK = {"light": "#1f2328", "dark": "#e6e6e6"}
GROUND = {"light": "#ffffff", "dark": "#1b1d21"}
DPI = 110


def save_png(draw: Callable[[], "Figure"], file: Path) -> Path:
    """Draw a figure and save it.

    Args:
        draw: makes the figure, in the settings of this module.
        file: a PNG.

    Returns:
        The file.
    """
    with matplotlib.rc_context(_settings()):  # type: ignore[arg-type]
        figure = draw()
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=DPI, facecolor=GROUND["light"], bbox_inches="tight", pad_inches=0.1)
    write_atomically(file, buffer.getvalue())
    return file


def new_figure(width: float, height: float) -> "Figure":
    """Return a figure of width and height in inches, without pyplot, which would keep it."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def style(mark: tuple[int, int]) -> dict[str, str]:
    """Return colour and line of a curve by their indices."""
    return {"color": COLOURS["light"][mark[0]], "linestyle": LINES[mark[1]]}


def ink_on(colour: Sequence[float] | np.ndarray) -> str:
    """Return black or white, whichever has more contrast (WCAG) with a colour of (R, G, B) in [0, 1]."""
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3])
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return "black" if (luminance + 0.05) ** 2 > 0.05 * 1.05 else "white"


def show_pixels(axes: "Axes", pixels: np.ndarray) -> None:
    """Show pixels, (H, W, 3) uint8, sharp and without a frame."""
    axes.imshow(pixels, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.grid(False)


def _settings() -> dict[str, Any]:
    ink, ground = INK["light"], GROUND["light"]
    return {
        "figure.facecolor": ground,
        "axes.facecolor": ground,
        "savefig.facecolor": ground,
        "text.color": ink,
        "axes.labelcolor": ink,
        "axes.edgecolor": ink,
        "xtick.color": ink,
        "ytick.color": ink,
        "axes.grid": True,
        "grid.color": ink,
        "grid.alpha": 0.15,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 11,
        "axes.labelsize": 10,
        "xtick.labelsize": 9,
        "ytick.labelsize": 9,
        "legend.frameon": False,
        "legend.fontsize": 9,
        "lines.linewidth": 1.5,
        "image.cmap": "viridis",
    }
