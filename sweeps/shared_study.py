"""A study in a database that workers on many hosts share: its address, its lock, what its workers must know.

Optuna keeps the trials, PostgreSQL the order. Whoever begins a trial holds the study's lock
from the count of the budget until the suggestion is made, so budgets are exact and each
suggestion knows of those before it. Who is alive is told by Optuna's heartbeats, on the
database's own clock: hosts' clocks may differ.
"""

import contextlib
import functools
import hashlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar, cast

import optuna
import sqlalchemy
from filelock import FileLock
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from experiments.records.folders import RunFolder, read_json
from experiments.runs.facts import code_tags
from experiments.tracking.address import VARIABLE, public
from experiments.tracking.store import OWN
from gan.errors import ConfigError, first_line
from sweeps import study as studies
from sweeps.plan import Plan

CONNECT_SECONDS = 10  # to wait for a host that does not answer
OUTAGE_SECONDS = 300.0  # that a database may be away, restarted or moved, before workers give up
PAUSE = 1.0  # seconds between two attempts
BEATS = 12  # heartbeats in the time after which a worker is taken for dead

# Attributes of the study: what a worker needs beside its name and address.
ARGUMENTS = "arguments"  # of the search, as its command line had them
CODE = "code"  # version of the program
FACTS = "facts"  # of the study's folder: its run.json
TRACKING = "tracking"  # address of the MLflow server, if there is one
STORES = "stores"  # its run there
# Attributes of trials.
BEGUN = "begun"  # its own number, once somebody is at it: attributes are handed on to the next attempt
WORKER = "worker"  # host and process that is or was at it
LEFT = "left in trial "  # and its number: its worker saved it and went
MLFLOW_RUN = "mlflow_run"  # that it is recorded in
TAKEN_UP = "taken_up"  # where another attempt went on

Method = TypeVar("Method", bound=Callable[..., Any])
T = TypeVar("T")


def patiently(action: Callable[[], T]) -> T:
    """Do something with the database, again and again while it is away. Raises StorageInternalError."""
    deadline = time.monotonic() + OUTAGE_SECONDS
    while True:
        try:
            return action()
        except StorageInternalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(PAUSE)


def _patient(method: Method) -> Method:
    @functools.wraps(method)
    def wrapper(*args: Any, **options: Any) -> Any:
        return patiently(lambda: method(*args, **options))

    return cast(Method, wrapper)


class PatientStorage(RDBStorage):
    """A storage that waits for a database that is restarted, where doing a thing twice does no harm.

    The start of a trial is not among those: whoever begins one starts over.
    """

    record_heartbeat = _patient(RDBStorage.record_heartbeat)
    set_study_user_attr = _patient(RDBStorage.set_study_user_attr)
    set_trial_user_attr = _patient(RDBStorage.set_trial_user_attr)
    set_trial_system_attr = _patient(RDBStorage.set_trial_system_attr)
    set_trial_intermediate_value = _patient(RDBStorage.set_trial_intermediate_value)
    get_study_user_attrs = _patient(RDBStorage.get_study_user_attrs)
    get_trial = _patient(RDBStorage.get_trial)
    _get_trials = _patient(RDBStorage._get_trials)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Any = None) -> bool:
        if state == TrialState.RUNNING:
            return super().set_trial_state_values(trial_id, state, values)
        return patiently(lambda: super(PatientStorage, self).set_trial_state_values(trial_id, state, values))


def open_storage(address: str, retries: int, grace_seconds: int) -> RDBStorage:
    """The database, with Optuna's tables made if they are not there. Raises ConfigError if it cannot be used."""

    def stale(study: Study, trial: FrozenTrial) -> None:
        _take_up_again(study, trial, retries)

    options = {"timeout": 60} if address.startswith("sqlite") else {"connect_timeout": CONNECT_SECONDS}
    try:
        with _lock(address, "tables"), studies.experimental():  # many on a fresh database race for its tables
            if file := make_url(address).database if address.startswith("sqlite") else None:
                Path(file).touch()  # or SQLite makes it writable by its owner alone, whatever the umask
            return PatientStorage(
                address,
                engine_kwargs={"connect_args": options, "pool_pre_ping": True},
                heartbeat_interval=max(grace_seconds // BEATS, 1),
                grace_period=grace_seconds,
                heartbeat_stale_trial_callback=stale,
            )
    except ImportError as error:
        raise ConfigError(
            "search.storage", "one whose driver is installed", address, 'pip install -e ".[cluster]"'
        ) from error
    except (SQLAlchemyError, RuntimeError, OSError) as error:
        reason = first_line(cast(BaseException, getattr(error, "orig", None) or error))
        raise ConfigError("search.storage", "a database that Optuna can use", address, reason) from error


def is_there(address: str) -> bool:
    """Whether a database is there; of a server one cannot tell before it is opened."""
    url = make_url(address)
    return not url.drivername.startswith("sqlite") or Path(str(url.database)).exists()


@contextlib.contextmanager
def turn(address: str, study: str) -> Iterator[None]:
    """Be the only one of all hosts who begins, ends for others or queues a trial of a study.

    Raises StorageInternalError where the database is away.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(_lock(address, study))
        except SQLAlchemyError as error:
            raise StorageInternalError("no lock") from error
        yield


@contextlib.contextmanager
def _lock(address: str, name: str) -> Iterator[None]:
    """The database frees it when its holder dies."""
    url = make_url(address)
    if url.drivername.startswith("sqlite"):
        with FileLock(f"{url.database}.lock"):
            yield
        return
    key = int.from_bytes(hashlib.sha256(f"gan-tuner {name}".encode()).digest()[:8], "big", signed=True)
    engine = sqlalchemy.create_engine(
        url, poolclass=NullPool, isolation_level="AUTOCOMMIT", connect_args={"connect_timeout": CONNECT_SECONDS}
    )
    connection = engine.connect()
    try:
        connection.execute(sqlalchemy.text("SELECT pg_advisory_lock(:key)"), {"key": key})
        yield
    finally:
        with contextlib.suppress(SQLAlchemyError):  # the server was restarted meanwhile
            connection.close()


def tidy(study: Study, retries: int) -> list[int]:
    """End trials whose workers are gone, and queue them and interrupted ones anew; numbers of those given up.

    The caller has the turn, so nobody is just about to begin one.
    """
    with studies.experimental():
        optuna.storages.fail_stale_trials(study)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if trial.user_attrs.get(BEGUN) != trial.number:  # its worker died before anything was known of it
            studies.fail(study, trial.number)
    trials = study.get_trials(deepcopy=False)
    gone = studies.superseded(trials)
    lost = [t for t in trials if t.state == TrialState.FAIL and studies.OUTCOME not in t.user_attrs]
    return [number for t in lost if t.number not in gone for number in _take_up_again(study, t, retries)]


def _take_up_again(study: Study, trial: FrozenTrial, retries: int) -> list[int]:
    known = {f"{studies.KILLED}{trial.number}", f"{LEFT}{trial.number}"} & trial.user_attrs.keys()
    silent = trial.user_attrs.get(BEGUN) == trial.number and not known
    killed = f"no sign of life from {trial.user_attrs[WORKER]}" if silent else ""
    return studies.take_up_again(study, [trial.number], retries, killed)


def begin(storage: RDBStorage, trial: optuna.Trial) -> None:
    """Say who is at a trial; from now on its heartbeat alone tells whether it is."""
    storage.record_heartbeat(trial._trial_id)
    trial.set_user_attr(WORKER, f"{socket.gethostname()}:{os.getpid()}")
    trial.set_user_attr(BEGUN, trial.number)


def code_version() -> str:
    """Commit and a hash of the sources: two hosts with the same one train alike."""
    root = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for package in ("gan", "experiments", "sweeps"):
        for file in sorted((root / package).rglob("*.py")):
            digest.update(file.relative_to(root).as_posix().encode() + file.read_bytes())
    commit = code_tags().get("mlflow.source.git.commit", "no commit")
    return f"{commit[:9]} ({digest.hexdigest()[:8]})"


def same_code(known: str, own: str) -> bool:
    """Whether the sources are; a commit may be unknown where there is no checkout."""
    return known.rpartition(" ")[2] == own.rpartition(" ")[2]


def publish(study: Study, plan: Plan, folder: RunFolder) -> None:
    """Put into the study what its workers need."""
    own = ("search.role", "search.storage", "search.dry_run", "records.root")
    arguments = [each for each in plan.command if each.partition("=")[0] not in own]
    study.set_user_attr(FACTS, read_json(folder.facts))
    uri = os.environ.get(VARIABLE, "")
    study.set_user_attr(TRACKING, public(uri) if uri.startswith("http") else "")
    study.set_user_attr(CODE, code_version())
    study.set_user_attr(ARGUMENTS, _absolute(arguments))


def _absolute(arguments: list[str]) -> list[str]:
    """Files by their whole path: workers start elsewhere."""
    found = []
    for each, before in zip(arguments, ["", *arguments], strict=False):
        key, _, value = each.partition("=")
        if (
            key in ("data.path", "eval.extractor_weights", "--config-dir")
            and value
            and Path(value).expanduser().exists()
        ):
            each = f"{key}={Path(value).expanduser().resolve()}"
        found.append(str(Path(each).resolve()) if before == "--config-dir" else each)
    return found


def stores_of(folder: RunFolder) -> dict[str, Any] | None:
    """A study's run in MLflow, once it has one, for hosts whose records are elsewhere."""
    if not folder.mlflow_run_ids():
        return None
    stores = {uri: state for uri, state in read_json(folder.delivery)["stores"].items() if uri != OWN}
    if not stores:
        return None
    keys = ("run_id", "experiment_id", "described")
    return {
        "stores": {uri: {"offset": 0, "refused": [], **{k: s[k] for k in keys if k in s}} for uri, s in stores.items()}
    }
