"""Start a program in a process of its own: forked by the fork server where one runs, else as a new Python process."""

import contextlib
import json
import logging
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

SERVER = Path(__file__).with_name("fork_server.py")
ADDRESS = "GAN_FORK_SERVER"  # the environment variable with a server's address, for all processes below it
UNKNOWN = 255  # exit code of a process whose server was killed
END_SECONDS = 0.2  # to wait for a server to end by itself
ANSWER_SECONDS = 60.0  # for a server to import everything and fork
PRELOAD = "experiments.training.preload"  # a module that imports all that a run needs
GO = b"g"  # to a server: its client knows of the process, which may run
_log = logging.getLogger(__name__)


class ForkedProcess:
    """A child of the fork server.

    Attributes:
        pid: its number.
        stdin: what is written to its standard input; None where it has another one.
        stdout: what it writes to its standard output; None where it goes elsewhere.
        returncode: as `subprocess.Popen` has it; `UNKNOWN` where the server was killed first.
    """

    def __init__(self, pid: int, server: socket.socket, stdin: IO[str] | None, stdout: IO[str] | None) -> None:
        """Follow it.

        Args:
            pid: its number.
            server: the connection on which the server says its exit code.
            stdin: our end of its standard input, if that is a pipe.
            stdout: our end of its standard output, if that is a pipe.
        """
        self.pid, self.stdin, self.stdout = pid, stdin, stdout
        self.returncode: int | None = None
        self._server = server
        self._lock = threading.Lock()  # of the descriptor's end
        try:
            self._descriptor = os.pidfd_open(pid)
        except ProcessLookupError:  # it has ended already
            self._descriptor = -1
            self._read_code()

    def poll(self) -> int | None:
        """Return its exit code, None while it runs."""
        return self._wait(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return its exit code.

        Args:
            timeout: seconds to wait at most; None for no limit.

        Raises:
            subprocess.TimeoutExpired: if it still runs.
        """
        code = self._wait(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
        return code

    def send_signal(self, sig: int) -> None:
        """Send it a signal, if it still runs."""
        with self._lock:
            if self.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(self._descriptor, sig)

    def terminate(self) -> None:
        """Send it SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send it SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _wait(self, timeout: float | None) -> int | None:
        if self.returncode is None:
            poll = select.poll()
            poll.register(self._descriptor, select.POLLIN)
            if poll.poll(None if timeout is None else timeout * 1000):
                with self._lock:
                    if self.returncode is None:  # no other thread was faster
                        os.close(self._descriptor)
                        self._read_code()
        return self.returncode

    def _read_code(self) -> None:
        answer = _read(self._server)
        self.returncode = UNKNOWN if answer is None else answer["code"]
        self._server.close()


Process = subprocess.Popen[str] | ForkedProcess


def start(
    program: Path,
    arguments: Sequence[str] = (),
    *,
    stdin: int | IO[str] | None = None,
    stdout: int | IO[str] | None = None,
    stderr: int | IO[str] | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    new_session: bool = False,
) -> Process:
    """Start a Python program.

    Args:
        program: its file.
        arguments: what it gets on its command line.
        stdin: its standard input, as `subprocess.Popen` takes it: a file, `PIPE`, `DEVNULL` or None for ours.
        stdout: its standard output, likewise.
        stderr: its standard error, likewise, but not `PIPE` or `STDOUT`.
        environment: its variables; None for those of this process.
        folder: its working directory; None for that of this process.
        new_session: whether it leads a session of its own, so that signals of the terminal spare it.

    Returns:
        The process, with text streams where `PIPE` was asked for.
    """
    variables = dict(os.environ if environment is None else environment)
    if address := variables.get(ADDRESS):
        try:
            request = {
                "program": str(program.resolve()),
                "arguments": list(arguments),
                "environment": variables,
                "folder": str(folder or os.getcwd()),
                "new_session": new_session,
            }
            return _fork(address, request, (stdin, stdout, stderr))
        except _NotForked as reason:
            _log.debug("%s is started and not forked: %s", program.name, reason)
    return subprocess.Popen(
        [sys.executable, str(program), *arguments],
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        text=True,
        env=variables,
        cwd=folder,
        start_new_session=new_session,
    )


def run(
    program: Path,
    arguments: Sequence[str] = (),
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    new_session: bool = False,
    seconds: float | None = None,
) -> "subprocess.CompletedProcess[str]":
    """Run a Python program without input to its end.

    Args:
        program: its file.
        arguments: what it gets on its command line.
        environment: its variables; None for those of this process.
        folder: its working directory; None for that of this process.
        new_session: whether it leads a session of its own, so that signals of the terminal spare it.
        seconds: after which it is killed; None for no limit.

    Returns:
        Its exit code and what it wrote.

    Raises:
        subprocess.TimeoutExpired: if it was killed.
    """
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as out,
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as err,
    ):
        process = start(
            program,
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            environment=environment,
            folder=folder,
            new_session=new_session,
        )
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        for file in (out, err):
            file.seek(0)
        return subprocess.CompletedProcess([str(program), *arguments], code, out.read(), err.read())


def last_words(done: "subprocess.CompletedProcess[str]") -> str:
    """Return the last line that a program wrote, of its errors if there are any; else its exit code."""
    lines = (done.stderr or done.stdout).strip().splitlines() or [f"exit code {done.returncode}"]
    return lines[-1].removeprefix("error: ")


@contextlib.contextmanager
def fork_server(modules: Sequence[str], log: Path | None = None) -> Iterator[None]:
    """Have `start` fork programs while the context is entered, here and in all processes that are started meanwhile.

    Where a server runs already, or forking is not there, nothing is done.

    Args:
        modules: what the server imports, such as `experiments.training.preload`.
        log: the file that its standard error is appended to; None for nowhere.
    """
    if ADDRESS in os.environ or not _can_fork():
        yield
        return
    address = f"gan-fork-server-{os.urandom(16).hex()}"
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(f"\0{address}")  # a name without a file, which goes with the server
        listener.listen(64)
        errors = stack.enter_context(open(log or os.devnull, "a", encoding="utf-8"))
        server = subprocess.Popen(
            [sys.executable, str(SERVER), str(listener.fileno()), *modules],
            stdin=subprocess.PIPE,
            stdout=errors,
            stderr=errors,
            pass_fds=[listener.fileno()],
        )
    os.environ[ADDRESS] = address
    try:
        yield
    finally:
        os.environ.pop(ADDRESS, None)
        assert server.stdin is not None
        server.stdin.close()  # it ends after its last child
        try:
            server.wait(END_SECONDS)
        except subprocess.TimeoutExpired:  # it still imports, or a child goes on without us
            server.terminate()
            server.wait()


class _NotForked(Exception):
    """Why a program cannot be forked."""


def _can_fork() -> bool:
    """Return whether processes can be forked, and waited for by those who did not: on Linux 5.3 or later."""
    if sys.platform != "linux":
        _log.debug("programs are started and not forked: forking is not safe on %s", sys.platform)
        return False
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError) as error:
        _log.debug("programs are started and not forked: no descriptors of processes (%s)", error)
        return False
    return True


def _fork(address: str, request: dict[str, object], streams: tuple[int | IO[str] | None, ...]) -> ForkedProcess:
    """Let the server at an address fork a program. Raises _NotForked."""
    content = json.dumps(request).encode()
    server = socket.socket(socket.AF_UNIX)
    with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
        ours.callback(server.close)
        server.settimeout(ANSWER_SECONDS)
        descriptors, pipes = [], []
        for number, stream in enumerate(streams):
            descriptor, pipe = _descriptor(number, stream, theirs)
            descriptors.append(descriptor)
            pipes.append(pipe)
            if pipe is not None:
                ours.callback(pipe.close)
        try:
            server.connect(f"\0{address}")
            socket.send_fds(server, [struct.pack("q", len(content))], descriptors)
            server.sendall(content)
        except OSError as error:
            raise _NotForked("the server does not answer") from error
        answer = _read(server)
        if answer is None:
            raise _NotForked("the server does not answer")
        if "refused" in answer:
            raise _NotForked(answer["refused"])
        server.settimeout(None)
        with contextlib.suppress(OSError):  # it was killed meanwhile, as its exit code will say
            server.sendall(GO)
        ours.pop_all()
        return ForkedProcess(answer["pid"], server, pipes[0], pipes[1])


def _descriptor(number: int, stream: int | IO[str] | None, stack: contextlib.ExitStack) -> tuple[int, IO[str] | None]:
    """Return the descriptor of a child's standard stream, and our end of it where it is a pipe."""
    if stream is None:
        return number, None
    if stream == subprocess.PIPE:
        reading, writing = os.pipe()
        here, there, mode = (writing, reading, "w") if number == 0 else (reading, writing, "r")
        stack.callback(os.close, there)
        return there, open(here, mode, encoding="utf-8")
    if stream == subprocess.DEVNULL:
        null = os.open(os.devnull, os.O_RDWR)
        stack.callback(os.close, null)
        return null, None
    return (stream if isinstance(stream, int) else stream.fileno()), None


def _read(server: socket.socket) -> dict[str, Any] | None:
    """Read an answer of a server, None where there is none."""
    with contextlib.suppress(OSError), server.makefile("rb", buffering=0) as stream:  # the next answer is read later
        line = stream.readline()
        if line.endswith(b"\n"):
            answer: dict[str, Any] = json.loads(line)
            return answer
    return None
