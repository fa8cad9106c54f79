"""Keep what native libraries write to the terminal out of it, without losing it.

TensorFlow's C++ code reports its start-up straight to file descriptor 2, whatever the
log level. Python's own errors keep going to the terminal.
"""

import contextlib
import functools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from experiments.cli.terminal import terminal_stream


@contextlib.contextmanager
def native_stderr_to(file: Path | str = os.devnull) -> Iterator[None]:
    """Append to a file, by default to none, what native code writes to descriptor 2 while the context is entered."""
    sys.stderr.flush()
    terminal = os.dup(2)
    python_stderr = sys.stderr
    target = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)  # less the umask
    os.dup2(target, 2)
    os.close(target)
    # Only a stream that writes to descriptor 2 needs a new one; a test's capture does not.
    if python_stderr is sys.__stderr__:
        sys.stderr = _lasting_stream()
        os.dup2(terminal, sys.stderr.fileno(), inheritable=False)
    try:
        yield
    finally:
        sys.stderr.flush()
        sys.stderr = python_stderr
        os.dup2(terminal, 2)
        os.close(terminal)


@functools.cache
def _lasting_stream() -> TextIO:
    """Return a stream that is never closed: a logger that is made while it stands in, as TensorFlow's, keeps it."""
    return terminal_stream(os.dup(2))
