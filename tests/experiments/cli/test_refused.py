"""What a refused command leaves behind: nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import noise_images
from PIL import Image

from experiments import compare, evaluate, generate, run, train_features, validate_proxy
from experiments.cli.arguments import parse_arguments
from gan.errors import ConfigError
from sweeps import grid, optuna_search, reproduce

DATA = ["data=folder", "data.path=/nowhere"]


def small(module: object, settings: str) -> Callable[[list[str]], object]:
    return lambda arguments: module.main(parse_arguments(getattr(module, settings), arguments))  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        (run.main, ["train.steps=0"]),
        (run.main, ["resume=last"]),
        (run.main, DATA),
        (run.main, ["data=npz", "data.path=README.md"]),
        (run.main, ["-m", "seed=0,1", "train.steps=0"]),
        (optuna_search.main, ["search.trials=0"]),
        (optuna_search.main, DATA),
        (grid.main, ["model.dropout=range(0,0.3,1e-6)", "train.batch_size=8,16"]),
        (small(compare, "Comparison"), ["run=a", "run=b", "out=OUT"]),
        (small(generate, "Generation"), ["out=OUT/x.png"]),
        (small(evaluate, "Evaluation"), ["run=last"]),
        (small(train_features, "FeatureTraining"), ["data.path=/nowhere", "out=OUT"]),
        (small(validate_proxy, "Validation"), ["data.path=/nowhere", "out=OUT"]),
        (small(reproduce, "Reproduction"), ["data.path=/nowhere", "out=OUT", "presets=[tutorial]"]),
    ],
)
def test_a_refused_command_writes_nothing(
    program: Callable[[list[str]], object], arguments: list[str], tmp_path: Path
) -> None:
    command = [argument.replace("OUT", str(tmp_path / "out")) for argument in arguments]
    with pytest.raises(ConfigError):
        program([*command, f"records.root={tmp_path / 'new' / 'records'}"])
    assert not list(tmp_path.iterdir())


def test_a_folder_whose_images_cannot_be_read_leaves_no_cache(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "boat.png").write_bytes(b"no image")
    with pytest.raises(ConfigError):
        run.main(["data=folder", f"data.path={tmp_path / 'images'}", f"records.root={tmp_path / 'records'}"])
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


@pytest.mark.parametrize(("source", "place"), [("folder", ""), ("auto", ""), ("folder", "ships")])
def test_a_class_that_is_not_there_is_refused_before_images_are_read(source: str, place: str, tmp_path: Path) -> None:
    for k, image in enumerate(noise_images(40)):
        (tmp_path / "images" / "ships").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "images" / "ships" / f"{k}.png")
    where = [f"data={source}", f"data.path={tmp_path / 'images' / place}", f"records.root={tmp_path / 'records'}"]
    with pytest.raises(ConfigError, match=r"data\.class_id must be all.*nope"):
        run.main([*where, "data.class_id=nope"])
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


@pytest.mark.parametrize("left", ["gan-trial-0000", "gan-confirm-tutorial-seed-1"])
def test_a_search_whose_study_is_gone_makes_no_database(left: str, tmp_path: Path) -> None:
    (tmp_path / "runs" / left).mkdir(parents=True)
    with pytest.raises(ConfigError, match="the study is gone, but its runs are still there"):
        optuna_search.main(["data=embedded", f"records.root={tmp_path}"])
    assert not {path.name for path in tmp_path.iterdir()} & {"studies.db", "studies.lock", "studies"}
