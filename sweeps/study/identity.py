"""What makes a study the same: opened, made, or extended only where its scores can be compared."""

from collections.abc import Callable, Container, Iterable, Iterator
from typing import Any

import optuna
from optuna.distributions import check_distribution_compatibility
from optuna.storages import RDBStorage
from optuna.study import Study
from optuna.trial import TrialState

from experiments.settings.rules import describe, get
from experiments.settings.schema import Config
from gan.errors import ConfigError
from sweeps.spec.plan import BASELINE as FROM
from sweeps.spec.plan import SPACE, Plan
from sweeps.study.attempts import BASELINE, ORIGIN
from sweeps.study.optuna_log import experimental
from sweeps.study.pruners import make_pruner
from sweeps.study.samplers import MODELS, in_space

IDENTITY = "identity"  # of the study: what its scores depend on


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
