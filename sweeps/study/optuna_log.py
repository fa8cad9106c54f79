"""What Optuna says: its log, and its marks on parts whose interface may change."""

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
    """Optuna's marks on parts whose interface may change; requirements.lock holds the version."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield


def log_to(file: Path) -> None:
    """Send what Optuna logs to a file."""
    handler = logging.FileHandler(file)
    logger = logging.getLogger("optuna")
    logger.handlers = [handler]
    logger.propagate = False
