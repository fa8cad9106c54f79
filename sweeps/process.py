"""A trial's process, from its worker's side."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sweeps.trial import Job

Event = dict[str, Any]
TRIAL = Path(__file__).with_name("trial.py")


class TrialProcess:
    """Starts a job; what it says comes from `events`."""

    def __init__(self, job: Job, log: Path, program: Path = TRIAL) -> None:
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "a", encoding="utf-8") as stream:
            self._process = subprocess.Popen(
                [sys.executable, str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stream, text=True
            )
        self._say(job.line())

    def events(self) -> Iterator[Event]:
        """Until the process ends; the last one is its outcome, unless it was killed."""
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            for line in stream:
                if line.endswith("\n"):  # else it was killed in the middle of it
                    yield json.loads(line)
        self._process.wait()
        self.interrupt()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        return self._process.returncode

    def prune(self, reason: str) -> None:
        self._say(f"prune {reason}\n")

    def interrupt(self) -> None:
        """Let it save its state and end, to be taken up again."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            return

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError):  # it has ended, or is interrupted already
            return


def ending(process: TrialProcess) -> str:
    """How a process without an outcome ended."""
    code = process.exit_code
    if code is not None and code < 0:
        return f"killed by signal {-code}" + (" (out of memory?)" if code == -9 else "")
    return f"ended with exit code {code}; its last words are in {process.log}"
