"""How a run ends when something goes wrong in it."""

import dataclasses
import io
import subprocess
from pathlib import Path

import pytest
from rich.console import Console

from experiments.hardware import device
from experiments.hardware.device import Hardware
from experiments.records.folders import Records
from experiments.records.journal import Artifact, Failure, Status, all_tags, last_failure, read
from experiments.records.status import FailureKind, RunStatus
from experiments.settings.schema import (
    Config,
    DataConfig,
    DiscriminatorConfig,
    EvalConfig,
    GeneratorConfig,
    ModelConfig,
    OptimConfig,
    RecordsConfig,
    TrainConfig,
)
from experiments.tracking.address import database_uri
from experiments.tracking.feeder import Feeder
from experiments.training import facts, train
from experiments.training.start import Run, new_run
from experiments.training.train import Outcome
from gan.checkpoint import Checkpoint
from gan.evaluation.weights import find_weights
from gan.trainer import Diverged, Schedule

QUIET = Console(quiet=True)

PLAIN = Hardware("CPU, 2 cores", 2, jit_compile=False, deterministic=True)


@pytest.fixture
def run(npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # nobody listens: what matters is the folder
    data = DataConfig(source="npz", path=str(npz), class_id="all")
    return new_run(Config(data=data, records=RecordsConfig(root=str(tmp_path / "r"))), None, [], QUIET)


def train_with(run: Run, error: BaseException, monkeypatch: pytest.MonkeyPatch, console: Console = QUIET) -> Outcome:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(train, "_build", fail)
    return train.train(run, console)


def test_advice_names_the_learning_rates_that_are_in_effect() -> None:
    def rates(**optim: float) -> str:
        return train._rates(Config(optim=OptimConfig(**optim)).optim)

    assert rates() == "0.0002"
    assert rates(generator_learning_rate=0.1) == "generator 0.1, discriminator 0.0002"
    assert rates(generator_learning_rate=0.1, discriminator_learning_rate=0.1) == "0.1"


def statuses(run: Run) -> list[str]:
    return [record.status for record, _ in read(run.folder.journal, 0) if isinstance(record, Status)]


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (
            MemoryError(),
            FailureKind.OUT_OF_MEMORY,
            "out of memory: MemoryError. Try a smaller train.batch_size or model.latent_dim",
        ),
        (
            OSError(28, "No space left on device"),
            FailureKind.RECORDS,
            "records cannot be written ([Errno 28] No space left on device)",
        ),
        (
            Diverged(12, "train/d_loss is nan", 10),
            FailureKind.DIVERGED,
            "last finite checkpoint: step 10. Try a lower learning rate (it was 0.0002)",
        ),
    ],
)
def test_what_training_dies_of_is_a_failed_run_with_advice(
    error: Exception,
    kind: FailureKind,
    message: str,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    outcome = train_with(run, error, monkeypatch)
    assert outcome.status == "FAILED"
    assert message in outcome.failure
    assert capsys.readouterr().err.startswith("error: ")
    assert statuses(run) == ["FAILED"]
    assert outcome.failure_kind == kind
    assert last_failure(run.folder.journal) == Failure(kind, outcome.failure)
    assert all_tags(run.folder.journal)["failure_kind"] == kind.value


def test_a_mistake_of_ours_is_raised_and_the_run_is_failed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZeroDivisionError):
        train_with(run, ZeroDivisionError("ours"), monkeypatch)
    assert statuses(run) == ["FAILED"]


def test_an_interrupt_in_a_notebook_stops_the_run_and_hardly_waits(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(Feeder, "start", lambda _: None)  # its thread would outlive the test
    monkeypatch.setattr(Feeder, "finish", lambda _, timeout: waits.append(timeout))
    with pytest.raises(KeyboardInterrupt):
        train_with(run, KeyboardInterrupt(), monkeypatch)
    assert statuses(run) == ["KILLED"]
    assert waits == [train.STOPPED_SECONDS]


@pytest.mark.parametrize(
    ("final", "problem", "seconds"),
    [
        (True, "away", train.DELIVERY_SECONDS),
        (False, "", train.DELIVERY_SECONDS),
        (False, "away", train.STOPPED_SECONDS),
    ],
)
def test_a_trial_does_not_wait_for_a_server_that_is_gone(
    final: bool, problem: str, seconds: float, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    def finish(feeder: Feeder, timeout: float) -> bool:
        waits.append(timeout)
        return False

    monkeypatch.setattr(Feeder, "start", lambda feeder: setattr(feeder, "problem", problem or None))
    monkeypatch.setattr(Feeder, "finish", finish)
    done = Outcome(RunStatus.FINISHED, 1)
    monkeypatch.setattr(train, "_train_to_the_end", lambda *_: done)
    train.train(run, Console(quiet=True), final=final)
    assert waits == [seconds]


def small(run: Run, **train: int) -> Run:
    """Return the run with networks that are soon built."""
    model = ModelConfig(
        latent_dim=2, generator=GeneratorConfig(width=2), discriminator=DiscriminatorConfig(width=1, batch_norm=False)
    )
    evaluation = EvalConfig(every_steps=6, num_images=7, final_num_images=8, extractor="random_cnn")
    settings = Config(model=model, train=TrainConfig(**train), eval=evaluation, records=run.config.records)
    return dataclasses.replace(run, config=settings, weights=find_weights("random_cnn"))


def test_the_schedule_is_that_of_the_settings(run: Run) -> None:
    steps = {"steps": 90, "steps_per_call": 2, "log_every_steps": 3, "grid_every_steps": 4, "checkpoint_every_steps": 5}
    changed = small(run, **steps, keep_checkpoints=9)
    expected = Schedule(**steps, score_every_steps=6, keep_checkpoints=9, num_images=7, final_num_images=8)
    assert train._build(changed, PLAIN, [], final=True).schedule == expected
    trial = train._build(changed, PLAIN, [], final=False)
    assert trial.schedule == dataclasses.replace(expected, final_num_images=0)
    assert (trial.scorer.extractor.id, trial.recalibrate) == (find_weights("random_cnn").id, False)


def test_a_run_that_was_killed_between_a_score_and_its_first_checkpoint_begins_anew(run: Run) -> None:
    run.folder.checkpoints.save_best(Checkpoint(1, {}, {"best_score": 0.0}))
    trainer = train._build(dataclasses.replace(small(run, steps=1), resumed=True), PLAIN, [], final=False)
    assert trainer.run()
    assert trainer.best_score > 0
    assert run.folder.checkpoints.find("best").meta["best_score"] == trainer.best_score


@pytest.mark.parametrize("is_default", [True, False])
def test_make_ui_is_named_for_the_database_that_it_serves_alone(
    is_default: bool, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = database_uri(Records.at(None)) if is_default else f"sqlite:///{tmp_path / 'other.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    said = Console(file=io.StringIO(), record=True)
    train._say_where(run, Feeder(run.folder), True, said)
    assert ("make ui" if is_default else f"--backend-store-uri {uri} --port 5000") in said.export_text()


def test_a_resume_with_another_tensorflow_says_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(device, "versions", lambda: {"tensorflow": "2.1.0", "keras": "3.0.0"})
        train_with(run, MemoryError(), patch)
    tags = all_tags(run.folder.journal)
    assert (tags["tensorflow"], tags["keras"]) == ("2.1.0", "3.0.0")
    assert tags["host"] and tags["python"] and "processor" in tags
    console = Console(record=True, quiet=False, file=io.StringIO(), width=200)
    train_with(dataclasses.replace(run, resumed=True), MemoryError(), monkeypatch, console)
    said = " ".join(console.export_text().split())
    assert "the run has trained with tensorflow 2.1.0, and goes on with" in said


def test_a_run_keeps_how_its_code_differs_from_its_commit(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "code_changes", lambda: b"+ a line\n")
    train_with(run, MemoryError(), monkeypatch)
    assert run.folder.code_diff.read_bytes() == b"+ a line\n"
    assert "code.diff" in [record.file for record, _ in read(run.folder.journal, 0) if isinstance(record, Artifact)]


def test_changes_of_the_code_can_be_applied_to_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> None:
        subprocess.run(
            ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b", *arguments], check=True
        )

    def changes() -> bytes:
        facts.code_tags.cache_clear()
        facts.code_changes.cache_clear()
        return facts.code_changes()

    monkeypatch.setattr(facts, "ROOT", tmp_path)
    assert changes() == b""  # no checkout
    code = tmp_path / "code.py"
    code.write_text("a\n")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "a")
    assert changes() == b""
    code.write_bytes(b"\xff changed\n")
    patch = changes()
    git("checkout", "-q", ".")
    subprocess.run(["git", "-C", str(tmp_path), "apply"], input=patch, check=True)
    assert code.read_bytes() == b"\xff changed\n"
    monkeypatch.setattr(facts, "MOST_CHANGES", 10)
    assert changes() == b""
    monkeypatch.undo()
    changes()  # of this checkout again, for the tests that follow
