"""What a multirun hands to its runs, and how it ends when they are refused; its processes are replaced here."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from recorded_runs import make_run
from rich.console import Console

from experiments import run as training_program
from experiments.cli.compose import GROUPS, compose_config
from experiments.cli.overrides import clean_ranges, expand_sweep, parse, quote_texts, quoted_again
from experiments.records.folders import Records
from experiments.records.status import RunStatus
from experiments.settings.rules import get, text_keys
from experiments.settings.schema import Config
from gan.errors import ConfigError

AWKWARD = [
    "costs ${seed}",
    "r sp",
    "a  b",
    "a:b",
    "it's",
    'say "so"',
    "back\\slash",
    "a\\ b",
    "end\\",
    "x [y] {z} (w)",
    "k=v",
    "größe 船",
    "~/a b",
    "1e3",
    "$HOME #%*?&;|",
]

Multirun = Callable[..., tuple[int, list[list[str]]]]


@pytest.fixture
def multirun(monkeypatch: pytest.MonkeyPatch) -> Iterator[Multirun]:
    """Calls `run.py -m` with runs that do nothing and end with a code; gives its own code and their arguments."""
    monkeypatch.setattr(sys, "argv", ["experiments/run.py"])

    def start(*arguments: str, ends_with: tuple[int, ...] = (0,)) -> tuple[int, list[list[str]]]:
        started: list[list[str]] = []

        def child(arguments: list[str], multirun: str) -> tuple[int, None]:
            started.append(arguments)
            return ends_with[(len(started) - 1) % len(ends_with)], None

        monkeypatch.setattr(training_program, "_child", child)
        return training_program.main(["-m", *arguments]), started

    before = signal.getsignal(signal.SIGINT)
    yield start
    signal.signal(signal.SIGINT, before)


def as_run_reads_them(overrides: list[str]) -> Config:
    return compose_config(quote_texts(overrides, text_keys(Config), GROUPS))


def test_texts_reach_the_runs_as_they_were_typed(multirun: Multirun, tmp_path: Path) -> None:
    keys = ["data.path", "data.class_id", "records.root", "eval.extractor_weights"]
    for start in range(0, len(AWKWARD), len(keys)):
        texts = [f"{tmp_path}/{AWKWARD[(start + k) % len(AWKWARD)]}" for k in range(len(keys))]
        typed = [f"{key}={text}" for key, text in zip(keys, texts, strict=True)]
        code, started = multirun("data=folder", *typed, "seed=3")
        configs = [as_run_reads_them(arguments) for arguments in started]
        assert (code, [config.seed for config in configs]) == (0, [3])
        assert [get(configs[0], key) for key in keys] == texts
        assert (Path(texts[2]) / "multirun").is_dir()


@pytest.mark.parametrize("prefix", ["", "++"])
def test_the_program_that_is_told_reaches_the_runs_and_no_record(
    multirun: Multirun, tmp_path: Path, prefix: str
) -> None:
    code, started = multirun(f"{prefix}notify='tee secret'", "seed=1,2", f"records.root={tmp_path}")
    assert code == 0
    assert [as_run_reads_them(arguments).notify for arguments in started] == ["tee secret"] * 2
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert any(file.name == "multirun.yaml" for file in files)
    assert [file for file in files if "secret" in file.read_text()] == []


def test_one_program_is_told_of_all_runs(multirun: Multirun, tmp_path: Path) -> None:
    for value, message in (
        ("mail a,mail b", "notify must be one program for all"),
        ("nobody-at-all", "program that is here"),
    ):
        with pytest.raises(ConfigError, match=message):
            multirun(f"notify={value}", "seed=1,2", f"records.root={tmp_path}")
    assert not list(tmp_path.iterdir())


def test_a_note_with_a_comma_makes_no_more_runs(multirun: Multirun, tmp_path: Path) -> None:
    _, started = multirun("note=wider, slower", "seed=1,2", f"records.root={tmp_path}")
    assert [as_run_reads_them(arguments).note for arguments in started] == ["wider, slower"] * 2


def test_lists_of_texts_reach_the_runs_as_they_were_typed() -> None:
    for key, values, expected in (
        ("data.path", r"/r sp,'/a, b',/1:2,C:\x,\\srv\x,1e3", ["/r sp", "/a, b", "/1:2", r"C:\x", r"\\srv\x", "1e3"]),
        ("data.class_id", "1e3,2024,1_000,true,1.50,0,-5", ["1e3", 2024, "1_000", "true", "1.50", 0, "-5"]),
        ("data.class_id", "choice(08,null,it,'x, y')", ["08", "null", "it", "x, y"]),
        ("data.class_id", "range(0,3)", [0, 1, 2]),
    ):
        jobs = expand_sweep(clean_ranges(quote_texts([f"{key}={values}"], text_keys(Config), GROUPS, multirun=True)))
        again = [quote_texts([quoted_again(each) for each in job], text_keys(Config), GROUPS) for job in jobs]
        assert [parse(each)[0].value() for each in again] == expected


def test_presets_whose_names_look_like_numbers(multirun: Multirun, tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    for name, dropout in (("1e3", 0.1), ("2026.10", 0.2)):
        preset = f"# @package _global_\nmodel: {{dropout: {dropout}}}\n"
        (tmp_path / "experiment" / f"{name}.yaml").write_text(preset)
    folder = ["--config-dir", str(tmp_path)]
    _, started = multirun(f"records.root={tmp_path}/r", "experiment=1e3,2026.10", *folder)
    assert [arguments[:2] for arguments in started] == [folder, folder]
    settings = [quote_texts(arguments[2:], text_keys(Config), GROUPS) for arguments in started]
    assert [compose_config(overrides, str(tmp_path)).model.dropout for overrides in settings] == [0.1, 0.2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model.dropout=range(0.4,0,0.1)"], r"model\.dropout must be a range with a value in it; got 'range\(0\.4,"),
        (["seed=0,1", "records.root=a,b"], "records.root must be one folder for all runs; got 'a,b'"),
        (["seed=range(3,3)"], "seed must be a range with a value in it"),
        (["seed=shuffle()"], "the sweep must be of at least one run"),
        (["seed=0,1", "--cfg", "job"], "the flags must be at most one of .*; got '--multirun --cfg'"),
        (["seed=0,1", "-c", "hydra"], "got '--multirun --cfg'"),
        (["seed=0,1", "--info", "all"], "got '--multirun --info'"),
        (["seed=0", "--run"], "got '--run --multirun'"),
        (["seed=0", "--shell-completion"], "got '--multirun --shell-completion'"),
        (["seed=0", "--resolve"], "--resolve must be together with --cfg job"),
    ],
)
def test_mistakes_leave_nothing_behind(
    arguments: list[str], message: str, multirun: Multirun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=message):
        multirun(*arguments, f"records.root={tmp_path}/records")
    assert not list(tmp_path.iterdir())


def test_shell_completion_wants_to_know_what_for() -> None:
    for arguments, message in (
        ([], "must be with install=, uninstall= or query= and one of bash, fish, zsh; got ''"),
        (["install=tcsh"], "must be .* one of bash, fish, zsh; got 'install=tcsh'"),
        (["query=bash"], "must be with query= from a shell; got 'query=bash'"),
    ):
        with pytest.raises(ConfigError, match=f"--shell-completion {message}"):
            training_program.main(["--shell-completion", *arguments])


def test_the_runs_of_a_multirun_log_as_it_was_asked_to(multirun: Multirun, tmp_path: Path) -> None:
    _, started = multirun("seed=0,1", "hydra.verbose=true", f"records.root={tmp_path}/records")
    assert ["hydra.verbose=true" in arguments for arguments in started] == [True, True]


def test_a_multirun_whose_runs_are_all_refused_is_a_mistake_and_leaves_nothing(
    multirun: Multirun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = f"records.root={tmp_path}/new"
    assert multirun(root, "seed=0,1", ends_with=(2,))[0] == 2
    assert capsys.readouterr().err == "error: 2 of 2 runs failed: seed=0 (exit code 2); seed=1 (exit code 2)\n"
    assert not list((tmp_path / "new").iterdir())
    assert multirun(root, "seed=0", ends_with=(2,))[0] == 2
    assert f"1 of 1 runs failed: {root} seed=0 (exit code 2)" in capsys.readouterr().err
    assert multirun(root, "seed=0,1", ends_with=(2, 0))[0] == 1
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["multirun"]


def test_a_multirun_ends_with_the_command_that_compares_what_it_trained(tmp_path: Path) -> None:
    records, root = Records(tmp_path), f"records.root={tmp_path}"

    def last_line() -> str:
        console = Console(record=True, width=200)
        training_program._end_multirun(records, "now", console)
        return console.export_text().strip().splitlines()[-1]

    now = {training_program.MULTIRUN: "now"}
    make_run(records, "before", age=90)
    make_run(records, "of-another-terminal", age=25, tags={training_program.MULTIRUN: "then"})
    for age, name in ((30, "first"), (20, "second")):
        make_run(records, name, age=age, tags=now)
    assert last_line() == f"next     python experiments/compare.py first second {root}"
    make_run(records, "failed", scores=[], final=None, status=RunStatus.FAILED, tags=now)
    assert last_line() == f"next     python experiments/compare.py first second {root}"
    make_run(
        records, "horses", tags={"dataset_sha256": "cd" * 32, **now}
    )  # whose scores cannot be compared with theirs
    assert last_line() == f"next     python experiments/runs.py {root}"


def test_a_stopped_multirun_says_what_was_not_begun_and_how_to_resume(
    multirun: Multirun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(Records(tmp_path), "of-another-terminal", status=RunStatus.KILLED)

    def child(arguments: list[str], multirun: str) -> tuple[int, int | None]:
        seed = next(word for word in arguments if word.startswith("seed="))
        is_second = seed == "seed=2"
        status = RunStatus.KILLED if is_second else RunStatus.FINISHED
        make_run(Records(tmp_path), seed.replace("=", ""), status=status, tags={training_program.MULTIRUN: multirun})
        return (130, signal.SIGINT) if is_second else (0, None)

    monkeypatch.setattr(sys, "argv", ["experiments/run.py"])
    monkeypatch.setattr(training_program, "_child", child)
    with pytest.raises(SystemExit) as ended:
        training_program.main(["-m", "seed=1,2,3,4", f"records.root={tmp_path}"])
    assert ended.value.code == 130
    *_, stopped, following = capsys.readouterr().out.splitlines()
    assert stopped == "stopped  before seed=3; seed=4"
    assert following == f"next     python experiments/run.py resume=seed2 records.root={tmp_path}"


def test_a_signal_to_a_multirun_alone_reaches_its_run(monkeypatch: pytest.MonkeyPatch) -> None:
    class Run:
        told = False

        def wait(self) -> int:
            os.kill(os.getpid(), signal.SIGINT)  # as `kill -INT`, or the stop button of an editor
            return 0

        def terminate(self) -> None:
            self.told = True

    one = Run()
    monkeypatch.setattr(training_program, "start_program", lambda *arguments, **options: one)
    assert training_program._child([], "now") == (0, signal.SIGINT)
    assert one.told


def test_the_last_run_is_the_one_before_the_multirun(multirun: Multirun, tmp_path: Path) -> None:
    """By the time that the second begins, it would be the first."""
    make_run(Records(tmp_path), "before", age=90)
    code, started = multirun("train.init_from=last", "seed=1,2", f"records.root={tmp_path}")
    assert code == 0
    assert [sorted(each for each in arguments if "init_from" in each or "seed" in each) for arguments in started] == [
        ["seed=1", "train.init_from=before"], ["seed=2", "train.init_from=before"],
    ]  # fmt: skip
    _, started = multirun("resume=last", "train.steps=5,6", f"records.root={tmp_path}")
    assert all("resume=before" in arguments for arguments in started)


def test_a_resume_changes_what_is_named_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(Records(tmp_path), "mine")
    told: list[set[str]] = []

    def resumed(folder: object, config: object, keys: set[str], console: object) -> None:
        told.append(keys)
        raise ConfigError("resume", "seen", "mine")

    monkeypatch.setattr(training_program.start, "resumed_run", resumed)
    for arguments in (["train={steps:6}"], ["train={steps:6}", "+data={path:/x}"]):
        with pytest.raises(ConfigError, match="resume must be seen"):
            training_program.main(["resume=mine", *arguments, f"records.root={tmp_path}"])
    assert told == [{"resume", "records.root", "train.steps"}, {"resume", "records.root", "train.steps", "data.path"}]
    with pytest.raises(ConfigError, match="resume must be without data="):
        training_program.main(["resume=mine", "data=embedded", f"records.root={tmp_path}"])
