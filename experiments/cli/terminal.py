"""What is printed reaches any terminal."""

import io
import os
import select
import sys
from typing import Any


def tolerate_any_text() -> None:
    """Escape what a terminal cannot show, or a name that is no text, where Python would raise."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def discard_output() -> None:
    """Let what is still to be printed, at the end of the process too, go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
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
