import io
import os
import pty
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import ROOT, RunProgram

from experiments.cli import entry
from experiments.cli.arguments import with_arguments
from experiments.cli.terminal import printable
from experiments.reports.page import render
from experiments.settings.rules import setting


@dataclass
class Nothing:
    word: str = setting("", "what is printed")


@pytest.mark.parametrize("encoding", ["ascii", "utf-8", "latin-1"])
def test_what_a_terminal_cannot_show_is_escaped(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    streams = {
        name: io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict") for name in ("stdout", "stderr")
    }
    for name, stream in streams.items():
        monkeypatch.setattr(sys, name, stream)
    monkeypatch.setattr(sys, "argv", ["program.py", "word=x"])

    def main(_: Nothing) -> int:
        print("船 \udcff")
        print("größe \udcff", file=sys.stderr)
        return 0

    with pytest.raises(SystemExit) as ended:
        entry.run(with_arguments(Nothing, main, None))
    assert ended.value.code == 0
    expected = "船" if encoding == "utf-8" else r"\u8239"
    sys.stdout.flush()
    assert streams["stdout"].buffer.getvalue().decode(encoding) == expected + " \\udcff\n"  # type: ignore[attr-defined]


def test_a_program_in_a_terminal_of_ascii(program: RunProgram, tmp_path: Path) -> None:
    done = program("all", f"records.root={tmp_path}/größe", script="experiments/sync.py", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert r"gr\xf6\xdfe/runs" in done.stdout


@pytest.mark.parametrize("closed", [">&- 2>&-", "<&- >&- 2>&-", "<&- 2>&-"])
def test_a_program_without_streams_does_its_work(closed: str, tmp_path: Path) -> None:
    """Nor does what it opens get the number of one of them."""
    script = (
        "import os, sys\nfrom experiments.cli import entry\n"
        "def main(_):\n    print('x'); print('x', file=sys.stderr); sys.stderr.flush()\n"
        "    os.write(2, b'native')\n    open('made', 'w').write(str(os.open('.', os.O_RDONLY)))\n    return 0\n"
        "entry.run(main)"
    )
    (tmp_path / "program.py").write_text(script)
    command = f"{sys.executable} program.py {closed}; echo $? > code"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(["sh", "-c", command], cwd=tmp_path, env=environment, check=True, capture_output=True, timeout=60)
    assert (tmp_path / "code").read_text() == "0\n"
    assert int((tmp_path / "made").read_text()) > 2


def test_names_that_are_no_text_are_spelt_out() -> None:
    values = {"path": "b\udcfccher", "numbers": [1, None, "\udcff"], "ü": True}
    assert printable(values) == {"path": r"b\udcfccher", "numbers": [1, None, r"\udcff"], "ü": True}


def test_a_page_takes_any_name(tmp_path: Path) -> None:
    template = tmp_path / "x.html"
    template.write_text("{{ data }}")
    assert render(template, data="b\udcfccher") == r"b\udcfccher"


def test_a_pipe_that_nobody_reads_ends_a_program_quietly() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, str(ROOT / "experiments/compare.py"), "--help"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_another_broken_pipe_is_an_error(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def main(_: list[str]) -> int:
        raise BrokenPipeError(32, "Broken pipe")

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit) as ended:
        entry.run(main)
    signal.signal(signal.SIGINT, before)
    assert ended.value.code == 1
    assert capfd.readouterr().err == "error: [Errno 32] Broken pipe\n"


def test_a_program_outlives_its_terminal(tmp_path: Path) -> None:
    """As after `run.py &` and a logout: what it prints goes nowhere, and what it does goes on."""
    done = tmp_path / "done"
    code = (
        "import sys, time, pathlib; from experiments.cli import entry; from experiments.cli.progress import Output;"
        "from experiments.cli.stderr import native_stderr_to\n"
        "def main(arguments):\n"
        "    console = Output(); console.print('begun')\n"
        "    while not pathlib.Path(arguments[0] + '/closed').exists(): time.sleep(0.05)\n"
        "    console.print('unheard'); print('unheard'); print('unheard', file=sys.stderr)\n"
        "    with native_stderr_to(pathlib.Path('/dev/null')): print('unheard', file=sys.stderr)\n"
        "    pathlib.Path(arguments[0] + '/done').touch()\n"
        "    return 3\n"
        "entry.run(main)"
    )
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs,
        start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    assert b"begun" in os.read(ours, 100)
    os.close(ours)
    (tmp_path / "closed").touch()
    assert process.wait(60) == 3
    assert done.exists()
