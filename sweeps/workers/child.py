"""Processes that are told on their standard input what to do: workers and trials."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from sweeps.workers.protocol import Job, Message, from_line

TRIAL = Path(__file__).with_name("trial.py")


class Child:
    """A program with a line of orders on its standard input; the end of that input ends it in order."""

    def __init__(
        self,
        program: Path,
        first: str,
        log: Path,
        *,
        read: bool,
        new_session: bool,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start it.

        Args:
            program: a Python file.
            first: its first line of orders.
            log: what its standard error is appended to.
            read: whether its standard output comes here, and not to the log as well.
            new_session: whether signals of the terminal spare it.
            environment: variables beside those of this process.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = log
        with open(log, "a", encoding="utf-8") as stream:
            self.process = subprocess.Popen(
                [sys.executable, str(program)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if read else stream,
                stderr=stream,
                text=True,
                env={**os.environ, **(environment or {})},
                start_new_session=new_session,
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
    """A trial; what it says comes from `messages`."""

    def __init__(self, job: Job, log: Path, program: Path = TRIAL) -> None:
        super().__init__(program, job.line(), log, read=True, new_session=False)

    def messages(self) -> Iterator[Message]:
        """Yield what it says until it ends; the last is an `Ended`, unless it was killed."""
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            for line in stream:
                if line.endswith("\n"):  # else it was killed in the middle of it
                    yield from_line(line)
        self.process.wait()
        self.interrupt()

    def prune(self, reason: str) -> None:
        self.say(f"prune {reason}\n")

    def interrupt(self) -> None:
        """Let it save its state and end, to be resumed."""
        self.end()

    def ending(self) -> str:
        """Return how it ended without a word."""
        code = self.process.returncode
        if code is not None and code < 0:
            return f"killed by signal {-code}" + (" (out of memory?)" if code == -9 else "")
        return f"ended with exit code {code}; its last words are in {self.log}"
