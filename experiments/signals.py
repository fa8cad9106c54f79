"""Ctrl-C and SIGTERM, in hands of our own for a while."""

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def leave_at_once(number: int, frame: FrameType | None) -> None:
    """For as long as there is nothing to save: an exception could come where Python swallows it, or shows a trace."""
    os._exit(128 + number)


@contextlib.contextmanager
def handled(handler: "signal._HANDLER") -> Iterator[None]:
    """Both go to `handler` meanwhile, and to whom they went before afterwards."""
    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
