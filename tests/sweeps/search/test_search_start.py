"""A study is searched by one process at a time, and whoever wants to be told is told how that ended."""

import contextlib
import io
from pathlib import Path
from types import SimpleNamespace

import pytest

from experiments.cli.progress import Output
from gan.errors import ConfigError
from sweeps.search import start
from sweeps.spec.read_plan import read_plan
from sweeps.workers.protocol import CannotGoOn


def test_a_study_that_is_searched_is_not_searched_by_another(
    npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[bool] = []
    session = SimpleNamespace(run=lambda *_: searched.append(True), result="")
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
    [(None, "Study gan: trial-0001 is better"), ("no space left", "Study gan: stopped: no space left")],
)
def test_the_end_of_a_search_is_told(
    failure: str | None, words: str, npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_: object) -> None:
        if failure is not None:
            raise CannotGoOn(failure)

    monkeypatch.setattr(start, "SearchSession", lambda *_: SimpleNamespace(run=run, result="trial-0001 is better"))
    told = tmp_path / "told"
    arguments = ["search=custom", "model.dropout=interval(0,0.5)", "data=npz", f"data.path={npz}"]
    plan = read_plan([*arguments, f"records.root={tmp_path / 'records'}", f"search.notify='tee {told}'"])
    assert not any(argument.startswith("search.notify") for argument in plan.command)  # what is recorded
    with pytest.raises(CannotGoOn) if failure is not None else contextlib.nullcontext():
        start._search(plan, arguments, Output(file=io.StringIO()), {})
    assert told.read_text() == f"{words}\n"
