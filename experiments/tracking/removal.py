"""Remove runs for good: the folder, and in MLflow the run with its files and models.

A run is first moved out of the runs, in one step: from then on no program sees it. What is left of it is removed after
that, its note of deliveries last, so that whatever breaks off can be finished.
"""

import contextlib
import errno
import fnmatch
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from filelock import FileLock

from experiments.cli.stderr import native_stderr_to
from experiments.records.folders import RUNS_URI, Records, RunFolder, new_folder, write_json
from experiments.tracking.address import database_uri, public, sqlite_file, tracking_uri
from experiments.tracking.connection import OWN_DATABASE, connect, get_run, is_gone
from experiments.tracking.delivered import read_stores
from experiments.tracking.models import models_of
from experiments.tracking.sync import reason

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass
class Removed:
    """What was removed, and what could not be."""

    names: list[str] = field(default_factory=list)  # of runs whose files are gone
    marked: list[str] = field(default_factory=list)  # servers that keep rows of runs as deleted ones
    left: dict[str, str] = field(default_factory=dict)  # why MLflow still has runs, by its address


def set_aside(run: RunFolder) -> None:
    """Move a run's folder out of the runs; `finish` removes it.

    Args:
        run: the run's folder.

    Raises:
        ConfigError: if a process trains or delivers it.
    """
    with run.owned("run"):
        move_aside(run)
    (run.records.runs / f".{run.name}.lock").unlink(missing_ok=True)  # of the process of a trial


def move_aside(folder: RunFolder) -> None:
    """Move the folder of a run or of a study, which this process owns, to where `finish` removes it."""
    with _removing(folder.records):
        place = new_folder(folder.records.removed, folder.name)
        try:
            if folder.path.is_symlink():  # to another disk
                place.rmdir()
            folder.path.rename(place)  # over the empty folder
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            _remove_elsewhere(folder, place)


def _remove_elsewhere(folder: RunFolder, place: Path) -> None:
    """Remove a folder whose parent is on another disk; `finish` needs its note of deliveries alone."""
    if folder.delivery.exists():
        shutil.copy2(folder.delivery, place)
    for file in (folder.config, folder.facts):  # from now on it is no run, and tidy takes what is left
        file.unlink(missing_ok=True)
    shutil.rmtree(folder.path)


def finish(records: Records) -> Removed:
    """Remove all runs that were set aside, also by a process that was killed at it; one process at a time does so."""
    if not records.removed.is_dir():
        return Removed()
    with _removing(records):
        return _finish(records)


def _removing(records: Records) -> FileLock:
    return FileLock(records.removed.with_suffix(".lock"))


def _finish(records: Records) -> Removed:
    done = Removed()
    folders = [*records.all_runs(), *records.all_studies()]
    of_others = {run_id for folder in folders for run_id in folder.mlflow_run_ids()}  # where the folder was a copy
    for path in sorted(records.removed.glob("*/")):
        if not any(path.iterdir()):  # killed before the run was moved here
            path.rmdir()
            continue
        run = RunFolder(path)
        stores, _ = read_stores(run.delivery)
        for key in [key for key, state in stores.items() if "run_id" in state]:
            run_id = str(stores[key]["run_id"])
            problem = "" if run_id in of_others else done.left.get(key) or _remove_from(records, key, run_id, done)
            if problem:
                done.left[key] = problem
            else:
                del stores[key]
        if stores:
            write_json(run.delivery, {"stores": stores})
        if not (stores and is_only_noted(run)):  # else its files went before
            done.names.append(path.name)
        _remove_files(path, {run.delivery} if stores else set())
    with contextlib.suppress(OSError):  # some are left
        records.removed.rmdir()
    return done


def unfinished(records: Records) -> list[RunFolder]:
    """Return the runs that were set aside and are not wholly removed, by name."""
    return [RunFolder(path) for path in sorted(records.removed.glob("*/")) if any(path.iterdir())]


def is_only_noted(run: RunFolder) -> bool:
    """Return whether all that is left of a run that was set aside is the note of stores that still have it."""
    return all(file == run.delivery for file in run.path.iterdir())


def forget(records: Records, left: Iterable[str]) -> None:
    """Give up what stores still have of runs that were set aside.

    Args:
        records: where they were.
        left: the stores, as `Removed.left` names them.
    """
    with _removing(records):
        for run in filter(is_only_noted, unfinished(records)):
            stores, _ = read_stores(run.delivery)
            kept = {key: state for key, state in stores.items() if key not in left}
            if kept:
                write_json(run.delivery, {"stores": kept})
            else:
                shutil.rmtree(run.path)
        with contextlib.suppress(OSError):  # some are left
            records.removed.rmdir()


def names_unfinished(records: Records, reference: str) -> bool:
    """Return whether what a person calls a run, or several, is of runs that were set aside alone.

    Args:
        records: where they were.
        reference: a name, a pattern of names, a folder or an MLflow id.
    """
    name, run_id = Path(reference).name, reference.removeprefix(RUNS_URI).partition("/")[0].lower()
    aside = unfinished(records)
    is_one = any(fnmatch.fnmatch(run.name, name) or run_id in run.mlflow_run_ids() for run in aside)
    return is_one and not any(fnmatch.fnmatch(run.name, name) for run in records.all_runs())


def _remove_from(records: Records, key: str, run_id: str, done: Removed) -> str:
    """Remove a run from a store; return why that is not possible, empty if it is done."""
    uri = _address(records, key)
    if is_gone(sqlite_file(uri)):  # with all that was in it
        return ""
    try:
        with native_stderr_to():
            is_marked = remove_from_mlflow(connect(records, uri), run_id, uri)
    except Exception as error:  # whatever MLflow, its database or the network raise: others may still go
        return reason(error, records, uri)
    if is_marked and public(uri) not in done.marked:
        done.marked.append(public(uri))
    return ""


def _address(records: Records, key: str) -> str:
    """Return the address of a store by its key in a note of deliveries, with a password if it is the present one."""
    if key == OWN_DATABASE:
        return database_uri(records)
    return uri if key == public(uri := tracking_uri(records)) else key


def remove_from_mlflow(client: "MlflowClient", run_id: str, uri: str) -> bool:
    """Remove a run with its files, models and registered versions; what is gone already is no mistake.

    Args:
        client: of the store.
        run_id: of MLflow.
        uri: the address of the store.

    Returns:
        Whether the store keeps the run's row as deleted, as servers do.
    """
    run = get_run(client, run_id)
    if run is None:
        return False
    store: Any = client._tracking_client.store
    experiment_id = run.info.experiment_id
    for version in client.search_model_versions(f"run_id = '{run_id}'"):
        client.delete_model_version(version.name, version.version)
        if not client.search_model_versions(f"name = '{version.name}'"):
            client.delete_registered_model(version.name)
    for model in models_of(client, run_id, experiment_id):
        _delete_files(model.artifact_location, uri)
        client.delete_logged_model(model.model_id)
        if hasattr(store, "_hard_delete_logged_model"):
            store._hard_delete_logged_model(model.model_id)
    _delete_files(run.info.artifact_uri, uri)
    if run.info.lifecycle_stage != "deleted":
        client.delete_run(run_id)
    if not hasattr(store, "_hard_delete_run"):  # a server: `mlflow gc` there drops the row
        return True
    store._hard_delete_run(run_id)
    return False


def _delete_files(place: str, uri: str) -> None:
    """Delete the files at an address of MLflow's, and the folder that MLflow made around them."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    if urlsplit(place).scheme in ("", "file"):
        folder = Path(unquote(urlsplit(place).path))
        while folder.exists():  # once more where another process removed some of it meanwhile
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(folder)
        with contextlib.suppress(OSError):  # something else is there
            folder.parent.rmdir()
    else:
        get_artifact_repository(place, tracking_uri=uri).delete_artifacts()


def _remove_files(folder: Path, kept: set[Path]) -> None:
    """Remove a folder, its note of deliveries last; or all but some files."""
    for path in sorted(folder.iterdir()):
        if path not in kept and path.name != RunFolder(folder).delivery.name:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    if not kept:
        place = folder.resolve()
        if folder.is_symlink():
            folder.unlink()
        shutil.rmtree(place)
