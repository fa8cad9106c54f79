"""Processes that a search starts and talks to: workers and, from the worker's side, trials."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sweeps.workers.protocol import Job

Event = dict[str, Any]
TRIAL = Path(__file__).with_name("trial.py")


class Child:
    """A program that is told on its standard input what to do; the end of that input ends it in order.

    first: what it is told at once. heard: whether its standard output comes here, and not
    to the log as well. apart: whether signals of the terminal spare it.
    """

    def __init__(
        self,
        program: Path,
        first: str,
        log: Path,
        *,
        heard: bool,
        apart: bool,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = log
        with open(log, "a", encoding="utf-8") as stream:
            self.process = subprocess.Popen(
                [sys.executable, str(program)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if heard else stream,
                stderr=stream,
                text=True,
                env={**os.environ, **(environment or {})},
                start_new_session=apart,
            )
        self.say(first)

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError, ValueError):  # it has ended, or was told to
            self.process.stdin.write(line)
            self.process.stdin.flush()

    def end(self) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()


class TrialProcess(Child):
    """Starts a job; what it says comes from `events`."""

    def __init__(self, job: Job, log: Path, program: Path = TRIAL) -> None:
        super().__init__(program, job.line(), log, heard=True, apart=False)

    def events(self) -> Iterator[Event]:
        """Until the process ends; the last one is its outcome, unless it was killed."""
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            for line in stream:
                if line.endswith("\n"):  # else it was killed in the middle of it
                    yield json.loads(line)
        self.process.wait()
        self.interrupt()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def exit_code(self) -> int | None:
        return self.process.returncode

    def prune(self, reason: str) -> None:
        self.say(f"prune {reason}\n")

    def interrupt(self) -> None:
        """Let it save its state and end, to be taken up again."""
        self.end()


def ending(process: TrialProcess) -> str:
    """How a process without an outcome ended."""
    code = process.exit_code
    if code is not None and code < 0:
        return f"killed by signal {-code}" + (" (out of memory?)" if code == -9 else "")
    return f"ended with exit code {code}; its last words are in {process.log}"
