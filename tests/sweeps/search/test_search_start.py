"""A study is searched by one process at a time."""

import io
from pathlib import Path
from types import SimpleNamespace

import pytest

from experiments.cli.progress import Output
from gan.errors import ConfigError
from sweeps.search import start
from sweeps.spec.plan import read_plan


def test_a_study_that_is_searched_is_not_searched_by_another(
    npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[bool] = []
    session = SimpleNamespace(run=lambda *_: searched.append(True))
    monkeypatch.setattr(start, "SearchSession", lambda *_: session)
    arguments = ["search=custom", "model.dropout=interval(0,0.5)", "data=npz", f"data.path={npz}"]
    plan = read_plan([*arguments, f"records.root={tmp_path / 'records'}"])
    console = Output(file=io.StringIO())
    assert start._search(plan, arguments, console) == 0
    with plan.folder.owned("search.study"), pytest.raises(ConfigError, match=r"search\.study must be free; got 'gan'"):
        start._search(plan, arguments, console)
    assert searched == [True]
