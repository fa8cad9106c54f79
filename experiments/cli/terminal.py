"""What is printed reaches any terminal."""

import errno
import io
import os
import select
import sys
from typing import Any


class TerminalFile(io.FileIO):
    """A file of a terminal. Once that is closed, what is written goes nowhere: it is no reason to fail."""

    def write(self, content: Any) -> int:
        try:
            return super().write(content)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            _discard(self.fileno())
            return len(content)


class LastingStream(io.TextIOWrapper):
    """A stream that nobody closes: a handler of logs that has it closes it when Hydra sets up logging."""

    def close(self) -> None:
        self.flush()


def terminal_stream(descriptor: int) -> io.TextIOWrapper:
    """Return a stream that writes to a descriptor, which stays open, and outlives the terminal there."""
    return LastingStream(
        io.BufferedWriter(TerminalFile(descriptor, "w", closefd=False)),
        encoding="utf-8",
        errors="backslashreplace",
        line_buffering=True,
    )


def open_closed_streams() -> None:
    """Open what the program was started without, as by `2>&-`, to nowhere; else the next file would get its number."""
    for name, descriptor in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(descriptor, mode, encoding="utf-8", closefd=False))


def outlive_terminal() -> None:
    """Let the program go on when its terminal is closed, as after `run.py &` and a logout."""
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper) and stream.isatty():
            stream.flush()
            lasting = terminal_stream(descriptor)
            lasting.reconfigure(encoding=stream.encoding)
            setattr(sys, name, lasting)
            setattr(sys, f"__{name}__", lasting)


def tolerate_any_text() -> None:
    """Escape what a terminal cannot show, or a name that is no text, where Python would raise."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def discard_output() -> None:
    """Let what is still to be printed, at the end of the process too, go nowhere."""
    _discard(sys.stdout.fileno())


def _discard(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def discard_broken_output() -> bool:
    """Discard what is still to be printed if nobody reads it any more, and return whether that is so."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    broken = any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    if broken:
        discard_output()
    return broken


def printable(value: Any) -> Any:
    r"""Return a value with `\udcff` spelt out in its texts: bytes of a file name that are no UTF-8 suit no database."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {printable(key): printable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [printable(item) for item in value]
    return value
