"""How a run ends when something goes wrong in it."""

from pathlib import Path

import pytest
from rich.console import Console

from experiments import training
from experiments.journal import read
from experiments.prepare import Run, new_run
from experiments.training import Outcome
from gan.config import Config, DataConfig, RecordsConfig
from gan.trainer import Diverged

QUIET = Console(quiet=True)


@pytest.fixture
def run(npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # nobody listens: what matters is the folder
    data = DataConfig(source="npz", path=str(npz), class_id="all")
    return new_run(Config(data=data, records=RecordsConfig(root=str(tmp_path / "r"))), None, [], QUIET)


def train_with(run: Run, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> Outcome:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(training, "_build", fail)
    return training.train(run, QUIET)


def statuses(run: Run) -> list[str]:
    return [record["status"] for record, _ in read(run.folder.journal, 0) if "status" in record]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "out of memory: MemoryError. Try a smaller train.batch_size or model.latent_dim"),
        (OSError(28, "No space left on device"), "records cannot be written ([Errno 28] No space left on device)"),
        (Diverged(12, "train/d_loss is nan", 10), "last finite checkpoint: step 10. Try a lower optim.learning_rate"),
    ],
)
def test_what_training_dies_of_is_a_failed_run_with_advice(
    error: Exception, message: str, run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = train_with(run, error, monkeypatch)
    assert outcome.status == "FAILED"
    assert message in outcome.failure
    assert capsys.readouterr().err.startswith("error: ")
    assert statuses(run) == ["FAILED"]
    tags = {k: v for record, _ in read(run.folder.journal, 0) for k, v in record.get("tags", {}).items()}
    assert tags["failure"] == outcome.failure


def test_a_mistake_of_ours_is_raised_and_the_run_is_failed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZeroDivisionError):
        train_with(run, ZeroDivisionError("ours"), monkeypatch)
    assert statuses(run) == ["FAILED"]
