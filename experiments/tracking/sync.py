"""Bring whole runs up to date in MLflow, and tell a person how that went."""

import errno
import os
import re

from rich.console import Console

from experiments.cli.stderr import native_stderr_to
from experiments.records.folders import InUse, Records, RunFolder, read_json
from experiments.tracking.address import database_uri, in_shell, public, tracking_uri
from experiments.tracking.connection import RunDeleted, connect, find_experiment
from experiments.tracking.delivery import Delivery
from gan.errors import explained, first_line


def with_study(folder: RunFolder) -> list[RunFolder]:
    """Return a run, after the study that it is part of: MLflow needs that first."""
    try:
        parent = read_json(folder.facts).get("parent")
    except (OSError, ValueError):  # is said when the run is delivered
        parent = None
    return [folder] if parent is None else [RunFolder(folder.records.root / parent), folder]


def why_unreachable(records: Records) -> str:
    """Return in one line why the store cannot be reached, or an empty text: many runs need not wait for it in turn."""
    uri = tracking_uri(records)
    try:
        with native_stderr_to():
            find_experiment(connect(records, uri), records, uri)
    except Exception as error:  # whatever MLflow, its database or the network raise
        return reason(error, records)
    return ""


def deliver(folder: RunFolder, console: Console) -> bool:
    """Bring MLflow up to date with a run's journal, and say so.

    Returns:
        Whether MLflow has all that it should: a run that was deleted there stays so.
    """
    server = public(tracking_uri(folder.records))
    if not folder.journal.exists():
        console.print(f"{folder.name}: nothing happened in it yet")
        return True
    try:
        with folder.owned(), native_stderr_to():
            refused = Delivery(folder).deliver()
    except InUse:
        console.print(f"{folder.name}: skipped, another process trains or delivers it")
        return True
    except RunDeleted as error:
        console.print(f"{folder.name}: left alone in {server}: {error}", style="yellow")
        return True
    except Exception as error:  # whatever MLflow, its database or the network raise: the next run may still go
        console.print(f"{folder.name}: not delivered to {server}: {reason(error, folder.records)}", style="red")
        return False
    for line in refused:
        console.print(f"{folder.name}: refused: {line}", style="red")
    if not refused:
        console.print(f"{folder.name}: delivered to {server}")
    return not refused


def reason(error: Exception, records: Records, uri: str = "") -> str:
    """Say in one line why MLflow cannot be reached, or a file of the records cannot be written.

    The line has the system's words for a chain of network errors, and the database's for an error of it.

    Args:
        error: what was raised.
        records: whose MLflow was asked.
        uri: the address that was asked; by default the present one.
    """
    if isinstance(error, OSError) and error.filename is not None:
        return explained(error)
    uri = uri or tracking_uri(records)
    if "mlflow db upgrade" in str(error):
        return f"its tables are of another version of MLflow; after a backup: mlflow db upgrade {in_shell(uri)}"
    if system := re.search(r"\[Errno -?\d+\] [\w ]+", str(error)):
        return f"{system[0]} at {public(uri)}"
    if re.search(r"timed? ?out", str(error), re.IGNORECASE):
        return f"no answer in time from {public(uri)}"
    words = re.search(r"^\((?:\w+\.)+\w+\) (.+)", str(error), re.MULTILINE)
    file = records.database
    if uri == database_uri(records) and file.exists() and not os.access(file, os.W_OK):
        return explained(PermissionError(errno.EACCES, words[1] if words else os.strerror(errno.EACCES), str(file)))
    return public(words[1] if words else first_line(error))
