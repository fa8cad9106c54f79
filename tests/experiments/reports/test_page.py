"""Names in pages are text, whatever characters they have."""

import re
from pathlib import Path

import numpy as np
import pytest

from experiments.reports.figures import GROUND
from experiments.reports.page import FOLDER, breakable, render


def test_names_are_no_html(tmp_path: Path) -> None:
    template = tmp_path / "x.html"
    template.write_text("<b>{{ name }}</b> {{ key | breakable }}")
    page = render(template, name="<script>alert(1)</script>", key="a.<i>_b")
    assert page == "<b>&lt;script&gt;alert(1)&lt;/script&gt;</b> a<wbr>.&lt;i&gt;<wbr>_b"


def test_names_break_between_words_and_numbers_do_not() -> None:
    assert breakable("optim.learning_rate 0.0002") == "optim<wbr>.learning<wbr>_rate 0.0002"


def luminance(colour: str) -> float:
    """Of sRGB, as WCAG 2 defines it."""
    parts = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", ["good", "bad", "busy"])
def test_coloured_words_can_be_read(theme: str, name: str) -> None:
    light, dark = re.findall(rf"--{name}: (#[0-9a-f]{{6}});", (FOLDER / "page.html").read_text())
    lighter, darker = sorted(map(luminance, (light if theme == "light" else dark, GROUND[theme])), reverse=True)
    assert (lighter + 0.05) / (darker + 0.05) >= 4.5  # level AA


def test_links_are_not_faded() -> None:
    for page in ("page.html", "index.html"):
        assert set(re.findall(r"([^{}\n]*)\{[^{}]*[^-]opacity:", (FOLDER / page).read_text())) <= {".outside "}
