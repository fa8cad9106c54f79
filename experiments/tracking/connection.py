"""MLflow's store: the experiment and its view, the database of the records, and the connection to both."""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

from filelock import FileLock

from experiments.records.folders import Records, make_folder, sqlite_uri
from experiments.tracking.address import TRACKING_URI, mlflow_command, sqlite_file, tracking_uri
from experiments.tracking.experiment import (
    DEFAULT_COLUMNS,
    EXPERIMENT,
    VIEW,
    VIEW_TAG,
    differing_settings,
    experiment_tags,
)
from experiments.tracking.relocation import artifacts_of, own_default_experiment, relocate

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run

_log = logging.getLogger(__name__)

T = TypeVar("T")

ROOT_TAG = "records_root"  # of a run: the folder of its records, as several may share a store
OWN_DATABASE = "mlflow.db"  # the records' own database in the note of deliveries: they may be moved
UNFINISHED = ".unfinished-mlflow-"  # begins the names of a database that is being made
ALREADY_THERE = ("BAD_REQUEST", "RESOURCE_ALREADY_EXISTS")  # MLflow's codes for a row that is there already
WORKFLOW = "workflowType=machine_learning"  # without it MLflow 3 shows its views of language models

# Set before MLflow is imported. Its own retries would hold a dead server's run open for
# minutes; the feeder tries again by itself.
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # we print ours
}


class RunDeleted(RuntimeError):
    """The run was moved to MLflow's trash."""


def import_mlflow() -> None:
    """Import MLflow, without its telemetry, its long retries and its words on the terminal."""
    os.environ.update({k: v for k, v in ENVIRONMENT.items() if k not in os.environ})
    os.environ["MLFLOW_ENABLE_ASYNC_LOGGING"] = "false"  # what fails later would be taken for delivered
    import mlflow  # noqa: F401

    for name in ("mlflow", "alembic", "urllib3", "absl"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logger = logging.getLogger("mlflow")  # would also print tracebacks on the terminal
    logger.handlers, logger.propagate = [logging.NullHandler()], True  # to run.log, where there is one


def connect(records: Records, uri: str) -> "MlflowClient":
    """Return a client of a server or database, and make the database's tables if they are not there.

    Places of files in a database of moved records are put right.

    Args:
        records: whose runs are delivered.
        uri: the address of the store.
    """
    file = sqlite_file(uri)
    import_mlflow()
    if file is not None:  # a connection that was kept would write to a file that is replaced
        os.environ.setdefault("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")
    import mlflow

    with _creating(records, file):
        if file is not None and is_gone(file):
            _make_database(file)
        before = os.environ.get(TRACKING_URI)
        mlflow.set_tracking_uri(uri)
        if before is None:  # MLflow sets it, and the next records of this process would go there
            os.environ.pop(TRACKING_URI, None)
        else:
            os.environ[TRACKING_URI] = before
        client = mlflow.MlflowClient(uri)
        if file is not None and (former := relocate(file, copies=file == records.database)):
            _log.info(
                "the records were in %s; the places of files in MLflow's database were corrected",
                ", ".join(map(str, former)),
            )
        return client


def is_gone(file: Path | None) -> bool:
    """Return whether an SQLite file is missing, or empty as after a mere look for it; False for None."""
    return file is not None and (not file.exists() or file.stat().st_size == 0)


def _make_database(file: Path) -> None:
    """Make a database, complete or not at all: MLflow makes its tables in many steps, and cannot resume midway."""
    import mlflow

    for left in file.parent.glob(f"{UNFINISHED}*"):  # by a process that was killed at it
        left.unlink()
    made = file.parent / f"{UNFINISHED}{uuid4().hex}.db"  # a new name, as MLflow keeps connections by name
    made.touch()  # or SQLite makes it writable by its owner alone, whatever the umask
    mlflow.MlflowClient(sqlite_uri(made))
    own_default_experiment(made)
    made.replace(file)


def _creating(records: Records, file: Path | None) -> FileLock:
    """Return the lock by which one process at a time makes the tables of a fresh database."""
    lock = file.with_suffix(".lock") if file is not None else records.root / "mlflow.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(lock)


def get_run(client: "MlflowClient", run_id: str) -> "Run | None":
    """Return a run, which may be a deleted one; None if it is not in the store."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def experiment_name() -> str:
    """Return the name of the experiment that runs go to."""
    return os.environ.get("MLFLOW_EXPERIMENT_NAME", "").strip() or EXPERIMENT


def find_experiment(client: "MlflowClient", records: Records, uri: str) -> "Experiment":
    """Return the experiment that runs go to, and create it if it is not there; it may be a deleted one.

    A new one gets all that the UI shows of it.

    Args:
        client: of the store.
        records: whose runs are delivered.
        uri: the address of the store.
    """
    name = experiment_name()
    file = sqlite_file(uri)
    place = artifacts_of(file) if file is not None else None  # a server decides itself

    def find_or_create() -> "Experiment":
        found = client.get_experiment_by_name(name)
        return found or client.get_experiment(client.create_experiment(name, place, experiment_tags(DEFAULT_COLUMNS)))

    if file is None:  # with a lock all runs would wait in turn for a server that does not answer
        return insert(find_or_create)
    with _creating(records, file):
        return insert(find_or_create)


def own_experiments(client: "MlflowClient") -> list[str]:
    """Return the ids of all experiments that this program has made, whatever MLFLOW_EXPERIMENT_NAME was then."""
    every: list[Experiment] = []
    token = None
    while True:
        page = client.search_experiments(page_token=token)
        every += page
        token = page.token
        if not token:
            return [each.experiment_id for each in every if VIEW_TAG in each.tags or each.name == experiment_name()]


def insert(write: Callable[[], T]) -> T:
    """Write what MLflow looks for first and inserts if it is not there, where another process may do so in between.

    Args:
        write: is called a second time if the database refuses the first insertion. It finds the other's then.
    """
    from mlflow.exceptions import MlflowException

    try:
        return write()
    except MlflowException as error:
        if error.error_code not in ALREADY_THERE:
            raise
        return write()


def check_experiment(experiment: "Experiment", records: Records) -> None:
    """Raise RuntimeError for a deleted experiment.

    Args:
        experiment: of the store.
        records: whose store it is.
    """
    if experiment.lifecycle_stage == "deleted":
        restore = mlflow_command(records, f"experiments restore -x {experiment.experiment_id}")
        remedy = f"{restore}, or set MLFLOW_EXPERIMENT_NAME"
        raise RuntimeError(f"MLflow's experiment {experiment.name!r} is deleted ({remedy})")


def open_store(records: Records) -> str:
    """Make the database and its experiment if they are not there.

    Returns:
        The address of all runs in the UI, without the server's part.
    """
    make_folder(records.root, "records.root")
    uri = tracking_uri(records)
    client = connect(records, uri)
    experiment = find_experiment(client, records, uri)
    if experiment.lifecycle_stage == "deleted":
        return f"/#/experiments?{WORKFLOW}"
    columns = differing_settings(client, experiment.experiment_id)
    for key, value in experiment_tags(columns).items():
        if key == VIEW_TAG or key not in experiment.tags:  # an earlier version made it with fewer
            client.set_experiment_tag(experiment.experiment_id, key, value)
    return f"/#/experiments/{experiment.experiment_id}/runs?viewStateShareKey={VIEW}&{WORKFLOW}"
