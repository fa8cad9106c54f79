"""The states that a run can be in, and the kinds of its failures, as the journal and MLflow hold them."""

from enum import StrEnum


class RunStatus(StrEnum):
    """MLflow's words for the state of a run."""

    RUNNING = "RUNNING"
    FINISHED = "FINISHED"
    FAILED = "FAILED"
    KILLED = "KILLED"  # stopped before its last step, to be resumed or to be dropped


TRIAL_STATE = "optuna.trial_state"  # the tag of a trial that says more than its status
PAUSED = "PAUSED"  # its value for one that may be promoted


class RunState(StrEnum):
    """What a list says of a run or a search."""

    RUNNING = "running"
    FINISHED = "finished"
    STOPPED = "stopped"  # by a person, to be resumed
    INTERRUPTED = "interrupted"  # it was running when its process was killed
    FAILED = "failed"
    PAUSED = "paused"  # a trial that a search may resume
    PRUNED = "pruned"  # a trial that it does not
    NEW = "new"
    DAMAGED = "damaged"  # its records cannot be read


class FailureKind(StrEnum):
    """Why a run failed."""

    DIVERGED = "diverged"  # a loss or a weight was no finite number: the hyperparameters are at fault
    OUT_OF_MEMORY = "out_of_memory"  # of the device
    RECORDS = "records"  # the run's files could not be written
    INPUTS = "inputs"  # its images or its extractor could not be had
    OTHER = "other"


OF_THE_MACHINE = (FailureKind.RECORDS, FailureKind.INPUTS, FailureKind.OUT_OF_MEMORY)  # not of the settings
