"""The states that a run can be in, and the kinds of its failures, as the journal and MLflow hold them."""

from enum import StrEnum


class RunStatus(StrEnum):
    """MLflow's words for the state of a run."""

    RUNNING = "RUNNING"
    FINISHED = "FINISHED"
    FAILED = "FAILED"
    KILLED = "KILLED"  # stopped before its last step, to be resumed or to be dropped


class FailureKind(StrEnum):
    """Why a run failed."""

    DIVERGED = "diverged"  # a loss or a weight was no finite number: the hyperparameters are at fault
    OUT_OF_MEMORY = "out_of_memory"  # of the device
    RECORDS = "records"  # the run's files could not be written
    OTHER = "other"
