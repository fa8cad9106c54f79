"""What is left of Hydra's internals, and its record of a run."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import hydra
import pytest
import yaml
from conftest import ROOT
from hydra._internal.callbacks import Callbacks
from hydra._internal.utils import _run_hydra, get_args_parser

from experiments.cli import compose as compose_module
from experiments.cli import hydra_app
from experiments.cli.compose import compose


@pytest.fixture
def compositions(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """Grows by one with each configuration that Hydra composes."""
    made: list[object] = []
    original = hydra.compose

    def counted(*args: object, **kwargs: object) -> object:
        made.append(args)
        return original(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(compose_module.hydra, "compose", counted)
    yield made


def test_the_internals_are_as_we_use_them() -> None:
    parameters = inspect.signature(_run_hydra).parameters
    assert list(parameters)[:5] == ["args", "args_parser", "task_function", "config_path", "config_name"]
    flags = vars(get_args_parser().parse_intermixed_args(["-m", "seed=0,1", "--config-dir", "mine", "name=null"]))
    assert flags["overrides"] == ["seed=0,1", "name=null"]
    assert (flags["multirun"], flags["config_dir"]) == (True, "mine")
    used = {"help", "hydra_help", "cfg", "package", "resolve", "run", "shell_completion", "config_path", "config_name"}
    assert used | {"info", "experimental_rerun"} <= flags.keys()
    assert {"on_run_start", "on_run_end", "on_job_start", "on_job_end"} <= {*dir(Callbacks(None))}


def test_one_module_uses_them() -> None:
    files = [file for folder in ("experiments", "sweeps", "gan") for file in (ROOT / folder).rglob("*.py")]
    assert [f.name for f in files if re.search(r"hydra\._internal", f.read_text())] == ["hydra_app.py"]


def test_a_run_is_composed_once(compositions: list[object], tmp_path: Path) -> None:
    composed = compose(["experiment=tutorial", "model.bn_momentum=0.9"])
    assert hydra_app.record(composed.node, tmp_path, lambda: "done", resumed=False) == "done"
    assert len(compositions) == 1


def test_the_record_of_a_run(tmp_path: Path) -> None:
    composed = compose(["experiment=tutorial", "model.bn_momentum=0.9", "seed=3"])
    hydra_app.record(composed.node, tmp_path / "a b", lambda: None, resumed=False)
    assert {path.name for path in (tmp_path / "a b").iterdir()} == {".hydra", "run.log"}
    files = {path.name: yaml.safe_load(path.read_text()) for path in (tmp_path / "a b" / ".hydra").iterdir()}
    assert files.keys() == {"config.yaml", "hydra.yaml", "overrides.yaml"}
    assert files["overrides.yaml"] == composed.overrides
    assert "model.generator.bn_momentum=null" in composed.overrides
    assert files["config.yaml"]["model"]["generator"]["bn_momentum"] is None
    assert files["config.yaml"]["seed"] == 3
    job = files["hydra.yaml"]["hydra"]
    assert (job["run"]["dir"], job["runtime"]["output_dir"]) == (str(tmp_path / "a b"), str(tmp_path / "a b"))
    assert (job["mode"], job["job"]["name"], job["runtime"]["choices"]["experiment"]) == ("RUN", "run", "tutorial")


def test_a_resumed_run_keeps_the_record_of_its_first_session(tmp_path: Path) -> None:
    hydra_app.record(compose([]).node, tmp_path, lambda: None, resumed=True)
    assert [path.name for path in tmp_path.iterdir()] == ["run.log"]


def test_what_the_training_raises_is_raised_without_words_of_hydras(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        hydra_app.record(compose([]).node, tmp_path, fail, resumed=False)
    assert capfd.readouterr() == ("", "")
