"""The study behind a search: where Optuna keeps it, what guides it, which trials count."""

import contextlib
import copy
import importlib.util
import logging
import warnings
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from filelock import FileLock
from optuna.distributions import check_distribution_compatibility
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, QMCSampler, RandomSampler, TPESampler
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from experiments.records import journal
from experiments.records.folders import Records, RunFolder
from experiments.settings.rules import describe, get
from experiments.settings.schema import Config
from gan import metric_names
from gan.errors import ConfigError, first_line, without_password
from sweeps.plan import BASELINE as FROM
from sweeps.plan import SPACE, Plan
from sweeps.samplers import DecimalGridSampler, InSpace, in_space

HEARTBEAT = 15  # seconds
GRACE = 180  # seconds without one after which a trial's worker is taken for dead
STARTUP_TRIALS = 8  # at random, before TPE models anything

# Attributes of trials.
ORIGIN = "origin"  # which suggestion it is: Optuna's numbers count attempts
OUTCOME = "outcome"  # how it ended; a failed trial without one is to be taken up again
REPEATS = "the settings of trial "  # and its number: an outcome that took no training
BASELINE = "baseline"  # trained with the settings that the search starts from, whatever the space can say of them
KILLED = "killed in trial "  # and its number: how its process died, once for each time; handed on to the next attempt
IDENTITY = "identity"  # of the study: what its scores depend on
SECONDS = "seconds"  # of the study: searched so far, all sessions together

MODELS = ("tpe", "gp", "cmaes")  # samplers that learn from earlier trials
EXTRAS = {"cmaes": "cmaes", "gp": "torch"}  # packages that samplers need beside Optuna

optuna.logging.set_verbosity(optuna.logging.WARNING)


def check_sampler(name: str) -> None:
    """Raises ConfigError where its package is not installed."""
    if name in EXTRAS and importlib.util.find_spec(EXTRAS[name]) is None:
        raise ConfigError("search.sampler", "one that is installed", name, f'pip install -e ".[{name}]"')


def make_sampler(plan: Plan, worker: int, number: int) -> BaseSampler:
    """What suggests the next trial, when a study has `number` of them.

    Made anew for each, so that a suggestion depends on the trials before it and not on
    when the search was last started; no two workers draw the same numbers.
    """
    search, space = plan.search, plan.space
    seed = int(np.random.SeedSequence([search.seed, worker, number]).generate_state(1)[0])
    makers: dict[str, Callable[[], BaseSampler]] = {
        "tpe": lambda: TPESampler(n_startup_trials=STARTUP_TRIALS, multivariate=True, seed=seed),
        "random": lambda: RandomSampler(seed),
        # These two and CMA-ES go through one sequence that all workers share.
        "grid": lambda: DecimalGridSampler({d.key: d.grid() for d in space}, search.seed),
        "qmc": lambda: QMCSampler(
            scramble=True,
            seed=search.seed % 2**32,
            independent_sampler=RandomSampler(seed),
            warn_asynchronous_seeding=False,
        ),
        "cmaes": lambda: CmaEsSampler(seed=seed, n_startup_trials=1, independent_sampler=RandomSampler(seed)),
        "gp": lambda: GPSampler(seed=seed, n_startup_trials=STARTUP_TRIALS),
    }
    with experimental():
        return InSpace(makers[search.sampler](), space, plan.former)


class CountedPruner(BasePruner):
    """Another pruner that sees each suggestion once, however many attempts it took."""

    def __init__(self, pruner: BasePruner) -> None:
        self._pruner = pruner

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        view = copy.copy(study)
        # Not a method of a subclass, as Optuna makes its studies itself.
        view.get_trials = lambda *args, **options: counted_of(study, *args, **options)  # type: ignore[method-assign]
        return self._pruner.prune(view, trial)


def counted_of(study: Study, deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
    """`Study.get_trials` without those that another attempt took up again."""
    trials = counted(study.get_trials(deepcopy=deepcopy))
    return [trial for trial in trials if states is None or trial.state in states]


def make_pruner(plan: Plan) -> BasePruner:
    """What compares a trial's scores on the way with those of others at the same step."""
    search, every = plan.search, plan.config.eval.every_steps
    third = max(round(search.steps / 3 / every), 1) * every  # the score that is nearest to it
    pruner: BasePruner = {
        # The worse half ends at a third of the way, and half of the others at two thirds.
        "halving": SuccessiveHalvingPruner(min_resource=third, reduction_factor=2),
        "median": MedianPruner(n_startup_trials=4, n_warmup_steps=third - 1),
        "hyperband": HyperbandPruner(min_resource=third, max_resource=search.steps, reduction_factor=2),
        "none": NopPruner(),
    }[search.pruner]
    return CountedPruner(pruner)


def open_storage(records: Records, retries: int) -> RDBStorage:
    """studies.db under the records' root, made if it is not there. Raises ConfigError if it is no such database."""
    file = records.studies_database

    def stale(study: Study, trial: FrozenTrial) -> None:
        take_up_again(study, [trial.number], retries)

    url = "sqlite:///" + str(file).replace("%", "%25").replace("?", "%3F")
    try:
        # Two processes on a fresh database race for its tables; one at a time.
        with FileLock(records.root / "studies.lock"), experimental():
            file.touch()  # or SQLite makes it writable by its owner alone, whatever the umask
            return RDBStorage(
                url,
                engine_kwargs={"connect_args": {"timeout": 60}},
                heartbeat_interval=HEARTBEAT,
                grace_period=GRACE,
                heartbeat_stale_trial_callback=stale,
            )
    except (SQLAlchemyError, RuntimeError) as error:
        reason = first_line(getattr(error, "orig", None) or error)
        raise ConfigError("records.root", "a folder whose studies.db Optuna can use", str(file), reason) from error


def check_runs_left(plan: Plan, names: Container[str]) -> None:
    """Raises ConfigError where there are runs of a study, but it is not among the names of those that are."""
    name = plan.search.study
    left = sorted(plan.records.runs.glob(f"{name}-trial-*"))
    if left and name not in names:
        remedy = f"the study is gone, but its runs are still there: {left[0]}, ..."
        raise ConfigError("search.study", "a new name, or without old runs", name, remedy)


def open_study(
    storage: RDBStorage, plan: Plan, identity: dict[str, Any], say: Callable[[str], None] = lambda words: None
) -> Study:
    """The study of the plan, taken up or made, with the baseline as its first trial (a grid has its own points alone).

    Args:
        storage: where it is kept.
        plan: of the search.
        identity: what its scores depend on.
        say: told of an extension, and what it means for the trials that there are.

    Raises:
        ConfigError: where it was made with other settings.
    """
    name = plan.search.study
    check_runs_left(plan, optuna.get_all_study_names(storage))
    with experimental():
        study = optuna.create_study(
            storage=storage, study_name=name, direction="minimize", load_if_exists=True, pruner=make_pruner(plan)
        )
    known = study.user_attrs.get(IDENTITY)
    if known is not None:
        check_identity(name, known, identity, plan)
        _check_kinds(study, plan)
        for words in _extension(study, plan, known):
            say(words)
    if known != identity:
        study.set_user_attr(IDENTITY, identity)
    if plan.search.sampler != "grid" and not study.get_trials(deepcopy=False):
        study.enqueue_trial(plan.baseline, user_attrs={ORIGIN: 0, BASELINE: True})
    return study


def starts_from_defaults(storage: RDBStorage, name: str) -> bool:
    """Whether a study is of a version whose searches started from the default settings, not from the preset tutorial."""
    if name not in optuna.get_all_study_names(storage):
        return False
    known = optuna.load_study(study_name=name, storage=storage).user_attrs.get(IDENTITY, {})
    return bool(known) and not any(key.startswith(FROM) for key in known)


def check_identity(name: str, known: dict[str, Any], wanted: dict[str, Any], plan: Plan) -> None:
    known = {key: value for key, value in known.items() if key not in describe(Config) or not plan.follows(key)}
    # Of a dimension that is new, or of a study that is older than these, the baseline cannot differ.
    known |= {key: value for key, value in wanted.items() if key.startswith(FROM) and key not in known}
    wanted = {**{key: value for key, value in known.items() if key.startswith(FROM)}, **wanted}
    known = {**_defaults_of(wanted.keys() - known.keys(), known), **known}
    searched = {key.removeprefix(SPACE) for key in known.keys() | wanted.keys() if key.startswith(SPACE)}
    # A setting that becomes a dimension had one value before: the tutorial's in this search, or trials differ by it.
    had = {key: known[key] for key in searched & known.keys() if known[key] != get(plan.config, key)}
    unlike = sorted(key for key in (known.keys() | wanted.keys()) - searched if known.get(key) != wanted.get(key))
    if not unlike and not had:
        return
    space_alone = not had and all(key.startswith(SPACE) for key in unlike)
    can_grow = space_alone and plan.search.sampler != "grid"  # which takes points of another grid for its own
    if plan.search.extend and can_grow:
        return
    pairs = [(key, known.get(key), wanted.get(key)) for key in unlike]
    pairs += [(key, value, get(plan.config, key)) for key, value in had.items()]
    differences = "; ".join(f"{key}: {_shown(a)} in the study, {_shown(b)} now" for key, a, b in pairs)
    remedy = f"search.study=<new> begins another{', search.extend=true widens this one' if can_grow else ''}"
    raise ConfigError("search.study", f"one made with the same settings ({remedy})", name, differences)


def _defaults_of(keys: Iterable[str], known: dict[str, Any]) -> dict[str, Any]:
    """Of settings that a study is older than: it had their defaults."""
    specs = {key: spec for key, spec in describe(Config).items() if key in keys and not spec["same_as"]}
    return {key: spec["default"] for key, spec in specs.items() if f"{SPACE}{key}" not in known}


def _check_kinds(study: Study, plan: Plan) -> None:
    """Optuna takes another interval for a parameter, but not other choices, another scale or another type."""
    for dimension in plan.space:
        for trial in study.get_trials(deepcopy=False):
            had = trial.distributions.get(dimension.key, dimension.distribution)
            try:
                check_distribution_compatibility(had, dimension.distribution)
            except ValueError as error:
                rule = "of the same kind, scale and choices as in the study"
                remedy = "search.study=<new> begins another"
                raise ConfigError(dimension.key, rule, dimension.text, remedy) from error


def _extension(study: Study, plan: Plan, known: dict[str, Any]) -> Iterator[str]:
    """What a study's space becomes that was another, and which of its trials guide the search from now on."""
    now = {f"{SPACE}{dimension.key}": dimension.text for dimension in plan.space}
    before = {key: text for key, text in known.items() if key.startswith(SPACE)}
    changed = [key for key in before | now if before.get(key) != now.get(key)]
    for key in changed:
        yield f"extends  {key.removeprefix(SPACE)}: {before.get(key, 'one value')} -> {now.get(key, 'one value')}"
    trials = [t for t in study.get_trials(deepcopy=False) if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    if changed and trials and plan.search.sampler in MODELS:
        moves = plan.search.sampler != "cmaes"
        kept = sum(in_space(trial, plan.space, plan.former, moves) is not None for trial in trials)
        yield (
            f"         {kept} of {len(trials)} trials guide the search, the others are outside of the space"
            if moves
            else ("         CMA-ES begins anew: what it has learned is of the former space")
        )


def _shown(value: Any) -> str:
    return "absent" if value is None else str(value)


def superseded(trials: Sequence[FrozenTrial]) -> set[int]:
    """Numbers of those that a later trial goes on with."""
    return {number for history in histories(trials) for number in history}


def counted(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """One trial for each suggestion: of those that were taken up again, the last."""
    gone = superseded(trials)
    return [trial for trial in trials if trial.number not in gone]


def finished(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Those with a score, best first."""
    complete = [t for t in counted(trials) if t.state == TrialState.COMPLETE]
    return sorted(complete, key=lambda t: (t.value, t.number))


def is_baseline(plan: Plan, trial: FrozenTrial | Trial) -> bool:
    """Whether a trial is trained with the baseline's settings, to the digit."""
    return BASELINE in trial.user_attrs or plan.is_baseline(trial.params)


def shown_params(plan: Plan, trial: FrozenTrial | Trial) -> dict[str, Any]:
    """The parameters of a trial for tables; of the baseline what is in effect, layer by layer."""
    return plan.baseline_shown if BASELINE in trial.user_attrs else trial.params


def origin(trial: FrozenTrial) -> int:
    return int(trial.user_attrs.get(ORIGIN, trial.number))


def suggestion(trials: Sequence[FrozenTrial], number: int) -> int:
    """Which suggestion a trial is the first attempt at or another, from 0 on.

    Whether a trial is another attempt is known when it is made, so this never changes.
    """
    (own,) = histories([trials[number]])
    return sum(not history for history in histories(trials[: [*own, number][0]]))


def run_of(plan: Plan, trial: FrozenTrial) -> RunFolder:
    """Where all attempts at a trial's settings are recorded."""
    return RunFolder(plan.records.runs / run_name(plan.search.study, origin(trial)))


def run_name(study: str, origin: int) -> str:
    """Of a trial's run; attempts to go on with it share the run."""
    return f"{study}-trial-{origin:04d}"


def histories(trials: Sequence[FrozenTrial]) -> list[list[int]]:
    """Numbers of the attempts before each trial, which it goes on with; none for a first one."""
    with experimental():  # once, and not for each of what may be thousands
        return [RetryHeartbeatStaleTrialCallback.retry_history(trial) for trial in trials]


def fail(study: Study, number: int) -> None:
    """End a trial whose worker is gone."""
    study.tell(number, state=TrialState.FAIL, skip_if_finished=True)


def take_up_again(study: Study, numbers: Sequence[int], retries: int, killed: str = "") -> list[int]:
    """Queue failed trials that have no outcome anew, from their checkpoints; the numbers of those out of retries.

    Only a trial whose own process was killed uses up a retry: what it needs may be more than
    there is. Workers and searches are stopped for reasons of their own. killed: how the process
    of these was, where it could not say so itself.
    """
    given_up = []
    trials = study.get_trials(deepcopy=False)
    gone = superseded(trials)
    for number in sorted(set(numbers) - gone):
        trial = trials[number]
        if trial.state != TrialState.FAIL or OUTCOME in trial.user_attrs:
            continue
        if killed:
            trial = copy.deepcopy(trial)
            trial.user_attrs[f"{KILLED}{number}"] = killed
        if sum(attribute.startswith(KILLED) for attribute in trial.user_attrs) > retries:
            given_up.append(number)
            continue
        with experimental():
            RetryHeartbeatStaleTrialCallback()(study, trial)
    return given_up


def may_begin(plan: Plan, trials: Sequence[FrozenTrial], seconds: float) -> bool:
    """Whether a trial is waiting to be taken up again, or there is budget for another.

    seconds: searched so far, all sessions together.
    """
    if any(trial.state == TrialState.WAITING for trial in trials):
        return True
    hours = plan.search.hours
    in_time = hours is None or seconds < hours * 3600
    return in_time and used(plan, trials) < plan.budget


def used(plan: Plan, trials: Sequence[FrozenTrial]) -> int:
    """How many trials of the budget are used; of a grid, how many of its points."""
    every = counted(trials)
    if plan.search.sampler == "grid":
        every = [t for t in every if not str(t.user_attrs.get(OUTCOME, "")).startswith(REPEATS)]
        every = [t for t in every if BASELINE not in t.user_attrs]
    return len(every)


def objective(scores: Sequence[float]) -> float:
    """What a search minimises: the mean of the last three in-run scores."""
    return metric_names.in_run_score(scores)


def scores_of(folder: RunFolder) -> tuple[list[int], list[float]]:
    """Steps and in-run scores that a run's journal holds."""
    return journal.curve(folder.journal, metric_names.FID_PROXY) if folder.journal.exists() else ([], [])


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


def problem(error: StorageInternalError) -> str:
    """What is wrong with the database, in its own words: Optuna's speak of something else."""
    cause = error.__cause__ or error
    cause = cause.__cause__ or cause if isinstance(cause, StorageInternalError) else cause
    return f"the study's database: {without_password(first_line(getattr(cause, 'orig', None) or cause))}"
