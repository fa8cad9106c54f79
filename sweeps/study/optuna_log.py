"""Optuna's log, and its warnings about parts that it calls experimental."""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import optuna
from optuna.exceptions import ExperimentalWarning

optuna.logging.set_verbosity(optuna.logging.WARNING)


@contextlib.contextmanager
def experimental() -> Iterator[None]:
    """Ignore Optuna's warnings that a part may change in a later version: requirements.lock holds the version."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield


def log_to(file: Path) -> None:
    """Send Optuna's log to a file, and nowhere else."""
    handler = logging.FileHandler(file)
    logger = logging.getLogger("optuna")
    logger.handlers = [handler]
    logger.propagate = False
