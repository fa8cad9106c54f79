"""A process that is told on its standard input what to do: a worker or a trial."""

import contextlib
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from experiments.processes.process import start


class Child:
    """A program with a line of orders on its standard input; the end of that input ends it in order."""

    def __init__(
        self,
        program: Path,
        first: str,
        log: Path,
        *,
        read: bool,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start it.

        Args:
            program: a Python file.
            first: its first line of orders.
            log: what its standard error is appended to.
            read: whether its standard output comes here, and not to the log as well.
            environment: variables beside those of this process.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = log
        with open(log, "a", encoding="utf-8") as stream:
            self.process = start(
                program,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if read else stream,
                stderr=stream,
                environment={**os.environ, **(environment or {})},
                new_session=True,
            )
        self.say(first)

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError, ValueError):  # it has ended, or was told to
            self.process.stdin.write(line)
            self.process.stdin.flush()

    def kill(self) -> None:
        """End it at once; it saves nothing."""
        self.process.kill()

    def interrupt(self) -> None:
        """Let it save its state and end, to be resumed."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()

    def ending(self) -> str:
        """Return how it ended without a word."""
        code = self.process.returncode
        if code is not None and code < 0:
            return f"killed by signal {-code}" + (" (out of memory?)" if code == -9 else "")
        return f"ended with exit code {code}; its last words are in {self.log}"
