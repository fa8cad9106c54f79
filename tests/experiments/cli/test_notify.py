"""The user's program that is told when something long is over."""

import io
import sys
from pathlib import Path

import pytest
from conftest import NARROW, RunProgram
from rich.console import Console

from experiments.cli.compose import compose_config
from experiments.cli.notify import check_program, notify
from experiments.records.status import FailureKind, RunStatus
from experiments.run import outcome_in_words
from experiments.training.train import Outcome
from gan import metric_names
from gan.errors import ConfigError

TEXT = "Study gan: trial-0001 is better $(touch here); `id` \"quoted\" 'x' <b> é"


def test_the_text_arrives_as_it_is_without_a_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "told.py"
    script.write_text("import sys; open('told', 'w').write('|'.join([*sys.argv[1:], sys.stdin.read()]))")
    console = Console(file=io.StringIO(), record=True)
    notify(f"{sys.executable} '{script}' --title 'A search' 'It says: {{}}'", TEXT, console)
    assert Path("told").read_text() == f"--title|A search|It says: {TEXT}|{TEXT}\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["told", "told.py"]
    assert console.export_text() == ""


def test_what_cannot_be_told_is_one_line_and_no_failure(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), record=True)
    notify(None, TEXT, console)
    notify(str(tmp_path / "nobody"), TEXT, console)
    notify(f"{sys.executable} -c 'import sys; sys.exit(\"no display\")'", TEXT, console)
    first, second = console.export_text().splitlines()
    assert first.startswith(f"notify   {tmp_path}/nobody was not told: ")
    assert second == f"notify   {sys.executable} failed when it was told: no display"


def test_the_home_of_the_user_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "tell").write_text('#!/bin/sh\ncat > "$1"\n')
    (tmp_path / "tell").chmod(0o755)
    check_program("notify", "~/tell ~/told")
    notify("~/tell ~/told", "it is over", Console(file=io.StringIO()))
    assert (tmp_path / "told").read_text() == "it is over\n"


def test_a_program_that_is_not_there_is_a_mistake() -> None:
    check_program("notify", None)
    check_program("notify", f"{sys.executable} -c ''")
    with pytest.raises(
        ConfigError, match=r"search.notify must be a program that is here, and its arguments; got 'nobody-at-all"
    ):
        check_program("search.notify", "nobody-at-all {}")
    for value in ("''", '"it\'s"'):
        with pytest.raises(ConfigError, match="notify must be a program and its arguments"):
            compose_config([f"notify={value}"])


def test_how_a_run_ended_in_words() -> None:
    done = Outcome(RunStatus.FINISHED, 15000, {metric_names.FINAL_FID_PROXY: 2.4738})
    assert outcome_in_words("first", done) == "first: 15,000 updates, FID proxy 2.474"
    lost = Outcome(RunStatus.FAILED, 12, failure="train/d_loss is nan", failure_kind=FailureKind.DIVERGED)
    assert outcome_in_words("first", lost) == "first failed at step 12: train/d_loss is nan"


def test_a_run_tells_it_and_keeps_no_record_of_the_command(program: RunProgram, npz: Path, tmp_path: Path) -> None:
    told = tmp_path / "told"
    small = ["train.steps=2", "train.batch_size=4", "eval.num_images=20", "eval.final_num_images=20", "name=first"]
    root = f"records.root={tmp_path / 'records'}"
    result = program("data=npz", f"data.path={npz}", *NARROW, *small, root, f"++notify='tee {told}'")
    assert result.returncode == 0, result.stderr
    assert told.read_text().startswith("first: 2 updates, FID proxy ")
    run = tmp_path / "records" / "runs" / "first"
    for file in run.rglob("*"):
        if file.is_file():
            assert str(told).encode() not in file.read_bytes(), file
