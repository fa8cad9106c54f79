import matplotlib.pyplot as plt
import numpy as np
import pytest

from experiments.reports import figures


@pytest.mark.parametrize(("theme", "cmap"), [("light", "Blues"), ("dark", "Blues_r")])
def test_what_a_library_draws_dark_is_bright_on_a_dark_ground(theme: str, cmap: str) -> None:
    figure, axes = plt.subplots()
    points = axes.scatter([1, 2, 3], [1, 2, 3], c=[1, 2, 3], cmap="Blues")
    plain = axes.scatter([1], [1], color="red")
    figures.recolour(figure, theme)
    assert points.get_cmap().name == cmap
    np.testing.assert_allclose(plain.get_facecolor()[0], [1, 0, 0, 1])
    plt.close(figure)


def test_small_ticks_have_no_numbers_where_large_ones_do() -> None:
    figure, (wide, narrow) = plt.subplots(2)
    for axes, values in ((wide, [5e-5, 1e-3]), (narrow, [2e-4, 8e-4])):
        axes.set_xscale("log")
        axes.plot(values, [1, 2])
    figures.recolour(figure, "light")
    figure.canvas.draw()
    minor = [[label.get_text() for label in axes.get_xticklabels(minor=True)] for axes in (wide, narrow)]
    assert not any(minor[0])
    assert any(minor[1])
    plt.close(figure)


def test_ink_is_read_on_every_colour_of_a_map() -> None:
    """WCAG asks for a contrast of 4.5; black and white are 21 apart."""
    for colour in plt.get_cmap("viridis_r")(np.linspace(0, 1, 256)):
        linear = np.where(colour[:3] <= 0.04045, colour[:3] / 12.92, ((colour[:3] + 0.055) / 1.055) ** 2.4)
        luminance = float(linear @ [0.2126, 0.7152, 0.0722])
        contrast = {"black": (luminance + 0.05) / 0.05, "white": 1.05 / (luminance + 0.05)}
        assert contrast[figures.ink_on(colour)] == max(contrast.values()) >= 4.5
    assert (figures.ink_on((0.0, 0.0, 0.0)), figures.ink_on((1.0, 1.0, 1.0))) == ("white", "black")
