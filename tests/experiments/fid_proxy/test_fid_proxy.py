import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import dataset, noise_images, small_scorer
from rich.console import Console

from experiments import validate_proxy
from experiments.fid_proxy import measure, runs
from experiments.fid_proxy.disturbances import all_disturbances
from experiments.fid_proxy.references import sliced_wasserstein
from experiments.records.folders import Records, RunFolder, read_json
from experiments.records.journal import Journal
from experiments.settings.schema import Config, DataConfig, DataPlace, RecordsConfig, TrainConfig
from experiments.training.start import new_run
from experiments.validate_proxy import Validation
from gan.data.dataset import Dataset, load_dataset
from gan.errors import ConfigError
from gan.evaluation.extractors import load_extractor
from gan.evaluation.metrics import statistics
from gan.evaluation.scorer import Reference, Scorer
from gan.evaluation.weights import find_weights
from gan.trainer import Diverged


def test_disturbances_spoil_more_from_level_to_level() -> None:
    images = np.clip(noise_images(60) // 4 + np.arange(0, 128, 4, dtype=np.uint8)[None, :, None, None], 0, 255)
    for name, disturbance in all_disturbances(noise_images(60, 1)).items():
        spoilt = [disturbance.apply(images, level, np.random.default_rng(0)) for level in disturbance.levels]
        changes = [np.abs(one.astype(float) - images).mean() for one in spoilt]
        assert all(one.shape == images.shape and one.dtype == np.uint8 for one in spoilt), name
        assert changes == sorted(changes), name
        assert 0 < changes[0] < changes[-1], name


def test_sliced_wasserstein_of_a_shift() -> None:
    real = noise_images(50) // 2
    assert sliced_wasserstein(real, real[::-1]) == pytest.approx(0, abs=1e-3)
    # Along a random direction of unit length a shift c of all values is c · (sum of the direction), c² on average.
    assert sliced_wasserstein(real, real + np.uint8(20)) == pytest.approx(20, rel=0.2)
    with pytest.raises(ValueError, match="50 and 40"):
        sliced_wasserstein(real, real[:40])


def test_mapped_statistics_are_those_of_mapped_features() -> None:
    rng = np.random.default_rng(0)
    features, offset, projection = rng.standard_normal((30, 5)), rng.standard_normal(5), rng.standard_normal((5, 2))
    expected, found = (
        statistics((features - offset) @ projection),
        measure.mapped(statistics(features), offset, projection),
    )
    np.testing.assert_allclose(found.mean, expected.mean)
    np.testing.assert_allclose(found.covariance, expected.covariance)


def test_lost_modes_cost_coverage() -> None:
    real = noise_images(300) // 8 + np.repeat(np.arange(0, 200, 20, dtype=np.uint8), 30)[:, None, None, None]
    scorer = small_scorer(real)
    by_modes = dict(measure.mode_dropping(scorer, real, scorer.extractor, 2))
    coverage = [np.mean(scores["coverage"]) for scores in by_modes.values()]
    assert len(by_modes) == 11
    assert coverage[0] > coverage[5] > coverage[9]
    assert coverage[9] < 0.25  # one of ten modes is left
    fid = [np.mean(scores["fid_proxy"]) for scores in by_modes.values()]
    assert fid[0] < fid[5] < fid[9]


def test_runs_count_when_they_ended_as_asked_or_diverged(npz: Path, tmp_path: Path) -> None:
    config = Config(
        data=DataConfig(source="npz", path=str(npz), class_id="all"),
        train=TrainConfig(steps=8, checkpoint_every_steps=2),
        records=RecordsConfig(str(tmp_path)),
    )
    run = new_run(config, None, [], Console(quiet=True))

    def ended(steps: int = 8, images: Dataset = run.dataset) -> bool:
        return runs._ended(run.folder, images, steps, 2)

    assert not ended()
    for status, failure, counts in (
        ("RUNNING", "", False),
        ("FAILED", "records cannot be written", False),
        ("FAILED", str(Diverged(5, "train/d_loss is nan", 4)), True),
        ("KILLED", "", False),
        ("FINISHED", "", True),
    ):
        journal = Journal(run.folder)
        journal.tags({"failure": failure})
        journal.status(status)
        journal.close()
        assert ended() is counts, status
    assert not ended(steps=9)
    run.folder.path.rename(run.folder.records.runs / "tutorial-0")
    with pytest.raises(ConfigError, match=r"checkpoints must be steps with a checkpoint every 2 updates.*every 4'"):
        runs.train_all(run.folder.records, {"ship": run.dataset}, 8, 4)
    assert not ended(images=dataset(noise_images(64, seed=5)))


def test_the_shipped_proxy_rises_strictly_with_every_disturbance(real_cifar: Path, tmp_path: Path) -> None:
    data = load_dataset("cifar10", str(real_cifar), "all", real_cifar / "cache")
    assert data.train_labels is not None
    ships, others = data.train[data.train_labels == 8][:500], data.train[data.train_labels != 8][:500]
    proxy = load_extractor(find_weights("cifar_cnn"))
    scorer = Scorer(proxy, Reference.of(proxy, dataset(ships), tmp_path))
    for name, kind in measure.disturbances(scorer, ships, others, seeds=1):
        scores = np.array(kind["scores"])
        assert (np.diff(scores, axis=0) > 0).all(), name


@pytest.mark.slow
def test_the_page_is_made_anew_from_runs_that_are_kept(
    cifar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["train.batch_size=4", "eval.num_images=50", "eval.final_num_images=50"]
    monkeypatch.setattr(runs, "RUNS", {"tutorial-0": small, "tutorial-1": [*small, "seed=1"]})
    out, root = tmp_path / "docs", tmp_path / "records"
    args = Validation(
        steps=4, checkpoints=4, epochs=1, num_images=200, seeds=2, classes=["ship", "horse"], out=str(out), data=DataPlace(str(cifar)),
        records=RecordsConfig(str(root)),
    )  # fmt: skip
    assert validate_proxy.main(args) == 0
    page = (out / "fid_proxy.md").read_text()
    figures = re.findall(r"\]\((images/.*?)\)", page)
    assert len(figures) == 5
    assert "### Horses" in page
    for figure in figures:
        assert (out / figure).stat().st_size > 10_000
    records = Records(root / "validation")
    results = read_json(records.root / "results.json")
    rows = results["agreement"]["ship"]["rows"]
    assert [row["run"] for row in results["agreement"]["horse"]["rows"]] == 4 * ["horse-tutorial-0"] + 4 * [
        "horse-tutorial-1"
    ]
    ships, horses = (RunFolder(records.runs / name) for name in ("tutorial-0", "horse-tutorial-0"))
    assert read_json(ships.facts)["dataset"]["sha256"] != read_json(horses.facts)["dataset"]["sha256"]
    assert [(row["run"], row["step"]) for row in rows] == [
        (f"tutorial-{k}", step) for k in (0, 1) for step in (1, 2, 3, 4)
    ]
    assert str(tmp_path) not in page

    # Longer runs resume where these ended; other reference networks score everything anew, the proxy's scores stay the same.
    before = {f: f.stat().st_mtime_ns for f in records.root.rglob("*.npz") if f.name != "best.npz"}
    assert validate_proxy.main(dataclasses.replace(args, epochs=2, steps=8)) == 0
    assert [f.name for f, then in before.items() if f.stat().st_mtime_ns != then] == []
    other = read_json(records.root / "results.json")["agreement"]["ship"]["rows"]
    assert [row["step"] for row in other] == 2 * [1, 2, 3, 4, 6, 8]
    assert other[0]["scores"] == rows[0]["scores"]
    assert other[0]["resnet"] != rows[0]["resnet"]
    assert "wrote" in capsys.readouterr().out


def test_checkpoints_are_evenly_spaced() -> None:
    with pytest.raises(ConfigError, match=r"checkpoints must be a divisor of steps=10; got 4"):
        validate_proxy.main(Validation(steps=10, checkpoints=4))


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["horses"], r"classes must be one of airplane, .*; got 'horses'.*horse"),
        (["ship", "ship"], "classes must be one or more classes, each once"),
        ([], "classes must be one or more classes, each once"),
    ],
)
def test_classes_are_those_of_cifar(classes: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validate_proxy.main(Validation(classes=classes))
