"""What MLflow shows of a run: its description, and the tag that runs of equal settings share."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.hardware.process_metrics import CPU, MEMORY, ProcessMetrics
from experiments.records.folders import Records, RunFolder
from experiments.records.journal import Journal
from experiments.records.status import FailureKind, RunStatus
from experiments.settings.schema import Config
from experiments.training.description import description, headline
from experiments.training.facts import group_of

SCALE = "; two halves of the real images get 0.07, noise 129.9, lower is better."
FACTS: dict[str, Any] = {
    "command": "python experiments/run.py experiment=quick name=a optim.learning_rate=1e-4 'data.path=/a b' seed=1",
    "tags": {"run_folder": "runs/a", "dataset_sha256": "ab", "fid_proxy_id": "cifar_cnn-1"},
    "dataset": {"description": "drawings, 64 images"},
}


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return Records(tmp_path).new_run("a", None)


@pytest.fixture
def journal(folder: RunFolder) -> Iterator[Journal]:
    journal = Journal(folder)
    yield journal
    journal.close()


def test_a_note_stands_below_the_result() -> None:
    parts = description("No score yet.", {**FACTS, "note": "a wider D, as *SNGAN*"}).split("\n\n")
    assert parts[:2] == ["No score yet.", "a wider D, as *SNGAN*"]
    assert description("No score yet.", {**FACTS, "note": None}) == description("No score yet.", FACTS)


def test_the_headline_has_the_result_first(folder: RunFolder, journal: Journal) -> None:
    config = Config()
    journal.tags({"fid_proxy_floor": "0.07", "fid_proxy_ceiling": "129.9"})
    assert headline(folder, config, RunStatus.FINISHED) == "No score after 0 updates."
    for step, score in ((500, 20.0), (1000, 12.0), (1500, 10.0), (2000, 11.0)):
        journal.scalars(step, {"eval/fid_proxy": score})
    in_run = "**FID proxy 11** of 2,000 images in the run"
    assert headline(folder, config, RunStatus.FINISHED) == f"{in_run} after 2,000 updates{SCALE}"
    stopped = headline(folder, config, RunStatus.KILLED)
    assert stopped == f"Stopped after 2,000 of 15,000 updates. {in_run}{SCALE}"
    journal.scalars(2000, {"final/fid_proxy": 10.12649})
    finished = headline(folder, config, RunStatus.FINISHED)
    assert finished == f"**FID proxy 10.13** of 5,000 images after 2,000 updates{SCALE}"
    assert headline(folder, config, RunStatus.KILLED) == stopped  # the final score is of another length
    journal.failure(FailureKind.DIVERGED, "d_loss is nan", 2100)
    failed = headline(folder, config, RunStatus.FAILED)
    assert failed == f"Failed after 2,000 of 15,000 updates. {in_run}{SCALE} d_loss is nan."


def test_a_description_shows_pictures_and_what_differs_from_the_preset() -> None:
    note = description("**FID proxy 10.13**", FACTS, {"plots/a.png": "a picture"})
    assert note.split("\n\n") == [
        "**FID proxy 10.13**",
        "![a picture](get-artifact?path=plots%2Fa.png&run_uuid={run_id})",
        "Preset `quick`, and `optim.learning_rate=1e-4`, `seed=1`.",
        "    python experiments/run.py experiment=quick name=a optim.learning_rate=1e-4 \\\n        'data.path=/a b' seed=1",
        "Trained on drawings, 64 images. The score is `eval/fid_proxy`, and `final/fid_proxy` of more images at the end. "
        "Folder: `runs/a` of the records.",
    ]


def test_runs_that_differ_in_the_seed_alone_are_of_one_group() -> None:
    config = Config()
    group = group_of(config, FACTS)
    config.seed, config.name, config.train.log_every_steps = 7, "b", 10
    assert group_of(config, FACTS) == group
    assert group.startswith("defaults (")
    config.optim.learning_rate = config.optim.generator_learning_rate = 1e-4
    slower = group_of(config, FACTS)
    assert slower.startswith("learning_rate 0.0001/0.0002 (")
    assert group_of(config, {**FACTS, "tags": {**FACTS["tags"], "dataset_sha256": "cd"}}) != slower


def test_system_metrics_are_recorded_beside_the_losses(folder: RunFolder, journal: Journal) -> None:
    metrics = ProcessMetrics(journal)
    metrics.scalars(1, {"eval/fid_proxy": 1.0})
    assert folder.journal.read_text() == ""
    np.linalg.svd(np.ones((200, 200)))
    metrics.scalars(2, {"train/d_loss": 1.0})
    metrics.scalars(2, {"train/d_loss": 1.0})  # as after a resume
    (line,) = folder.journal.read_text().splitlines()
    assert CPU in line and MEMORY in line
