"""Reading what earlier studies of the same database learned, for search.learn_from."""

from typing import Any

import optuna
import yaml
from optuna.storages import RDBStorage
from optuna.study import Study

from experiments.settings.renamed import with_present_keys
from experiments.settings.rules import describe
from experiments.settings.schema import Config
from gan.errors import ConfigError, nearest
from sweeps.spec.plan import LEARN_FROM, SPACE_PREFIX, Plan
from sweeps.spec.space import Value, active
from sweeps.study import attempts, rungs, storage
from sweeps.study.identity import IDENTITY, RUNGS, with_present_names
from sweeps.study.learned import LEARNED, is_inside
from sweeps.study.samplers import STARTUP_TRIALS


def learn_from(plan: Plan) -> dict[str, list[dict[str, Value]]]:
    """Return for each study of search.learn_from the parameters of its trials in this search's space, best first.

    What the search's own study has learned of one already stays, whatever has become of that one since. A setting that
    the study did not search has there the value that all of its trials had.

    Raises:
        ConfigError: for a study that is not there, or that has no scored trial in this space.
    """
    if not plan.search.learn_from:
        return {}
    there = storage.is_there(storage.address_of(plan))
    database = storage.open_storage(plan) if there else None
    kept = _kept(database, plan.search.study)
    return {name: kept.get(name) or _ranked(database, plan, name) for name in plan.search.learn_from}


def _kept(database: RDBStorage | None, name: str) -> dict[str, list[dict[str, Value]]]:
    if database is None or name not in optuna.get_all_study_names(database):
        return {}
    return optuna.load_study(study_name=name, storage=database).user_attrs.get(LEARNED, {})


def _ranked(database: RDBStorage | None, plan: Plan, name: str) -> list[dict[str, Value]]:
    names = optuna.get_all_study_names(database) if database is not None else []
    if database is None or name not in names:
        others = ", ".join(each for each in names if each != plan.search.study) or "none"
        raise ConfigError(LEARN_FROM, "studies of this database", name, nearest(name, names) or f"known: {others}")
    study = optuna.load_study(study_name=name, storage=database)
    identity = with_present_names(study.user_attrs.get(IDENTITY, {}))
    searched = [key.removeprefix(SPACE_PREFIX) for key in identity if key.startswith(SPACE_PREFIX)]
    if not {dimension.key for dimension in plan.space} & set(searched):
        remedy = f"it searched {', '.join(searched)}" if searched else "it has no trials"
        raise ConfigError(LEARN_FROM, "studies that searched some of the same settings", name, remedy)
    points = [_in_space(plan, identity, params) for params in _best_first(study, identity)]
    inside = [point for point in points if is_inside(plan.space, point)]
    if not inside:
        remedy = f"{len(points)} trials with a score, none of them inside"
        raise ConfigError(LEARN_FROM, "studies with trials in this search's space", name, remedy)
    return inside


def _best_first(study: Study, identity: dict[str, Any]) -> list[dict[str, Value]]:
    """Return the parameters of the trials with a score, of one length, best first; last those that failed by them."""
    trials = study.get_trials(deepcopy=False)
    if RUNGS in identity:
        steps = [int(step) for step in identity[RUNGS].split(",")]
        trials = rungs.at_one_rung(steps, trials, STARTUP_TRIALS)
    return [with_present_keys(trial.params) for trial in attempts.finished(rungs.with_failures(trials))]


def _in_space(plan: Plan, identity: dict[str, Any], params: dict[str, Value]) -> dict[str, Value]:
    """Return a trial's parameters in this search's space; those that were not searched have what all trials had."""
    values = {d.key: (d, _value(d.key, identity, params)) for d in plan.space}
    point = {
        key: d.nearest(value) if key not in params else value for key, (d, value) in values.items() if value is not None
    }
    return active(plan.space, point)


def _value(key: str, identity: dict[str, Any], params: dict[str, Value]) -> Any:
    """Return what a setting was in a trial: a list where it is shared by others that differ, None where it had none."""
    specs, theirs = describe(Config), {**identity, **params}
    followers = [theirs[name] for name, spec in specs.items() if spec["same_as"] == key and name in theirs]
    shared = specs[key]["same_as"]
    was_searched = f"{SPACE_PREFIX}{key}" in identity
    default = theirs.get(shared) if shared else None if was_searched else specs[key]["default"]
    own = _layers(theirs.get(key, default))
    if key in params or not followers:
        return own
    values = [own if value is None else _layers(value) for value in followers]  # null stands for the shared one
    if any(value is None for value in values):
        return None
    return [number for value in values for number in (value if isinstance(value, list) else [value])]


def _layers(value: Any) -> Any:
    """Return the list that a choice stands for, which Optuna stores as text; any other value as it is."""
    return yaml.safe_load(value) if isinstance(value, str) and value.startswith("[") else value
