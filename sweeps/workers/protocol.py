"""What a search, its workers and their trials tell each other.

A search starts a worker with a `Task`, a worker starts a trial with a `Job`: one line of JSON on the standard input,
whose end ends the other in order. A trial answers on its standard output with a `Message` a line. Scores go from the
worker to the study's database, and nowhere else; the search reads them there.
"""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, ClassVar

from experiments.records.status import FailureKind, RunStatus

# Exit codes of a worker.
NO_TRIAL_COULD_DO_BETTER = 3  # its trial failed for a reason that holds for all trials
MAKES_ROOM = 4  # its trial had too little memory beside others


@dataclass(frozen=True)
class Task:
    """What a worker is for.

    Attributes:
        arguments: its own settings; all others are in the study.
        number: of the worker, for its log and its GPU; no two of a search have the same one.
        program: what trials run.
        compare: whether what is here must be compared with the study, as on a host that joins it.
    """

    arguments: list[str]
    number: int
    program: str
    compare: bool = True

    def line(self) -> str:
        return json.dumps(dataclasses.asdict(self)) + "\n"


@dataclass(frozen=True)
class Job:
    """What a trial is to train.

    Attributes:
        overrides: of conf/, as on a command line of run.py.
        config_dir: a folder of the user's own presets, or None.
        study: the study's folder.
        name: of the run.
        title: in MLflow.
        params: for MLflow, beside the settings.
        tags: likewise.
        final: whether the trained generator gets the records and scores of a finished run.
        upload_minutes: between two uploads of its state to MLflow, or None.
        pause_at: the step after which it saves its state and ends, though its settings say more steps; or None.
    """

    overrides: list[str]
    config_dir: str | None
    study: str
    name: str
    title: str
    params: dict[str, Any] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    final: bool = False
    upload_minutes: float | None = None
    pause_at: int | None = None

    def line(self) -> str:
        return json.dumps(dataclasses.asdict(self)) + "\n"


@dataclass(frozen=True)
class Started:
    """A trial trains, from this step on."""

    kind: ClassVar[str] = "started"
    step: int


@dataclass(frozen=True)
class Progress:
    """A trial has come to this step; said now and then."""

    kind: ClassVar[str] = "progress"
    step: int


@dataclass(frozen=True)
class Scalars:
    """Values of a step, as the run's journal has them."""

    kind: ClassVar[str] = "scalars"
    step: int
    values: dict[str, float]


@dataclass(frozen=True)
class Ended:
    """How a training ended, in words of RunStatus and FailureKind."""

    kind: ClassVar[str] = "ended"
    status: str
    step: int
    failure: str = ""
    failure_kind: str | None = None

    @property
    def would_end_all(self) -> bool:
        """Whether it failed for a reason that every other training would fail for as well."""
        return self.status == RunStatus.FAILED and self.failure_kind in (FailureKind.RECORDS, FailureKind.INPUTS)


Message = Started | Progress | Scalars | Ended
MESSAGES: dict[str, type[Message]] = {message.kind: message for message in (Started, Progress, Scalars, Ended)}


def to_line(message: Message) -> str:
    return json.dumps({"kind": message.kind, **dataclasses.asdict(message)}) + "\n"


def from_line(line: str) -> Message:
    content = json.loads(line)
    return MESSAGES[content.pop("kind")](**content)


class CannotGoOn(Exception):
    """A reason for which every trial would fail."""
