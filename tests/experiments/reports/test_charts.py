"""Charts and sliders in pages."""

import base64
import gzip
import json
import math
import re
from pathlib import Path

import numpy as np
from PIL import Image

from experiments.reports.charts import Chart
from experiments.reports.page import render
from experiments.reports.slider import make_slider
from gan.images import evenly

TEMPLATE = """{% extends "page.html" %}{% from "page.html" import interactive, slider with context %}
{% block title %}x{% endblock %}
{% block body %}{% for chart in charts %}{{ interactive(chart) }}{% endfor %}{% if frames %}{{ slider(frames) }}{% endif %}{% endblock %}"""
EVIL = "</script><img src=x onerror=alert(1)>"


def made(folder: Path, **values: object) -> str:
    template = folder / "x.html"
    template.write_text(TEMPLATE)
    return render(template, **({"charts": [], "frames": None} | values))


def test_a_chart_stands_in_the_page_with_plotly_and_no_text_ends_its_script(tmp_path: Path) -> None:
    data = [{"type": "scatter", "x": np.arange(2), "y": [1 / 3, math.nan], "name": EVIL, "text": (EVIL, "b")}]
    page = made(tmp_path, charts=[Chart("scores", {"data": data, "layout": {"height": 300}}, EVIL)])
    assert "<img" not in page
    (figure,) = re.findall(r'<script type="application/json">(.*?)</script>', page)
    (drawn,) = json.loads(figure)["data"]
    assert (drawn["x"], drawn["y"]) == ([0, 1], [0.333333333, None])
    assert (drawn["name"], drawn["text"]) == (EVIL, [EVIL, "b"])
    (packed,) = re.findall(r'<script type="text/plain" id="plotly">(.*?)</script>', page)
    assert b"plotly.js" in gzip.decompress(base64.b64decode(packed))[:100]
    assert len(packed) < 2_100_000  # of the 3 MB of a page
    assert not re.findall(r"<[^>]*\b(src|href)=|@import|url\(", page)  # nothing is asked of the network


def test_a_slider_has_the_common_steps_and_shows_the_last_without_javascript(tmp_path: Path) -> None:
    samples: dict[str, dict[int, Path]] = {"first": {}, EVIL: {}}
    for name, steps in (("first", (0, 100, 200)), (EVIL, (0, 200, 300))):
        for step in steps:
            samples[name][step] = tmp_path / f"{len(samples[name])}{len(name)}.png"
            Image.new("RGB", (8, 8), (step % 256, 0, 0)).save(samples[name][step])
    frames = make_slider(samples, {"first": "7"})
    assert frames is not None
    assert frames.steps == [0, 200]
    page = made(tmp_path, frames=frames)
    assert EVIL not in page
    assert page.count('<img src="data:image/jpeg;base64,') == 2
    assert '<figure data-key="7"><img' in page
    assert re.findall(r"<noscript><p>(.*?)</p>", page) == ["Step 200."]
    (rest,) = re.findall(r'<script type="application/json">(.*?)</script>', page)
    assert [len(each) for each in json.loads(rest)["frames"]] == [1, 1]
    assert 'id="plotly"' not in page
    assert make_slider({"a": {0: tmp_path}, "b": {1: tmp_path}}) is None
    assert make_slider({}) is None


def test_steps_are_chosen_evenly() -> None:
    assert evenly([0, 1, 2], 3) == [0, 1, 2]
    chosen = evenly(list(range(0, 1001, 10)), 5)
    assert chosen == [0, 250, 500, 750, 1000]
    assert evenly([0, 1, 2], 1) == [2]
