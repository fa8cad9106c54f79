"""Correct the places of files in MLflow's database after the records were moved, renamed or copied."""

import contextlib
import sqlite3
from pathlib import Path
from urllib.parse import unquote, urlsplit

from experiments.tracking.experiment import EXPERIMENT, VIEW_TAG

ARTIFACTS = "artifacts"  # the folder beside the database that our experiments are made with
PLACES = (  # tables and columns of MLflow's
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
    ("model_versions", "source"),
    ("trace_tags", "value"),
    ("tags", "value"),
)
SECONDS = 60.0  # to wait for another process that writes


def artifacts_of(database: Path) -> str:
    """Return where the runs of an SQLite database keep their files, as MLflow has it."""
    return (database.parent / ARTIFACTS).as_uri()


def own_default_experiment(database: Path) -> None:
    """Let MLflow's first experiment keep its files beside a new database, and not in the working directory."""
    with contextlib.closing(sqlite3.connect(database, timeout=SECONDS)) as connection, connection:
        connection.execute(
            "UPDATE experiments SET artifact_location = ? WHERE experiment_id = 0", (artifacts_of(database),)
        )


def relocate(database: Path, copies: bool) -> list[Path]:
    """Let every place that a database has below its former folders be below its folder.

    A former folder is recognized by the experiments that this program made in it.

    Args:
        database: an SQLite file with MLflow's tables.
        copies: whether the folder counts as former where its artifacts are still there, as those of a copy's original.

    Returns:
        The former folders; none where all is right.
    """
    here = database.parent
    with contextlib.closing(sqlite3.connect(database, timeout=SECONDS)) as connection, connection:
        former = [folder for folder in _roots(connection) if folder != here]
        former = [folder for folder in former if copies or not (folder / ARTIFACTS).exists()]
        if former:
            connection.execute("BEGIN IMMEDIATE")
        for folder in sorted(former, key=lambda path: len(str(path)), reverse=True):  # one may lie in another
            for table, column in PLACES:
                _move(connection, table, column, folder.as_uri(), here.as_uri())
                _move(connection, table, column, str(folder), str(here))
    return former


def _roots(connection: sqlite3.Connection) -> list[Path]:
    rows = connection.execute(
        "SELECT DISTINCT artifact_location FROM experiments WHERE artifact_location LIKE ? AND"
        " (experiment_id = 0 OR name = ? OR experiment_id IN (SELECT experiment_id FROM experiment_tags WHERE key = ?))",
        (f"file:///%/{ARTIFACTS}", EXPERIMENT, VIEW_TAG),
    )
    return [Path(unquote(urlsplit(place).path)).parent for (place,) in rows]


def _move(connection: sqlite3.Connection, table: str, column: str, former: str, here: str) -> None:
    """Move the paths of a folder and all below it; a new folder inside the former one is left as it is."""
    below = f"({column} = :{{0}} OR substr({column}, 1, length(:{{0}}) + 1) = :{{0}} || '/')"
    where = below.format("former")
    if here.startswith(f"{former}/"):
        where += f" AND NOT {below.format('here')}"
    connection.execute(
        f"UPDATE {table} SET {column} = :here || substr({column}, length(:former) + 1) WHERE {where}",
        {"former": former, "here": here},
    )
