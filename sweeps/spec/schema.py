"""Every setting of a search: its type, default and range, in the form of experiments/settings/schema.py."""

import re
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

from experiments.cli.compose import store_schema
from experiments.settings.rules import COUNT, POSITIVE, Choice, Command, FolderName, Interval, NotEmpty, setting
from gan import metric_names
from gan.errors import ConfigError

SAMPLERS = ("tpe", "priorband", "linear", "random", "grid", "qmc", "cmaes", "gp")
PRUNERS = ("asha", "halving", "median", "hyperband", "none")
ROLES = ("search", "worker")
LAUNCHERS = ("local", "ray", "slurm")
MOST_TRIALS = 100_000
MOST_SEEDS = 50  # of a confirmation: its statistics are simulated over all of them
FEWEST_SCORES = (
    2 * metric_names.LAST_SCORES
)  # how often a trial is scored at least, unless eval.every_steps says otherwise


@dataclass(frozen=True)
class StorageAddress:
    """The rule for search.storage: a PostgreSQL database, or an SQLite file for the workers of one host."""

    def __str__(self) -> str:
        return "postgresql+psycopg://user@host:port/database, or sqlite:////a/file.db for one host"

    def admits(self, value: Any) -> bool:
        return isinstance(value, str) and re.match(r"postgresql\+psycopg://|sqlite:////.", value) is not None


@dataclass
class ResourcesConfig:
    cpus: float = setting(
        1.0, "processor cores of each worker that Ray or SLURM starts; its trial computes on as many", POSITIVE
    )
    gpus: float = setting(
        0.0,
        "GPUs of each worker that Ray or SLURM starts; with Ray also parts of one, which small GANs share",
        Interval(0),
    )


@dataclass
class SlurmConfig:
    partition: str | None = setting(
        None, "partition that jobs go to; by default the cluster's own, or SBATCH_PARTITION"
    )
    minutes: int = setting(240, "time limit of a job; at its end the trial is saved and the job queued anew", COUNT)


@dataclass
class ConfirmConfig:
    top: int = setting(3, "number of the best trials that are trained again, beside the baseline", COUNT)
    seeds: int = setting(
        8,
        "most fresh seeds that each is trained on, until it is decided; 0 for no confirmation",
        Interval(0, MOST_SEEDS),
    )


@dataclass
class SearchConfig:
    space: dict[str, str] = setting(
        {}, "dimensions, in a preset: keys of run.py, each with its interval(...), range(...) or choice(...)"
    )
    overrides: list[str] = setting([], "settings of every trial, before those of the command line")
    study: str = setting("gan", "name of the study; the same name resumes it", FolderName())
    trials: int = setting(
        20,
        "number of settings to try, the baseline (experiment=, or the tutorial's) among them",
        Interval(2, MOST_TRIALS),
    )
    hours: float | None = setting(
        None,
        "hours of search, summed over all sessions; what cannot end in time is not begun; replaces the limit on trials, "
        "unless that is given too",
        POSITIVE,
    )
    updates: int | None = setting(
        None,
        "budget of updates of all trials together, never exceeded, not with sampler=grid; replaces the limit on trials, "
        "unless that is given too",
        COUNT,
    )
    steps: int = setting(5000, "updates of the longest trials", Interval(metric_names.LAST_SCORES, 10**9))
    min_steps: int | None = setting(
        None, "updates of the shortest trials, with pruner=asha; by default about a tenth of steps", COUNT
    )
    eta: int = setting(
        3, "one of every eta trials of a length is promoted to the next, with pruner=asha", Interval(2, 100)
    )
    workers: int | None = setting(
        None, "number of trials at a time, which share the cores; by default as many as cores, up to 4", COUNT
    )
    start_from: list[str] = setting(
        [], "settings that are tried first after the baseline: presets, run:<name>, best:<study>"
    )
    learn_from: list[str] = setting(
        [], "earlier studies whose ranks guide the sampler from the first suggestion on; their trials do not count"
    )
    sampler: str = setting("tpe", "sampler, which suggests settings", Choice(SAMPLERS))
    pruner: str = setting(
        "asha", "pruner, which shortens trials: asha promotes the best, the others end the worst", Choice(PRUNERS)
    )
    seed: int = setting(0, "seed of the suggestions; trials train on seed=", Interval(0))
    retries: int = setting(2, "number of times that a trial is requeued whose process was killed", Interval(0, 100))
    keep_checkpoints: str = setting(
        "winners",
        "checkpoints kept after the confirmation: winners (winner, baseline, lowest score, paused trials) or all",
        Choice(("winners", "all")),
    )
    extend: bool = setting(False, "whether to resume a study of the same name although its space was another")
    notify: str | None = setting(
        None,
        "program that is told at the end, by its standard input and where it says {}: 'notify-send GAN {}'",
        Command(),
    )
    dry_run: bool = setting(
        False, "whether to print the space, five suggestions and the time it would take, and write nothing"
    )
    role: str = setting("search", "role of this process: the whole search, or one more worker of it", Choice(ROLES))
    storage: str | None = setting(
        None, "database that workers on all hosts share; by default studies.db of records.root", StorageAddress()
    )
    launcher: str = setting(
        "local", "launcher, which starts workers: on this machine, on a Ray cluster or by SLURM", Choice(LAUNCHERS)
    )
    grace_seconds: int = setting(
        180, "seconds without a heartbeat after which a worker's trial is requeued", Interval(12)
    )
    checkpoint_upload_minutes: float | None = setting(
        None, "minutes between two uploads of a trial's state to MLflow, for hosts that share no folder", POSITIVE
    )
    ray_address: str | None = setting(
        None,
        "address of a Ray cluster, or auto; by default RAY_ADDRESS, or a cluster of this machine alone",
        NotEmpty(),
    )
    resources: ResourcesConfig = field(default_factory=ResourcesConfig)
    slurm: SlurmConfig = field(default_factory=SlurmConfig)
    confirm: ConfirmConfig = field(default_factory=ConfirmConfig)


@dataclass
class Settings:
    search: SearchConfig = field(default_factory=SearchConfig)


store_schema("search_schema", Settings)


def split_password(address: str) -> tuple[str, str | None]:
    """Return the address of a database without its password, and the password, if it has one.

    Raises:
        ConfigError: where SQLAlchemy cannot read the address.
    """
    try:
        url = make_url(address)
    except (SQLAlchemyError, ValueError) as error:
        raise ConfigError("search.storage", "an address that SQLAlchemy can read", address) from error
    query = dict(url.query)
    password = query.pop("password", None) or url.password
    bare = URL.create(url.drivername, url.username, None, url.host, url.port, url.database, query)
    return bare.render_as_string(hide_password=False), str(password) if password is not None else None
