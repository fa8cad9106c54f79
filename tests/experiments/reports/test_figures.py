import matplotlib.pyplot as plt
import numpy as np

from experiments.reports import figures


def test_ink_is_read_on_every_colour_of_a_map() -> None:
    """WCAG asks for a contrast of 4.5; black and white are 21 apart."""
    for colour in plt.get_cmap("viridis_r")(np.linspace(0, 1, 256)):
        linear = np.where(colour[:3] <= 0.04045, colour[:3] / 12.92, ((colour[:3] + 0.055) / 1.055) ** 2.4)
        luminance = float(linear @ [0.2126, 0.7152, 0.0722])
        contrast = {"black": (luminance + 0.05) / 0.05, "white": 1.05 / (luminance + 0.05)}
        assert contrast[figures.ink_on(colour)] == max(contrast.values()) >= 4.5
    assert (figures.ink_on((0.0, 0.0, 0.0)), figures.ink_on((1.0, 1.0, 1.0))) == ("white", "black")
