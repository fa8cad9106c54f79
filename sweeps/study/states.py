"""The states of a trial, as tables, pages and MLflow name them: Optuna's words, and two that it does not know."""

from enum import StrEnum

from experiments.records import status
from experiments.records.status import RunStatus


class State(StrEnum):
    """Without Optuna, whose import would slow every trial."""

    WAITING = "WAITING"
    RUNNING = RunStatus.RUNNING.value  # the same word
    COMPLETE = "COMPLETE"
    PAUSED = status.PAUSED  # at its rung: it may be promoted
    PRUNED = "PRUNED"
    FAIL = "FAIL"
    STOPPED = "STOPPED"  # its search or its worker ended: another attempt resumes it

    @property
    def word(self) -> str:
        """The state in a table, a chart or a sentence."""
        return "failed" if self == State.FAIL else self.lower()


OVER = (State.COMPLETE, State.PAUSED, State.PRUNED, State.FAIL)
