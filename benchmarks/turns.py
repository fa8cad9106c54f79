"""Trainings that take turns: a machine's speed drifts by more than what is compared."""

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

TURN = 5.0  # seconds


def say(line: str) -> None:
    print(line, flush=True)


class Runner:
    """A Python program in a process of its own, stopped but for its turns.

    It says `started <updates so far>`, then `updated <how many>` after each call, and whatever else.
    """

    def __init__(self, arguments: Sequence[str], **environment: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, *arguments], stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
        )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        self.first = int(self._lines.get().removeprefix("started "))
        self._process.send_signal(signal.SIGSTOP)
        self.seconds = 0.0  # of its turns
        self.updates = 0  # in them

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.strip())
        self._lines.put("ended")

    def turn(self) -> str | None:
        """Let the process run for a while, or until it says something else than `updated`."""
        start = time.perf_counter()
        said = None
        self._process.send_signal(signal.SIGCONT)
        while said is None and (left := start + TURN - time.perf_counter()) > 0:
            try:
                said = self._lines.get(timeout=left)
            except queue.Empty:
                break
            if said.startswith("updated "):
                self.updates += int(said.removeprefix("updated "))
                said = None
        self._process.send_signal(signal.SIGSTOP)
        self.seconds += time.perf_counter() - start
        return said

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
