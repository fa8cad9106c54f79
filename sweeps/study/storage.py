"""Where trials are kept: Optuna's database, beside the records or shared by many hosts."""

import contextlib
import functools
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import sqlalchemy
from filelock import FileLock
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from experiments.settings.renamed import with_present_keys
from gan.errors import ConfigError, first_line, without_password
from sweeps.spec.plan import Plan
from sweeps.study.optuna_log import experimental


def problem(error: StorageInternalError) -> str:
    """Return what is wrong with the database, in its own words: Optuna's speak of something else."""
    cause = error.__cause__ or error
    cause = cause.__cause__ or cause if isinstance(cause, StorageInternalError) else cause
    return f"the study's database: {without_password(first_line(getattr(cause, 'orig', None) or cause))}"


# What ends a program half-way, and the words for it.
FAILURES: Mapping[type[Exception], Callable[[Any], str]] = {StorageInternalError: problem}
# Either side of a connection to PostgreSQL notices within half a minute that the other is gone: the lock of a host that
# lost its power is free then, and not after the two hours of most systems.
KEEPALIVES = {"keepalives_idle": 15, "keepalives_interval": 5, "keepalives_count": 3}
SERVER = {"connect_timeout": 10, **KEEPALIVES}
OUTAGE_SECONDS = 300.0  # that a database may be away, restarted or moved, before workers give up
SAY_SECONDS = 5.0  # after which a person is told of it
PAUSE = 1.0  # seconds between two attempts
OF_PARAMETERS = {"fixed_params", "search_space"}  # Optuna's attributes of a trial that name parameters
BEATS = 12  # heartbeats in the time after which a worker is taken for dead

Method = TypeVar("Method", bound=Callable[..., Any])
T = TypeVar("T")


@dataclass
class Patience:
    """How this process waits for a database that is away."""

    may_wait: Callable[[], bool]
    say: Callable[[str], None]


_patience = Patience(lambda: True, lambda words: None)


@contextlib.contextmanager
def patient_while(may_wait: Callable[[], bool], say: Callable[[str], None]) -> Iterator[None]:
    """Wait for a database that is away only under a condition, and tell of it, while the context is entered.

    Args:
        may_wait: asked again and again; False ends the waiting in every thread of this process.
        say: called with a sentence, once for each wait that takes longer than a moment.
    """
    before = _patience.may_wait, _patience.say
    _patience.may_wait, _patience.say = may_wait, say
    try:
        yield
    finally:
        _patience.may_wait, _patience.say = before


def patiently(action: Callable[[], T]) -> T:
    """Do something with the database, again and again while it is away. Raises StorageInternalError."""
    begin, is_said = time.monotonic(), False
    while True:
        try:
            return action()
        except StorageInternalError as error:
            waited = time.monotonic() - begin
            if waited > OUTAGE_SECONDS or not _patience.may_wait():
                raise
            if waited > SAY_SECONDS and not is_said:
                _patience.say(f"{problem(error)}; waiting up to {OUTAGE_SECONDS / 60:.0f} minutes for it")
                is_said = True
            time.sleep(PAUSE)


def _patient(method: Method) -> Method:
    @functools.wraps(method)
    def wrapper(*args: Any, **options: Any) -> Any:
        return patiently(lambda: method(*args, **options))

    return cast(Method, wrapper)


def with_present_names(trial: FrozenTrial) -> FrozenTrial:
    """Return a trial whose parameters, those that are queued or of a grid too, have the present names of settings."""
    trial.params = with_present_keys(trial.params)
    trial.distributions = with_present_keys(trial.distributions)
    for attribute in OF_PARAMETERS & trial.system_attrs.keys():
        trial.system_attrs[attribute] = with_present_keys(trial.system_attrs[attribute])
    return trial


class StudyStorage(RDBStorage):
    """Optuna's database, which keeps parameters under the names of the time, read under the present ones.

    It waits for a database that is restarted, where doing a thing twice does no harm. The start of a trial is not among
    those: whoever begins one starts over.
    """

    record_heartbeat = _patient(RDBStorage.record_heartbeat)
    set_study_user_attr = _patient(RDBStorage.set_study_user_attr)
    set_trial_user_attr = _patient(RDBStorage.set_trial_user_attr)
    set_trial_system_attr = _patient(RDBStorage.set_trial_system_attr)
    set_trial_intermediate_value = _patient(RDBStorage.set_trial_intermediate_value)
    get_study_user_attrs = _patient(RDBStorage.get_study_user_attrs)

    @_patient
    def get_trial(self, trial_id: int) -> FrozenTrial:
        return with_present_names(super().get_trial(trial_id))

    @_patient
    def _get_trials(self, *args: Any, **options: Any) -> list[FrozenTrial]:
        return [with_present_names(trial) for trial in super()._get_trials(*args, **options)]

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Any = None) -> bool:
        if state == TrialState.RUNNING:
            return super().set_trial_state_values(trial_id, state, values)
        return patiently(lambda: super(StudyStorage, self).set_trial_state_values(trial_id, state, values))


def address_of(plan: Plan) -> str:
    """Return where a plan's study is kept: search.storage, or studies.db of the records."""
    if plan.search.storage is not None:
        return plan.search.storage
    return plan.records.studies_address


def open_storage(plan: Plan) -> RDBStorage:
    """Return the database of a plan's study, with Optuna's tables made where there are none.

    Raises:
        ConfigError: if it cannot be used.
    """
    try:
        # The workers of a study without an address are on this host, and known to be alive by their processes.
        return open_database(address_of(plan), plan.search.grace_seconds if plan.search.storage is not None else None)
    except ImportError as error:
        raise ConfigError(
            "search.storage", "one whose driver is installed", plan.search.storage, 'pip install -e ".[cluster]"'
        ) from error
    except (SQLAlchemyError, RuntimeError, OSError) as error:
        reason = first_line(cast(BaseException, getattr(error, "orig", None) or error))
        if plan.search.storage is None:
            file = str(plan.records.studies_database)
            raise ConfigError("records.root", "a folder whose studies.db Optuna can use", file, reason) from error
        raise ConfigError("search.storage", "a database that Optuna can use", plan.search.storage, reason) from error


def open_database(address: str, grace_seconds: int | None) -> RDBStorage:
    """Return the database at an address of SQLAlchemy's, whose trials are stale without a heartbeat for so long."""
    options = {"timeout": 60} if address.startswith("sqlite") else SERVER
    with _lock(address, "tables"), experimental():  # many on a fresh database race for its tables
        if file := make_url(address).database if address.startswith("sqlite") else None:
            Path(file).touch()  # or SQLite makes it writable by its owner alone, whatever the umask
        return StudyStorage(
            address,
            engine_kwargs={"connect_args": options, "pool_pre_ping": True},
            heartbeat_interval=max(grace_seconds // BEATS, 1) if grace_seconds is not None else None,
            grace_period=grace_seconds,
        )


def is_there(address: str) -> bool:
    """Return whether a database exists; for a server one cannot tell before it is opened."""
    url = make_url(address)
    return not url.drivername.startswith("sqlite") or Path(str(url.database)).exists()


@contextlib.contextmanager
def turn(plan: Plan) -> Iterator[None]:
    """Be the only one of all hosts who begins, ends for others or queues a trial of a plan's study.

    Raises:
        StorageInternalError: where the database is away.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(_lock(address_of(plan), plan.search.study))
        except SQLAlchemyError as error:
            raise StorageInternalError("no lock") from error
        yield


@contextlib.contextmanager
def _lock(address: str, name: str) -> Iterator[None]:
    """Lock the database, which frees the lock when its holder dies."""
    url = make_url(address)
    if url.drivername.startswith("sqlite"):
        with FileLock(f"{url.database}.lock"):
            yield
        return
    key = int.from_bytes(hashlib.sha256(f"gan-tuner {name}".encode()).digest()[:8], "big", signed=True)
    engine = sqlalchemy.create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT", connect_args=SERVER)
    connection = engine.connect()
    try:
        for name, value in KEEPALIVES.items():
            connection.execute(sqlalchemy.text(f"SET tcp_{name} = {value}"))
        connection.execute(sqlalchemy.text("SELECT pg_advisory_lock(:key)"), {"key": key})
        yield
    finally:
        with contextlib.suppress(SQLAlchemyError):  # the server was restarted meanwhile
            connection.close()
