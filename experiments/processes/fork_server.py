"""The fork server: a process that has imported what programs need, and forks one for each request.

`process.py` starts `python experiments/processes/fork_server.py LISTENER MODULE...` and sends it requests:
a program, its arguments, environment, working directory and standard streams. A child has all of those as a process
of its own would have them, and ends as one. The server ends when its standard input does, after its last child.

The standard library's server (multiprocessing's forkserver) does not do: a process that it forked cannot use it, so
each worker of a search would import TensorFlow for itself; its children end without the exit handlers of libraries;
and they have the streams of the server.
"""

import atexit
import contextlib
import gc
import importlib
import io
import json
import os
import runpy
import selectors
import signal
import socket
import struct
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from setproctitle import getproctitle, setproctitle

from experiments import ROOT
from experiments.processes.process import GO

REQUEST_SECONDS = 10.0  # for a client to send its request
# What Python and libraries read when they are imported, by the beginnings of the names; but for what they read later,
# and the two that scikit-learn sets in a client that imports it.
READ_AT_IMPORT = ("CUDA_", "GOTO_", "HOME", "KERAS_", "KMP_", "LANG", "LC_", "LD_", "MALLOC_", "MKL_", "MLFLOW_LOGGING_",
                  "MPL", "NVIDIA_", "OMP_", "OPENBLAS_", "PYTHON", "TF_", "TMPDIR", "TZ", "XLA_")  # fmt: skip
READ_LATER = ("CUDA_DEVICE_ORDER", "CUDA_VISIBLE_DEVICES", "KERAS_HOME", "TF_FORCE_GPU_ALLOW_GROWTH", "TF_NUM_",
              "KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK")  # fmt: skip
DEFAULTS = {"KERAS_BACKEND": "tensorflow"}  # what the library sets itself


@dataclass(frozen=True)
class Request:
    """What is to run, and with which standard streams."""

    program: str
    arguments: list[str]
    environment: dict[str, str]
    folder: str  # to work in
    new_session: bool
    streams: list[int]  # descriptors of the standard streams

    def run(self) -> None:
        """Run the program in this process, as `python <program> <arguments>` would."""
        if self.new_session:
            os.setsid()
        for number, descriptor in enumerate(self.streams):
            os.dup2(descriptor, number)
            os.close(descriptor)
        sys.stdin = sys.__stdin__ = _stream(0, sys.stdin)  # type: ignore[misc]
        sys.stdout = sys.__stdout__ = _stream(1, sys.stdout)  # type: ignore[misc]
        sys.stderr = sys.__stderr__ = _stream(2, sys.stderr)  # type: ignore[misc]
        os.environ.clear()
        os.environ.update(self.environment)
        os.chdir(self.folder)
        np.random.seed()  # Python's own generator does it at every fork
        sys.argv = [self.program, *self.arguments]
        sys.orig_argv = [sys.executable, self.program, *self.arguments]
        sys.path[0] = os.path.dirname(self.program)
        setproctitle(" ".join(sys.orig_argv))  # what ps and top show
        runpy.run_path(self.program, run_name="__main__")


def _stream(number: int, like: Any) -> io.TextIOWrapper:
    """Open a standard stream as Python does at its start, which depends on the file that it is.

    Args:
        number: 0, 1 or 2.
        like: that stream of the server, whose encoding and buffering were asked for by the environment.
    """
    is_unbuffered = number > 0 and like.write_through
    buffer = open(number, "wb" if number else "rb", buffering=0 if is_unbuffered else -1, closefd=False)
    by_line = not is_unbuffered and (number == 2 or (number == 1 and buffer.isatty()))
    newline = "\n" if number else None
    return io.TextIOWrapper(
        buffer, like.encoding, like.errors, newline, line_buffering=by_line, write_through=is_unbuffered
    )


def difference(mine: Mapping[str, str], theirs: Mapping[str, str]) -> str | None:
    """Return the name of a variable that libraries read at their import and that differs, or None."""
    mine, theirs = DEFAULTS | dict(mine), DEFAULTS | dict(theirs)
    for name in sorted(mine.keys() | theirs.keys()):
        if name.startswith(READ_AT_IMPORT) and not name.startswith(READ_LATER) and mine.get(name) != theirs.get(name):
            return name
    return None


class Server:
    """Answers requests until nobody can send any."""

    def __init__(self, listener: socket.socket, environment: Mapping[str, str], sigint: Any) -> None:
        """Listen.

        Args:
            listener: where requests come.
            environment: the variables of this process before it imported anything.
            sigint: what children do at SIGINT.
        """
        self._listener, self._environment, self._sigint = listener, environment, sigint
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ)
        self._selector.register(0, selectors.EVENT_READ)  # its end is that of whoever started this
        self._children: dict[int, tuple[int, socket.socket]] = {}  # process and client, by the process' descriptor

    def serve(self) -> Request | None:
        """Fork a child for each request; return the request in the child, and None in the server at its end."""
        is_open = True
        while is_open or self._children:
            for key, _ in self._selector.select():
                if key.fileobj is self._listener:
                    if is_open and (request := self._answer()) is not None:
                        return request
                elif key.fd == 0:
                    if not os.read(0, 1):
                        self._selector.unregister(0)
                        self._selector.unregister(self._listener)
                        self._listener.close()
                        is_open = False
                else:
                    self._reap(key.fd)
        return None

    def _answer(self) -> Request | None:
        """Fork for a request that waits. Returns it in the child alone."""
        client, _ = self._listener.accept()
        try:
            client.settimeout(REQUEST_SECONDS)
            request = _receive(client)
        except (OSError, ValueError, TypeError, struct.error):  # the client is gone, or is none
            client.close()
            return None
        reason = self._refusal(request)
        try:
            pid = os.fork() if reason is None else None
        except OSError as error:  # no memory, or too many processes
            reason, pid = f"it cannot be forked: {error}", None
        if pid == 0:
            self._leave()
            if not _may_go(client):
                os._exit(0)
            return request
        for stream in request.streams:
            os.close(stream)
        if pid is None:
            _send(client, {"refused": reason})
            client.close()
            return None
        descriptor = os.pidfd_open(pid)
        self._children[descriptor] = pid, client
        self._selector.register(descriptor, selectors.EVENT_READ)
        _send(client, {"pid": pid})
        return None

    def _refusal(self, request: Request) -> str | None:
        """Return why this process cannot be forked for a request, or None."""
        if len(threads := threading.enumerate()) > 1:
            return f"the server has the thread {threads[-1].name}"
        eager = sys.modules.get("tensorflow.python.eager.context")
        if eager is not None and eager.context()._initialized:
            return "TensorFlow runs in the server"
        if not Path(request.program).is_relative_to(ROOT):
            return f"{request.program} is not of this checkout"
        name = difference(self._environment, request.environment)
        return f"{name} is another one" if name is not None else None

    def _leave(self) -> None:
        """Give up in a child what is the server's."""
        self._selector.close()
        self._listener.close()
        for descriptor, (_, other) in self._children.items():
            os.close(descriptor)
            other.close()
        signal.signal(signal.SIGINT, self._sigint)

    def _reap(self, descriptor: int) -> None:
        pid, client = self._children.pop(descriptor)
        self._selector.unregister(descriptor)
        os.close(descriptor)
        _, status = os.waitpid(pid, 0)
        _send(client, {"code": os.waitstatus_to_exitcode(status)})
        client.close()


def _receive(client: socket.socket) -> Request:
    """Read a request. Raises ValueError for a client of another user."""
    _, user, _ = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    if user != os.getuid():
        raise ValueError("of another user")
    head, streams, _, _ = socket.recv_fds(client, 8, 3)
    with contextlib.ExitStack() as stack:  # they are closed if there is no request
        for descriptor in streams:
            stack.callback(os.close, descriptor)
        (length,) = struct.unpack("q", head)
        with client.makefile("rb") as stream:
            request = Request(**json.loads(stream.read(length)), streams=streams)
        stack.pop_all()
        return request


def _may_go(client: socket.socket) -> bool:
    """Return whether the client of a child knows of it; otherwise it may have started the program itself."""
    with client, contextlib.suppress(OSError):
        client.settimeout(None)
        return client.recv(1) == GO
    return False


def _send(client: socket.socket, answer: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):  # the client is gone
        client.sendall(json.dumps(answer).encode() + b"\n")


def main() -> Request | None:
    """Import the modules, and serve. Returns a request in a child, None in the server."""
    sigint = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all: it is for the programs
    getproctitle()  # finds the place of the title, which it could not once the environment was another one
    environment = dict(os.environ)
    for module in sys.argv[2:]:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # the pages of what is there by now stay shared
    return Server(socket.socket(fileno=int(sys.argv[1])), environment, sigint).serve()


def run_to_the_end(request: Request) -> None:
    """Run a program in this process and end it, as Python does but for one thing: no object is freed one by one.

    That would take 0.4 s of a core, as the server's imports are copied to be freed. An uncaught error ends as usual.
    """
    code: Any = None
    try:
        request.run()
    except SystemExit as end:
        code = end.code
        if not isinstance(code, int | None):  # a text, which Python prints
            raise
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, as Python and multiprocessing do
    atexit._run_exitfuncs()
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except (OSError, ValueError):  # Python's own end says it
        sys.exit(code)
    os._exit((code or 0) & 0xFF)


if __name__ == "__main__":
    if (request := main()) is not None:
        run_to_the_end(request)
