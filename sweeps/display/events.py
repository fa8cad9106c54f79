"""What happens in a search, as its displays follow it."""

from dataclasses import dataclass

from sweeps.spec.space import Value


@dataclass(frozen=True)
class TrialBegan:
    """A trial has its settings: the attempt `number` at the suggestion `origin`."""

    number: int
    origin: int
    params: dict[str, Value]
    is_baseline: bool = False
    promoted_to: int = 0  # the step that it trains on to, if it was paused before


@dataclass(frozen=True)
class TrialProgressed:
    """A trial has come to a step, and has this score so far, if any."""

    number: int
    step: int
    score: float | None = None


@dataclass(frozen=True)
class TrialEnded:
    """A trial is over: COMPLETE with a score, PAUSED, PRUNED, STOPPED or FAIL with a reason."""

    number: int
    state: str
    reason: str = ""
    score: float | None = None


@dataclass(frozen=True)
class WorkersReduced:
    """Memory is not enough for all workers: there are only so many from now on."""

    workers: int


@dataclass(frozen=True)
class Stopping:
    """The search stops: its running trials were told to save their state."""


Event = TrialBegan | TrialProgressed | TrialEnded | WorkersReduced | Stopping


@dataclass(frozen=True)
class TrainingChanged:
    """One of the confirmation's trainings has come to a step, or there is something to say of it.

    Attributes:
        name: of the training.
        step: how far it is, if that changed.
        words: what there is to say.
        is_over: whether it ended.
    """

    name: str
    step: int | None = None
    words: str = ""
    is_over: bool = False
