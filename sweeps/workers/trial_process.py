"""A trial's process, from the side of its worker: started, listened to, pruned or interrupted."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from sweeps.workers.child import Child
from sweeps.workers.protocol import Job, Message, from_line

TRIAL = Path(__file__).with_name("trial.py")


class TrialProcess(Child):
    """The process of a trial; `messages` yields what it reports.

    Args:
        job: what it trains.
        log: the file that its standard error is appended to.
        program: the Python file that it runs.
        environment: variables beside those of this process.
    """

    def __init__(
        self, job: Job, log: Path, program: Path = TRIAL, environment: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(program, job.line(), log, read=True, environment=environment)

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
