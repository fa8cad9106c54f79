"""Ctrl-C and SIGTERM, in hands of our own for a while."""

import contextlib
import signal
from collections.abc import Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def handled(handler: "signal._HANDLER") -> Iterator[None]:
    """Both go to `handler` meanwhile, and to whom they went before afterwards."""
    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
