"""Handlers of Ctrl-C, SIGTERM and a closed terminal, for a while, in a process that runs a program of ours."""

import contextlib
import functools
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from experiments import ROOT

SHOW_CURSOR = "\x1b[?25h"  # which live lines hide
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SAME_SECONDS = 0.5  # within which signals are one: a terminal and a parent may both send it
PROGRAMS = [ROOT / name for name in ("experiments", "sweeps", "benchmarks")]  # folders of them


@functools.cache
def is_ours() -> bool:
    """Return whether this process runs a program of ours, and not a notebook, a Python prompt or a test."""
    files = [Path(each).resolve() for each in sys.orig_argv[1:] if each.endswith(".py")]
    modules = [each for each in sys.orig_argv[1:] if each.startswith(("experiments.", "sweeps."))]
    started = bool(modules) or any(file.is_relative_to(folder) for file in files for folder in PROGRAMS)
    return started and not hasattr(sys, "ps1") and not sys.flags.interactive


def leave_at_once(number: int, frame: FrameType | None) -> None:
    """End the process at once, for as long as there is nothing to save.

    An exception could come where Python swallows it, or shows a trace. A process that is not ours lives on: there
    KeyboardInterrupt is raised.
    """
    if not is_ours():
        raise KeyboardInterrupt
    os._exit(128 + number)


def leave_at_once_on_interrupt() -> None:
    """Let Ctrl-C call `leave_at_once` from now on, in a process that is ours."""
    if is_ours() and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, leave_at_once)


@contextlib.contextmanager
def handled(handler: "signal._HANDLER") -> Iterator[None]:
    """Let signals go to `handler` while the context is entered, and to their former handlers afterwards.

    SIGNALS in a process that is ours, but not those that it was started to ignore, as `nohup` does. (SIGINT is taken all
    the same: a script's shell ignores it for what it starts with `&`, where `kill -INT` is meant.) Elsewhere SIGINT
    alone, if nobody else handles it. Python gives signals to the main thread only: in another thread nothing is changed.
    """
    before = {number: signal.signal(number, handler) for number in _to_take()}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


@contextlib.contextmanager
def first_collected(resume_command: str = "") -> Iterator[list[int]]:
    """Collect the first signal, so that work can stop where its state can be saved; the next one ends it at once.

    resume_command: the command that resumes the work, which is said when it ends at once.
    """
    caught: list[int] = []
    first = math.inf

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal first
        if caught and time.monotonic() - first < SAME_SECONDS:
            return
        if caught:
            if resume_command:  # not by print(), which may have been interrupted
                words = f"\nstopped  at once\nnext     {resume_command}\n"
                cursor = SHOW_CURSOR if os.isatty(1) else ""
                with contextlib.suppress(OSError):  # the terminal may be gone
                    os.write(1, f"{cursor}{words}".encode(errors="backslashreplace"))
            leave_at_once(number, frame)
        caught.append(number)
        first = time.monotonic()

    with handled(note):
        yield caught


def _to_take() -> tuple[signal.Signals, ...]:
    if threading.current_thread() is not threading.main_thread():
        return ()
    if is_ours():
        return tuple(number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN)
    return (signal.SIGINT,) if signal.getsignal(signal.SIGINT) is signal.default_int_handler else ()
