from pathlib import Path

import numpy as np
import pytest
from conftest import noise_images
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

import gan.images
from gan.images import (
    GAP,
    check_images,
    grid,
    read_pixels,
    save_animation,
    save_curves,
    save_png,
    save_real_vs_generated,
    unscale,
)


def test_grid_places_images_row_by_row() -> None:
    images = noise_images(6)
    sheet = grid(images, 2, 3, zoom=1)
    assert sheet.shape == (2 * 34 + GAP, 3 * 34 + GAP, 3)
    for k, image in enumerate(images):
        y, x = GAP + (k // 3) * 34, GAP + (k % 3) * 34
        np.testing.assert_array_equal(sheet[y : y + 32, x : x + 32], image)
    assert (sheet[:GAP] == 255).all()
    np.testing.assert_array_equal(grid(images, 2, 3, zoom=3)[::3, ::3], sheet)
    with pytest.raises(ValueError, match="needs 9 images; got 6"):
        grid(images, 3, 3)


def test_pixels_of_a_palette_are_read_as_colours(tmp_path: Path) -> None:
    """Their indices would be drawn in the colours of a map."""
    pixels = np.array([[[200, 10, 30], [0, 0, 255]]], np.uint8).repeat(4, axis=0)
    Image.fromarray(pixels).quantize(2).save(tmp_path / "palette.png")
    np.testing.assert_array_equal(read_pixels(tmp_path / "palette.png"), pixels)


def test_animation_has_a_frame_an_image(tmp_path: Path) -> None:
    frames = []
    for k in range(3):
        frames.append(tmp_path / f"{k}.png")
        save_png(frames[-1], grid(noise_images(4, seed=k), 2, 2))
    save_animation(tmp_path / "a.gif", frames, ["step 0", "step 1", "step 2"])
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 3
        assert gif.info["loop"] == 0
        durations, below = [], []
        for k in range(3):
            gif.seek(k)
            durations.append(gif.info["duration"])
            with Image.open(frames[k]) as frame:
                below.append(np.asarray(gif.convert("L"))[frame.height :])
    assert durations[0] == durations[1] == durations[2] / 5  # the last one is held
    for k, pixels in enumerate(below):  # each frame has its own caption
        alone = Image.new("L", pixels.shape[::-1], "white")
        ImageDraw.Draw(alone).text((8, 3), f"step {k}", fill="black", font_size=14)
        assert np.abs(np.asarray(alone).astype(int) - pixels).mean() < 3
    with pytest.raises(ValueError, match="at least one frame"):
        save_animation(tmp_path / "none.gif", [], [])


def test_figures_are_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = []
    save = gan.images._save_figure

    def saved(figure: Figure, path: Path, dpi: int) -> None:
        figures.append(figure)
        save(figure, path, dpi)

    monkeypatch.setattr(gan.images, "_save_figure", saved)
    real, generated = noise_images(40), noise_images(40, seed=1)
    save_real_vs_generated(tmp_path / "pair.png", real, generated)
    for axes, title, shown in zip(figures[0].axes, ("real", "generated"), (real, generated), strict=True):
        assert axes.get_title() == title
        np.testing.assert_array_equal(axes.images[0].get_array(), grid(shown, 5, 8, zoom=1))
    curve = ([50, 100], [0.5, 0.6])
    save_curves(tmp_path / "losses.png", {"discriminator": curve, "generator": curve}, ([100], [3.0]), "FID proxy", 0.8)
    save_curves(tmp_path / "short.png", {"discriminator": curve, "generator": curve}, ([], []), "FID proxy", 0.8)
    upper, lower = figures[1].axes
    assert [line.get_label() for line in upper.lines] == ["discriminator", "generator"]
    score, baseline = lower.lines
    assert (list(score.get_xdata()), list(score.get_ydata())) == ([100], [3.0])
    assert (list(baseline.get_ydata()), baseline.get_linestyle()) == ([0.8, 0.8], "--")
    for name in ("pair", "losses", "short"):
        with Image.open(tmp_path / f"{name}.png") as sheet:
            pixels = np.asarray(sheet.convert("RGB"))
            assert min(pixels.shape[:2]) > 300
            assert pixels.std() > 5, f"{name} is blank"


def test_what_a_network_draws_is_not_taken_for_pixels() -> None:
    of_network = noise_images(40).astype(np.float32) / 127.5 - 1
    assert check_images(unscale(of_network)) is not None
    with pytest.raises(
        ValueError, match=r"must be \(N, 32, 32, 3\) uint8; got \(40, 32, 32, 3\) float32; gan.images.unscale"
    ):
        check_images(of_network)
    with pytest.raises(ValueError, match="must be"):
        check_images(noise_images(4)[:, :16])
    with pytest.raises(ValueError, match="a grid is of uint8 images; got float32"):
        grid(of_network, 2, 2)
