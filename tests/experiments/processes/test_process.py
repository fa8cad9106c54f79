"""Programs in processes of their own: a forked one is as one that was started."""

import errno
import json
import logging
import os
import selectors
import signal
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
from conftest import ROOT

from experiments.processes import process
from experiments.processes.fork_server import Server, difference
from experiments.processes.process import ADDRESS, UNKNOWN, ForkedProcess, fork_server, run, start
from experiments.records import journal
from experiments.records.folders import RunFolder
from gan import metric_names

PROGRAM = Path(__file__).with_name("told_program.py")
KILLED = -signal.SIGKILL


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[psutil.Process]:
    """A server of this test's own."""
    monkeypatch.delenv(ADDRESS, raising=False)
    before = psutil.Process().children()
    with fork_server(["json"]):
        (mine,) = [child for child in psutil.Process().children() if child not in before]
        yield mine


def told(*arguments: str, environment: dict[str, str] | None = None) -> tuple[dict[str, object], list[float], str]:
    done = run(PROGRAM, arguments, environment=environment, new_session=True)
    first, second, *rest = done.stdout.splitlines()
    assert done.stderr == ""
    return json.loads(first), json.loads(second), "\n".join(rest)


def wait_until(condition: object, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_forked_process_is_as_a_started_one(
    server: psutil.Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    environment = {**os.environ, "ONLY_HERE": "ä"}
    forked, *_, last = told("end=0", "word=ä", environment=environment)
    assert last == "over"  # exit handlers are called
    address = environment.pop(ADDRESS)
    plain, *_ = told("end=0", "word=ä", environment=environment)
    assert forked.pop("environment") == {**environment, ADDRESS: address}
    assert plain.pop("environment") == environment
    assert forked == plain
    assert forked["leads"] is True
    assert forked["folder"] == str(tmp_path)


def test_a_forked_process_may_stay_in_the_terminals_group(server: psutil.Process) -> None:
    process = start(PROGRAM, stdout=subprocess.PIPE)
    assert isinstance(process, ForkedProcess)
    assert process.stdout is not None
    with process.stdout:
        assert json.loads(process.stdout.read().splitlines()[0])["group"] == os.getpgid(0)
    assert process.wait() == 0


def test_streams_of_a_forked_process(server: psutil.Process, tmp_path: Path) -> None:
    with open(tmp_path / "log", "w") as log:
        process = start(PROGRAM, ["input=1", "raise=alas"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
    assert process.poll() is None
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("hello\n")
    process.stdin.close()
    with process.stdout:
        assert json.loads(process.stdout.readline())["input"] == "hello\n"
        assert process.stdout.readlines()[-1] == "over\n"
    assert process.wait() == 1
    lines = (tmp_path / "log").read_text().splitlines()
    assert (lines[0], lines[-1]) == ("Traceback (most recent call last):", "RuntimeError: alas")


def test_children_share_no_random_numbers(server: psutil.Process) -> None:
    (_, first, _), (_, second, _) = told(), told()
    assert not set(first) & set(second)


@pytest.mark.parametrize("is_forked", [True, False])
def test_exit_codes(is_forked: bool, server: psutil.Process) -> None:
    if not is_forked:
        del os.environ[ADDRESS]  # monkeypatch would bring it back after the server's end
    assert run(PROGRAM, ["end=3"]).returncode == 3
    told = run(PROGRAM, ["end=alas", "late=last"])
    assert (told.returncode, told.stderr, told.stdout.split()[-2:]) == (1, "alas\n", ["last", "over"])
    assert run(PROGRAM, ["late=last"]).stdout.split()[-2:] == ["last", "over"]  # after the last thread, and written
    sleeping = start(PROGRAM, ["sleep=60"], stdout=subprocess.DEVNULL)
    assert isinstance(sleeping, ForkedProcess) == is_forked
    with pytest.raises(subprocess.TimeoutExpired):
        sleeping.wait(0.1)
    assert sleeping.poll() is None
    sleeping.terminate()
    assert sleeping.wait(10) == -signal.SIGTERM
    assert sleeping.poll() == -signal.SIGTERM
    sleeping.kill()  # too late, and no error


def test_a_killed_child_leaves_the_others_alone(server: psutil.Process) -> None:
    first, second = (start(PROGRAM, ["sleep=60"], stdout=subprocess.DEVNULL) for _ in range(2))
    first.kill()
    assert first.wait(10) == KILLED
    assert second.poll() is None
    assert not psutil.pid_exists(first.pid)  # it was reaped
    second.kill()
    assert second.wait(10) == KILLED


def test_a_killed_server_leaves_its_children_alone(
    server: psutil.Process, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    child = start(PROGRAM, ["sleep=1", f"file={tmp_path / 'done'}"], stdout=subprocess.DEVNULL)
    server.kill()
    server.wait()
    with caplog.at_level(logging.DEBUG, process.__name__):
        assert run(PROGRAM, ["end=4"]).returncode == 4
    assert caplog.messages == [f"{PROGRAM.name} is started and not forked: the server does not answer"]
    assert child.wait(10) == UNKNOWN
    assert (tmp_path / "done").exists()


def test_what_the_server_cannot_fork_is_started(
    server: psutil.Process, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere.py"
    elsewhere.write_text("print('here')")
    with caplog.at_level(logging.DEBUG, process.__name__):
        told(environment={**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0"})
        assert run(elsewhere).stdout == "here\n"
    assert caplog.messages == [
        f"{PROGRAM.name} is started and not forked: TF_ENABLE_ONEDNN_OPTS is another one",
        f"elsewhere.py is started and not forked: {elsewhere} is not of this checkout",
    ]


def test_differences_that_matter() -> None:
    assert difference({"PATH": "a", "TF_NUM_INTRAOP_THREADS": "1"}, {"PATH": "b"}) is None
    assert difference({"KERAS_BACKEND": "tensorflow"}, {}) is None
    assert difference({}, {"KMP_INIT_AT_FORK": "FALSE"}) is None  # the client has imported scikit-learn
    assert difference({"KERAS_BACKEND": "jax"}, {}) == "KERAS_BACKEND"
    assert difference({}, {"PYTHONWARNINGS": "error"}) == "PYTHONWARNINGS"


def test_nothing_runs_for_a_client_that_is_gone(server: psutil.Process, tmp_path: Path) -> None:
    """It may have started the program itself."""
    request = {
        "program": str(PROGRAM), "arguments": [f"file={tmp_path / 'done'}"], "environment": dict(os.environ),
        "folder": str(tmp_path), "new_session": True,
    }  # fmt: skip
    content = json.dumps(request).encode()
    with socket.socket(socket.AF_UNIX) as client, open(os.devnull, "r+") as null:
        client.connect("\0" + os.environ[ADDRESS])
        socket.send_fds(client, [struct.pack("q", len(content))], [null.fileno()] * 3)
        client.sendall(content)
        pid = json.loads(client.recv(100))["pid"]
        assert psutil.pid_exists(pid)
    wait_until(lambda: not psutil.pid_exists(pid))
    assert not (tmp_path / "done").exists()
    told()  # the server lives


def test_the_server_goes_with_whoever_started_it(tmp_path: Path) -> None:
    code = (
        "import os, subprocess, time\nfrom pathlib import Path\nfrom experiments.processes.process import *\n"
        f"program, arguments = Path({str(PROGRAM)!r}), ['sleep=1', 'file={tmp_path / 'done'}']\n"
        "with fork_server(['json']):\n    child = start(program, arguments, stdout=subprocess.DEVNULL)\n"
        "    print(os.getpid(), child.pid, flush=True)\n    time.sleep(60)\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != ADDRESS}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT) as owner:
        assert owner.stdout is not None
        line = next(line for line in owner.stdout if line[0].isdigit())
        (mine,) = [c for c in psutil.Process(owner.pid).children() if "fork_server.py" in " ".join(c.cmdline())]
        assert [child.pid for child in mine.children()] == [int(line.split()[1])]
        owner.kill()
    assert mine.is_running()  # for the exit code of its child
    wait_until(lambda: not mine.is_running())
    assert (tmp_path / "done").exists()


def test_where_forking_is_not_safe(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.delenv(ADDRESS, raising=False)
    monkeypatch.setattr(process.sys, "platform", "darwin")
    with caplog.at_level(logging.DEBUG, process.__name__), fork_server(["json"]):
        assert ADDRESS not in os.environ
    assert caplog.messages == ["programs are started and not forked: forking is not safe on darwin"]


@pytest.mark.parametrize(
    "module",
    [
        pytest.param("experiments.training.preload", marks=pytest.mark.slow),
        "sweeps.workers.preload",
    ],  # which imports the first
)
def test_what_is_imported_beforehand_runs_no_operation_and_opens_nothing(module: str) -> None:
    code = (
        f"import os\nbefore = os.listdir('/proc/self/fd')\nimport {module}\n"
        "from tensorflow.python.eager.context import context\n"
        "print(context()._initialized, os.listdir('/proc/self/fd') == before)"
    )
    environment = {key: value for key, value in os.environ.items() if key != ADDRESS}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, check=True)
    assert done.stdout == "False True\n"


def test_a_forked_run_imports_nothing_large_and_gives_the_same(
    forks: None, npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = [
        "data=npz", f"data.path={npz}", f"records.root={tmp_path}", "train.steps=3", "train.log_every_steps=1",
        "eval.num_images=20", "eval.final_num_images=20", "model.generator.width=8", "model.discriminator.width=8",
    ]  # fmt: skip
    program = str(ROOT / "experiments/run.py")
    script, late = PROGRAM.with_name("late_imports.py"), tmp_path / "late.txt"
    assert run(script, [str(late), program, *settings, "name=forked"]).returncode == 0
    packages = Counter(name.partition(".")[0] for name in late.read_text().split())
    assert not {name: count for name, count in packages.items() if count > 20}
    monkeypatch.delenv(ADDRESS)
    assert run(Path(program), [*settings, "name=started"]).returncode == 0
    runs = [RunFolder(tmp_path / "runs" / name) for name in ("forked", "started")]
    first, second = (journal.curves(run.journal) for run in runs)
    times = metric_names.STEPS_PER_SECOND
    assert {key: points for key, points in first.items() if key != times} == {
        key: points for key, points in second.items() if key != times
    }
    first, second = (run.checkpoints.latest().arrays for run in runs)
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_a_server_that_cannot_fork_says_so(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def no_memory() -> int:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(selectors, "DefaultSelector", selectors.SelectSelector)  # the test's input may be any file
    monkeypatch.setattr(os, "fork", no_memory)
    monkeypatch.setattr(Server, "_refusal", lambda self, request: None)
    monkeypatch.setenv(ADDRESS, f"test-{os.getpid()}")
    with socket.socket(socket.AF_UNIX) as listener, ThreadPoolExecutor(1) as threads:
        listener.bind(f"\0{os.environ[ADDRESS]}")
        listener.listen()
        answered = threads.submit(Server(listener, {}, signal.SIG_DFL)._answer)
        with caplog.at_level(logging.DEBUG, process.__name__):
            monkeypatch.setattr(subprocess, "Popen", lambda *arguments, **options: arguments)
            start(PROGRAM)
        assert answered.result() is None
    reason = f"it cannot be forked: [Errno {errno.ENOMEM}] Cannot allocate memory"
    assert caplog.messages == [f"{PROGRAM.name} is started and not forked: {reason}"]
