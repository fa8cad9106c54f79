"""A study is searched by one process at a time, and whoever wants to be told is told how that ended."""

import contextlib
import io
import os
import signal
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from optuna.exceptions import StorageInternalError

from experiments.cli import signals
from experiments.cli.progress import Output
from experiments.records.status import RunStatus
from gan.errors import ConfigError
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
