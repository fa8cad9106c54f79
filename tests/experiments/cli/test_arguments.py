import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from experiments import sync
from experiments.cli import entry
from experiments.cli.arguments import parse_arguments, with_arguments
from experiments.compare import Comparison
from experiments.records.folders import RunFolder
from experiments.settings.rules import Choice, Interval, NotEmpty, setting
from experiments.settings.schema import RecordsConfig
from gan.errors import ConfigError


@dataclass
class Arguments:
    run: str | None = setting(None, "a run", NotEmpty())
    count: int = setting(5, "how many", Interval(2))
    kind: str = setting("a", "what kind", Choice(("a", "b")))
    overwrite: bool = setting(False, "replace what is there")
    records: RecordsConfig = field(default_factory=RecordsConfig)


def test_arguments_become_a_checked_dataclass() -> None:
    args = parse_arguments(Arguments, ["run=20261122", "count=7", "overwrite=true", "records.root=~/a=b"])
    assert args == Arguments("20261122", 7, "a", True, RecordsConfig("~/a=b"))
    assert parse_arguments(Arguments, []) == Arguments()
    assert parse_arguments(Arguments, ["1e3", "count=7"]) == Arguments("1e3", 7)  # a word alone is a run
    for several in (["a", "b"], ["a", "run=b"]):
        with pytest.raises(ConfigError, match="run must be one run; got 'a and b'"):
            parse_arguments(Arguments, several)


@dataclass
class Lists:
    state: list[str] = setting([], "some states")


@pytest.mark.parametrize("arguments", [["state=a,b"], ["state=[a,b]"], ["state=a", "state=b"]], ids=" ".join)
def test_a_list_takes_several_values(arguments: list[str]) -> None:
    assert parse_arguments(Lists, arguments) == Lists(["a", "b"])


@pytest.mark.parametrize("arguments", [["state=1,2"], ["state='1',2"]], ids=" ".join)
def test_names_of_digits_are_texts(arguments: list[str]) -> None:
    result = parse_arguments(Lists, arguments).state
    assert result == ["1", "2"]
    assert all(type(name) is str for name in result)


@pytest.mark.parametrize("argument", ["+state=a,b", "~state=a", "state=interval(0,1)"])
def test_a_list_takes_values_alone(argument: str) -> None:
    with pytest.raises(ConfigError, match="an argument must be one of state"):
        parse_arguments(Lists, [argument])


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("count=1", "count must be at least 2; got 1"),
        ("count=many", "count must be an integer, at least 2; got 'many'"),
        ("kind=c", "kind must be one of a, b; got 'c'"),
        ("overwrite=perhaps", "overwrite must be true or false; got 'perhaps'"),
        ("cuont=3", "an argument must be one of run, count, kind, overwrite, records.root, with one value; "
                    "got 'cuont=3' (did you mean 'count'?)"),
        ("count=1,2", "with one value; got 'count=1,2'"),
        ("~count", "with one value; got '~count'"),
        ("overwrite", "an override must be key=value; got 'overwrite'"),
        ("--count", "an argument must be key=value; got '--count' (did you mean count=...?)"),
        ("count=${nope}", "an argument must be a plain value; got 'count=${nope}' (Interpolation key 'nope' not found"),
        ("run=", "run must be absent or not empty; got ''"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(argument: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        parse_arguments(Arguments, [argument])
    assert "\n" not in str(caught.value)


def test_a_program_ends_with_its_code_its_help_or_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, code in ((["count=3"], 3), (["--help"], 0), (["count=1"], 2)):
        monkeypatch.setattr("sys.argv", ["program.py", *arguments])
        with pytest.raises(SystemExit) as ended:
            entry.run(with_arguments(Arguments, lambda args: args.count, "What it does."))
        assert ended.value.code == code
    out, err = capsys.readouterr()
    assert out.startswith("What it does.\n")
    assert "kind=a\n    what kind; one of a, b" in out
    assert err == "error: count must be at least 2; got 1\n"


def test_texts_are_taken_as_typed() -> None:
    for name in ("1e3", "0012", "true", "2026.10"):
        assert parse_arguments(Arguments, [f"run={name}"]).run == name
    assert parse_arguments(Comparison, ["run=1e3", "run=*-[01]", "run=[a,b]"]).run == ["1e3", "*-[01]", "a", "b"]
    with pytest.raises(
        ConfigError, match=r"run must be a list of texts; got '\[1e3,b\]' \(numbers in quotation marks\)"
    ):
        parse_arguments(Comparison, ["run=[1e3,b]"])
    with pytest.raises(ConfigError, match=r"run must be absent or not empty; got 'None' \(write null for none\)"):
        parse_arguments(Arguments, ["run=None"])


def run_sync(*arguments: str) -> int:
    return with_arguments(sync.Sync, sync.main, sync.__doc__)(list(arguments))


@pytest.mark.parametrize("root", ["None", "none", "", "  "])
def test_sync_reads_the_folder_of_the_records_as_the_others_do(root: str) -> None:
    with pytest.raises(ConfigError, match=r"records\.root must be absent or not empty") as caught:
        run_sync("all", f"records.root={root}")
    assert "write null for none" in str(caught.value) or not root.strip()


def test_sync_takes_any_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("r sp", "a:b", "1e3", "it's"):
        assert run_sync("all", f"records.root={tmp_path / name}") == 0
        assert capsys.readouterr().out == f"no runs in {tmp_path / name / 'runs'}\n"


def test_sync_takes_all_or_some(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="run must be all alone, or some runs; got 'all nope'"):
        sync.main(sync.Sync(["all", "nope"], RecordsConfig(str(tmp_path))))


def test_sync_fails_where_one_of_several_runs_is_not_delivered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "config.yaml").touch()
    tried = []

    def deliver(folder: RunFolder, console: object) -> bool:
        tried.append(folder.name)
        return folder.name == "a"

    monkeypatch.setattr(sync, "deliver", deliver)
    assert run_sync("all", f"records.root={tmp_path}") == 1
    assert sorted(tried) == ["a", "b"]
    assert run_sync("a", f"records.root={tmp_path}") == 0
    tried.clear()
    assert run_sync("a", "[ab]*", f"records.root={tmp_path}") == 1  # a pattern, which begins like a list
    assert tried == ["a", "b"]
