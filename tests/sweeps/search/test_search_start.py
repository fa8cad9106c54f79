"""A study is searched by one process at a time, and whoever wants to be told is told how that ended."""

import contextlib
import io
import os
import signal
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from optuna.exceptions import StorageInternalError
from recorded_runs import make_run

from experiments.cli import signals
from experiments.cli.progress import Output
from experiments.records.folders import Records
from experiments.records.status import RunStatus
from experiments.training.ancestor import find_ancestor
from gan.checkpoint import Checkpoint
from gan.errors import ConfigError
from sweeps.analysis.report import settings_of
from sweeps.search import start
from sweeps.spec.read_plan import read_plan
from sweeps.study import storage
from sweeps.workers.protocol import CannotGoOn


def test_a_study_that_is_searched_is_not_searched_by_another(
    npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[bool] = []
    session = SimpleNamespace(run=lambda *_: searched.append(True) or RunStatus.FINISHED, result="")
    monkeypatch.setattr(start, "SearchSession", lambda *_: session)
    arguments = ["search=custom", "model.dropout=interval(0,0.5)", "data=npz", f"data.path={npz}"]
    plan = read_plan([*arguments, f"records.root={tmp_path / 'records'}"])
    console = Output(file=io.StringIO())
    assert start._search(plan, arguments, console, {}) == 0
    with plan.folder.owned("search.study"), pytest.raises(ConfigError, match=r"search\.study must be free; got 'gan'"):
        start._search(plan, arguments, console, {})
    assert searched == [True]


def networks() -> Checkpoint:
    """A checkpoint of networks of the tutorial's shapes, as far as these are looked at."""
    shapes = {
        "generator/dense/kernel": (100, 1), "generator/conv_1/kernel": (1, 128), "discriminator/conv_1/kernel": (1, 32),
        "discriminator/bn_2/gamma": (1,), "discriminator/logits/kernel": (256, 1),
    }  # fmt: skip
    return Checkpoint(6, {name: np.zeros(shape) for name, shape in shapes.items()}, {})


def test_all_trials_start_from_one_checkpoint_whatever_becomes_of_its_run(
    npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = SimpleNamespace(run=lambda *_: RunStatus.FINISHED, result="")
    monkeypatch.setattr(start, "SearchSession", lambda *_: session)
    records = Records(tmp_path / "records")
    first = make_run(records, "first")
    first.checkpoints.remove("to be written anew")
    first.checkpoints.save(networks())
    arguments = [
        "search=custom",
        "model.dropout=interval(0,0.5)",
        "data=npz",
        f"data.path={npz}",
        "train.init_from=last",
    ]
    plan = read_plan([*arguments, f"records.root={records.root}"])
    assert start.search(plan, arguments) == 0
    assert plan.ancestor_file is not None
    for overrides in (plan.trial_overrides({}), settings_of(plan, {})):
        assert [each for each in overrides if "init_from" in each] == [f"train.init_from={plan.ancestor_file}"]
    make_run(records, "second")  # the last one now
    first.checkpoints.remove("it trained on")
    assert start.search(plan, arguments) == 0
    copy = find_ancestor(str(plan.ancestor_file), records, plan.config)
    assert copy.tags == {"init_from": "first", "init_from.step": "6"}
    other = read_plan([*arguments[:-1], "train.init_from=second", f"records.root={records.root}"])
    with pytest.raises(ConfigError, match=r"train\.init_from: last in the study, second now"):
        start.search(other, arguments)


def test_networks_that_all_trials_start_from_have_one_shape(npz: Path, tmp_path: Path) -> None:
    records = Records(tmp_path / "records")
    make_run(records, "first").checkpoints.save(networks())
    space = ["search=custom", "model.latent_dim=choice(64,100)", "data=npz", f"data.path={npz}"]
    plan = read_plan([*space, "train.init_from=first", f"records.root={records.root}"])
    with pytest.raises(ConfigError, match=r"model\.latent_dim must be one value, as all trials start from networks"):
        start.search(plan, space)
    assert not records.studies.exists()


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (None, "Study gan: trial-0001 is better"),
        (CannotGoOn("no space left"), "Study gan: stopped: no space left"),
        (OSError(28, "No space left on device"), "Study gan: stopped: [Errno 28] No space left on device"),
        (ZeroDivisionError("a mistake of ours"), "Study gan: stopped: a mistake of ours"),
    ],
)
def test_the_end_of_a_search_is_told(
    failure: Exception | None, words: str, npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_: object) -> RunStatus:
        signal.raise_signal(signal.SIGTERM)  # too late to stop anything
        if failure is not None:
            raise failure
        return RunStatus.FINISHED

    monkeypatch.setattr(signals, "is_ours", lambda: True)

    monkeypatch.setattr(start, "SearchSession", lambda *_: SimpleNamespace(run=run, result="trial-0001 is better"))
    told = tmp_path / "told"
    arguments = ["search=custom", "model.dropout=interval(0,0.5)", "data=npz", f"data.path={npz}"]
    plan = read_plan([*arguments, f"records.root={tmp_path / 'records'}", f"search.notify='tee {told}'"])
    assert not any(argument.startswith("search.notify") for argument in plan.command)  # what is recorded
    with pytest.raises(type(failure)) if failure is not None else contextlib.nullcontext():
        assert start._search(plan, arguments, Output(file=io.StringIO()), {}) == 0
    assert told.read_text() == f"{words}\n"


def test_ctrl_c_ends_the_wait_for_a_database(npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> None:
        raise StorageInternalError("the database") from OSError("connection refused")

    def run(*_: object) -> RunStatus:
        threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
        storage.patiently(away)
        return RunStatus.FINISHED

    monkeypatch.setattr(signals, "is_ours", lambda: True)
    monkeypatch.setattr(storage, "SAY_SECONDS", 0.1)
    monkeypatch.setattr(storage, "PAUSE", 0.05)
    monkeypatch.setattr(start, "SearchSession", lambda *_: SimpleNamespace(run=run))
    arguments = ["search=custom", "model.dropout=interval(0,0.5)", "data=npz", f"data.path={npz}"]
    plan = read_plan([*arguments, f"records.root={tmp_path / 'records'}"])
    said = io.StringIO()
    assert start._search(plan, arguments, Output(file=said, width=200), {}) == 143
    words = "the study's database: connection refused"
    assert said.getvalue().splitlines()[-3:-1] == [
        f"waits    {words}; waiting up to 5 minutes for it", f"stopped  while it waited: {words}",
    ]  # fmt: skip
