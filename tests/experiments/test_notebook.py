"""The door for notebooks: a run's curves, samples and generator, and how it shows itself."""

import html
import io
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from experiments.notebook import Images, best, load, runs
from experiments.records.journal import Journal
from experiments.training.generator import sample_latents
from gan import metric_names
from gan.errors import ConfigError
from gan.images import grid

if TYPE_CHECKING:
    from experiments.notebook import Run
    from experiments.training.start import Run as Started


@pytest.fixture
def run(untrained_run: "Started") -> "Run":
    """A run of six updates with two scores, samples, and markup in a setting."""
    journal = Journal(untrained_run.folder)
    journal.scalars(3, {metric_names.D_LOSS: 1.0, metric_names.FID_PROXY: 20.0})
    journal.scalars(6, {metric_names.D_LOSS: 0.5, metric_names.FID_PROXY: 10.0, metric_names.FINAL_FID_PROXY: 9.5})
    journal.close()
    untrained_run.folder.samples.mkdir(exist_ok=True)
    for step in (3, 6):
        pixels = np.full((8, 8, 3), 40 * step, np.uint8)
        Image.fromarray(pixels).save(untrained_run.folder.samples / f"{metric_names.SAMPLES}_{step:08d}.png")
    return load("mine", str(untrained_run.folder.records.root))


def test_curves_are_a_table_by_step(run: "Run") -> None:
    history = run.history()
    assert list(history.index) == [3, 6]
    assert history.index.name == "step"
    assert history[metric_names.D_LOSS].tolist() == [1.0, 0.5]
    assert math.isnan(history[metric_names.FINAL_FID_PROXY][3])
    assert run.score == 9.5
    assert run.scores == {"fid_proxy": 9.5}
    assert run.settings["model.dropout"] == run.config.model.dropout
    assert repr(run) == "<Run mine: FID proxy 9.5 after 6 updates>"


def test_the_score_is_the_one_that_lists_have(run: "Run") -> None:
    """Of a run that trained on, not the score at its former end, but the mean of the last three since."""
    journal = Journal(run.folder)
    for step, score in ((9, 8.0), (12, 6.0)):
        journal.scalars(step, {metric_names.FID_PROXY: score})
    journal.scalars(13, {metric_names.D_LOSS: 0.4})
    journal.close()
    resumed = load("mine", str(run.folder.records.root))
    assert resumed.score == 8.0 == runs(run.folder.records.root).loc["mine"]["fid_proxy"]
    assert resumed.scores == {}
    assert repr(resumed) == "<Run mine: FID proxy 8 after 12 updates>"


def test_samples_are_those_of_generate_and_show_themselves(run: "Run") -> None:
    images = run.generate(10, seed=7)
    assert isinstance(images, Images)
    assert (images.shape, images.dtype) == ((10, 32, 32, 3), np.uint8)
    generated = run.generator(6).predict_on_batch(sample_latents(7, 10, 100))
    np.testing.assert_allclose(images, (generated + 1) * 127.5, atol=0.51)
    assert not np.array_equal(images, run.generate(10, seed=8))
    assert not np.array_equal(images, run.generate(10, seed=7, step=3))
    png = images[:8]._repr_png_()
    assert png is not None
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png))), grid(np.asarray(images), 1, 8))
    for part in (images[0], images / 255, images[:0], images[:, :0], images[..., :1]):
        assert part._repr_png_() is None


def test_a_run_shows_itself_with_a_slider(run: "Run") -> None:
    frame = re.fullmatch(r'<iframe title="mine" srcdoc="([^"]*)" style="[^"]*"></iframe>', run._repr_html_())
    assert frame is not None
    page = html.unescape(frame[1])
    assert "FID proxy 9.5 after 6 updates" in page
    assert '"steps": [3, 6]' in page
    assert '<th scope="row">model<wbr>.bn<wbr>_momentum</th>' in page


def test_a_run_without_anything_shows_itself_too(untrained_run: "Started") -> None:
    run = load("mine", str(untrained_run.folder.records.root))
    assert math.isnan(run.score)
    assert repr(run) == "<Run mine: not scored yet>"
    assert run.history().empty
    assert "No samples yet" in run._repr_html_()


def test_all_runs_are_a_table(run: "Run") -> None:
    table = runs(run.folder.records.root)
    assert list(table.index) == ["mine"]
    row = table.loc["mine"]
    assert (row["fid_proxy"], row["step"]) == (9.5, 6)
    assert row["state"] == "interrupted"  # it has updates, no end, and no process


def test_mistakes(run: "Run", tmp_path: Path) -> None:
    root = str(run.folder.records.root)
    with pytest.raises(ConfigError, match="name must be last, or a run's MLflow id, name or folder; got 'other'"):
        load("other", root)
    with pytest.raises(ConfigError, match="name must be the winner of a finished search; got 'best:ships'"):
        best("ships", root)
    with pytest.raises(ConfigError, match="num_images must be a whole number of at least 1; got 0"):
        run.generate(0)
    with pytest.raises(ConfigError, match="there is no checkpoint of step 5"):
        run.generate(1, step=5)


def test_a_run_that_trains_shows_what_is_new(run: "Run") -> None:
    assert list(run.history().index) == [3, 6]
    journal = Journal(run.folder)
    journal.scalars(9, {metric_names.D_LOSS: 0.25, metric_names.FID_PROXY: 7.0})
    journal.close()
    assert list(run.history().index) == [3, 6, 9]
    assert run.scores == {}  # it trained on since it was scored at its end


def test_mistakes_in_a_notebook_name_what_is_wrong(run: "Run") -> None:
    root = run.folder.records.root
    assert load(run.folder.path).name == load("mine", root).name == run.name  # a folder may be a Path
    with pytest.raises(ConfigError, match="name must be a run's name, folder or MLflow id; got 5"):
        load(5, root)  # type: ignore[arg-type]
    for number in (1.5, "3"):
        with pytest.raises(ConfigError, match="num_images must be a whole number of at least 1; got"):
            run.generate(number)  # type: ignore[arg-type]
    assert len({run, load("mine", root)}) == 2
