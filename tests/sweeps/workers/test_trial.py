"""The process of a trial: what it refuses to train on, and what it says of its end."""

import dataclasses
import re
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from conftest import NARROW, noise_images
from filelock import FileLock
from rich.console import Console

from experiments.records import journal
from experiments.records.folders import Records, RunFolder, write_json
from experiments.records.status import FailureKind, RunStatus
from experiments.training.train import Outcome
from gan import metric_names
from gan.checkpoint import read
from gan.data.dataset import pixel_hash
from sweeps.workers import trial
from sweeps.workers.protocol import Ended, Job, Message
from sweeps.workers.trial_process import TrialProcess


def job(folder: RunFolder, *overrides: str) -> Job:
    return Job([*overrides], None, str(folder.path), "gan-trial-0003", "trial-0003", tags={"optuna.trial_number": "3"})


@pytest.mark.parametrize(
    ("status", "reason", "state"),
    [
        (RunStatus.FINISHED, "", "COMPLETE"),
        (RunStatus.FAILED, "", "FAIL"),
        (RunStatus.KILLED, "behind at step 4", "PRUNED"),
        (RunStatus.KILLED, "", "RUNNING"),  # interrupted: it goes on
    ],
)
def test_mlflow_is_told_how_a_trial_ended(status: RunStatus, reason: str, state: str, tmp_path: Path) -> None:
    tags = trial._tags(job(RunFolder(tmp_path)), Outcome(status, 4), reason, paused=False)
    assert tags.pop("optuna.trial_number") == "3"
    assert tags == {"optuna.trial_state": state, **({"pruned_because": reason} if reason else {})}


def test_mlflow_is_told_that_a_trial_is_paused(tmp_path: Path) -> None:
    assert trial._tags(job(RunFolder(tmp_path)), Outcome(RunStatus.KILLED, 4), "", paused=True) == {
        "optuna.trial_number": "3",
        "optuna.trial_state": "PAUSED",
    }


def trained(study: RunFolder, name: str, pause_at: int | None, *overrides: str) -> list[Message]:
    """Return what the process of a trial says."""
    wanted = Job([*overrides], None, str(study.path), name, name, pause_at=pause_at)
    process = TrialProcess(wanted, study.path / f"{name}.log")
    return list(process.messages())


@pytest.mark.usefixtures("forks")
def test_a_paused_trial_trains_on_as_if_it_had_never_been(npz: Path, tmp_path: Path) -> None:
    records = Records(tmp_path / "records")
    study = RunFolder(records.studies / "gan")
    study.path.mkdir(parents=True)
    facts = {"dataset": {"sha256": pixel_hash(np.load(npz)["images"]), "description": "the study's images"}, "tags": {}}
    write_json(study.facts, facts)
    settings = [
        "data=npz", f"data.path={npz}", f"records.root={records.root}", *NARROW, "train.steps=6", "train.batch_size=4",
        "train.log_every_steps=1", "eval.every_steps=2", "eval.num_images=20", "train.threads=1", "train.steps_per_call=4",
    ]  # fmt: skip
    ends = [trained(study, "grown", pause_at, *settings)[-1] for pause_at in (2, 2, 4, None)]
    assert ends == [
        Ended(RunStatus.KILLED, 2),
        Ended(RunStatus.KILLED, 2),  # it was there already, and makes no update
        Ended(RunStatus.KILLED, 4),
        Ended(RunStatus.FINISHED, 6),
    ]
    assert trained(study, "straight", None, *settings)[-1] == Ended(RunStatus.FINISHED, 6)
    grown, straight = (RunFolder(records.runs / name) for name in ("grown", "straight"))
    timing = metric_names.STEPS_PER_SECOND
    curves = [
        {key: curve for key, curve in journal.curves(run.journal).items() if key != timing} for run in (grown, straight)
    ]
    assert curves[0] == curves[1]
    last = [read(run.checkpoints.files()[-1]).arrays for run in (grown, straight)]
    assert last[0].keys() == last[1].keys()
    assert all((last[0][key] == last[1][key]).all() for key in last[0])


def test_a_trial_resumes_where_the_networks_that_it_started_from_have_moved(npz: Path, tmp_path: Path) -> None:
    records = Records(tmp_path / "records")
    study = RunFolder(records.studies / "gan")
    study.path.mkdir(parents=True)
    write_json(study.facts, {"dataset": {"sha256": pixel_hash(np.load(npz)["images"]), "description": "ships"}})
    settings = ["data=npz", f"data.path={npz}", f"records.root={records.root}"]
    with trial._prepared(job(study, *settings), Console(quiet=True)):
        pass
    moved = job(study, *settings, f"train.init_from={tmp_path / 'moved.npz'}")
    with trial._prepared(moved, Console(quiet=True)) as run:
        assert run.resumed
    new = dataclasses.replace(moved, name="gan-trial-0004")
    ended = trial._train(new, cast(Any, None), cast(Any, None), Console(quiet=True))
    assert ended.failure.startswith("train.init_from must be ")
    assert ended.would_end_all  # and no trial is lost


@pytest.mark.parametrize("lock", [".gan-trial-0003.lock", "gan-trial-0003/.lock"])
def test_a_trial_whose_run_another_process_has_is_interrupted(
    lock: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "LOCK_SECONDS", 0.1)
    records = Records(tmp_path / "records")
    run = RunFolder(records.runs / "gan-trial-0003")
    run.path.mkdir(parents=True)
    run.config.touch()
    nobody = cast(Any, None)
    with FileLock(records.runs / lock):
        ended = trial._train(job(RunFolder(records.studies / "gan")), nobody, nobody, Console(quiet=True))
    assert ended == Ended(
        RunStatus.KILLED, 0, "run must be free within 0.1 s; got 'gan-trial-0003' (another process is using it)"
    )


@pytest.mark.parametrize("same", [True, False])
def test_a_trial_trains_on_the_images_of_its_study_alone(same: bool, npz: Path, tmp_path: Path) -> None:
    records = Records(tmp_path / "records")
    study = RunFolder(records.studies / "gan")
    study.path.mkdir(parents=True)
    images = np.load(npz)["images"] if same else noise_images(64, seed=1)
    write_json(study.facts, {"dataset": {"sha256": pixel_hash(images), "description": "the study's images"}})
    wanted = job(study, "data=npz", f"data.path={npz}", f"records.root={records.root}")
    if same:
        with trial._prepared(wanted, Console(quiet=True)) as run:
            assert (run.folder.name, run.resumed) == ("gan-trial-0003", False)
        with trial._prepared(wanted, Console(quiet=True)) as run:
            assert run.resumed
    else:
        ended = trial._train(wanted, cast(Any, None), cast(Any, None), Console(quiet=True))
        assert re.match(r"data must be on the run's own images.*the study's images", ended.failure)
        assert (ended.failure_kind, ended.would_end_all) == (FailureKind.INPUTS, True)
