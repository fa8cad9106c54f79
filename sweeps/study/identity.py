"""What makes a study the same: it is made, resumed, or extended only where its scores can be compared.

A study stores its identity, a dictionary of everything that its scores depend on (see `Plan.identity`).
A search that finds a study of its name compares that dictionary with its own.
"""

from collections.abc import Callable, Container, Iterator
from typing import Any

import optuna
from optuna.distributions import check_distribution_compatibility
from optuna.storages import RDBStorage
from optuna.study import Study
from optuna.trial import TrialState

from experiments.settings.renamed import with_present_keys
from experiments.settings.rules import describe, get
from experiments.settings.schema import Config, effective, in_brief
from gan.errors import ConfigError
from sweeps.spec.plan import BASELINE_PREFIX, SPACE_PREFIX, Plan
from sweeps.study import attempts, published
from sweeps.study.budget import START_POINTS
from sweeps.study.learned import LEARNED, Learned
from sweeps.study.optuna_log import experimental
from sweeps.study.pruners import make_pruner
from sweeps.study.samplers import MODEL_BASED, trials_in_space

IDENTITY = "identity"  # the attribute of a study that holds its identity
Identity = dict[str, Any]
Difference = tuple[str, Any, Any]  # a key, its value in the study, its value in this search
RUNGS = "search.rungs"  # in the identity of a study whose trials grow
IMAGES = "dataset_sha256"  # in the identity
MOST_NAMED = 4  # differences in an error
OTHER_STUDY = "search.study=<new> begins another"


def check_runs_left(plan: Plan, names: Container[str]) -> None:
    """Check that no runs are left of a study that is gone.

    Raises:
        ConfigError: where there are runs of the plan's study and `names`, the studies that exist, lack it.
    """
    name = plan.search.study
    # Trainings of a confirmation, too: a new study would take their scores for those of its own candidates.
    runs = sorted(run for kind in ("trial", "confirm") for run in plan.records.runs.glob(f"{name}-{kind}-*"))
    if runs and name not in names:
        remedy = f"the study is gone, but its runs are still there: {runs[0]}, ..."
        raise ConfigError("search.study", "a new name, or without old runs", name, remedy)


def open_study(
    storage: RDBStorage,
    plan: Plan,
    identity: Identity,
    say: Callable[[str], None] = lambda words: None,
    learned: Learned | None = None,
) -> Study:
    """Make the study of a plan, or load and check the one that exists.

    The first trial of a new study is the baseline. A grid has none: it consists of its points.

    Args:
        storage: where the study is kept.
        plan: of the search.
        identity: what the scores of this search depend on.
        say: called with a line for each change to the space of an existing study.
        learned: what the sampler knows of other studies. What the study has learned of one before, it keeps.

    Returns:
        The study, with `identity` as its attribute.

    Raises:
        ConfigError: where the study was made with other settings, or is gone while its runs are still there.
    """
    name = plan.search.study
    check_runs_left(plan, optuna.get_all_study_names(storage))
    with experimental():
        study = optuna.create_study(
            storage=storage, study_name=name, direction="minimize", load_if_exists=True, pruner=make_pruner(plan)
        )
    stored = study.user_attrs.get(IDENTITY)
    if stored is not None:
        stored = with_present_names(stored)
        check_identity(name, stored, identity, plan, images_of(study))
        _check_distributions(study, plan)
        for line in describe_extension(study, plan, stored):
            say(line)
    if stored != identity:
        study.set_user_attr(IDENTITY, identity)
    if learned:
        study.set_user_attr(LEARNED, {**study.user_attrs.get(LEARNED, {}), **learned})
    if not study.get_trials(deepcopy=False):
        attempts.enqueue_baseline(plan, study)
    if points := plan.start_points():
        study.set_user_attr(START_POINTS, {**study.user_attrs.get(START_POINTS, {}), **points})
    return study


def with_present_names(stored: Identity) -> Identity:
    """Return the identity that a study stored, by the present names of settings."""
    return with_present_keys(stored, ("", SPACE_PREFIX, BASELINE_PREFIX))


def starts_from_defaults(storage: RDBStorage, name: str) -> bool:
    """Return whether a study was made by a version whose searches started from the preset defaults, not tutorial."""
    if name not in optuna.get_all_study_names(storage):
        return False
    stored = optuna.load_study(study_name=name, storage=storage).user_attrs.get(IDENTITY, {})
    return bool(stored) and not any(key.startswith(BASELINE_PREFIX) for key in stored)


def settings_of_former_searches(storage: RDBStorage, plan: Plan) -> list[str]:
    """Return what continues a study of a version whose trials did not grow, unless the command line says it.

    Args:
        storage: where the study may be.
        plan: of this search.
    """
    name = plan.search.study
    if plan.search.pruner != "asha" or name not in optuna.get_all_study_names(storage):
        return []
    stored = optuna.load_study(study_name=name, storage=storage).user_attrs.get(IDENTITY, {})
    if (
        not stored
        or RUNGS in stored
        or any(word.startswith(("search.pruner=", "search.min_steps=")) for word in plan.command)
    ):
        return []
    names_steps = any(word.startswith("search.steps=") for word in plan.command)
    return ["search.pruner=halving", *([] if names_steps else [f"search.steps={stored['search.steps']}"])]


def images_of(study: Study) -> str:
    """Return what the images of a study are; empty where it does not say."""
    return str(study.user_attrs.get(published.FACTS, {}).get("dataset", {}).get("description", ""))


def check_identity(name: str, stored: Identity, current: Identity, plan: Plan, images: str = "") -> None:
    """Check that the scores of a study and of this search can be compared.

    With search.extend=true the space of the study may be another, as long as all else is the same.

    Args:
        name: of the study.
        stored: the identity that the study has.
        current: the identity of this search.
        plan: of this search.
        images: of the study, in words.

    Raises:
        ConfigError: where they differ, with the first differences, that of the images before all others.
    """
    stored, current = _complete(stored, current, plan)
    searched = {key.removeprefix(SPACE_PREFIX) for key in stored | current if key.startswith(SPACE_PREFIX)}
    identities = _compare_identities(stored, current, searched)
    new_dimensions = _compare_new_dimensions(stored, searched, plan)
    differences = [*identities, *new_dimensions, *_compare_fixed_dimensions(stored, current, searched, plan)]
    if not differences:
        return
    only_space_differs = all(key.startswith(SPACE_PREFIX) for key, _, _ in differences)
    can_extend = only_space_differs and plan.search.sampler != "grid"  # a grid would count points of the other grid
    if plan.search.extend and can_extend:
        return
    remedy = OTHER_STUDY + (", search.extend=true widens this one" if can_extend else "")
    if RUNGS in current and RUNGS not in stored:
        remedy += ", search.pruner=halving continues this one"
    differences.sort(key=lambda difference: difference[0] != IMAGES)
    texts = [f"{key}: {_or_absent(a)} in the study, {_or_absent(b)} now" for key, a, b in differences]
    if differences[0][0] == IMAGES:
        texts[0] = f"images: {images or 'others'} in the study, others now (data.path=... says where they are)"
    if len(texts) > MOST_NAMED:
        texts[MOST_NAMED - 1 :] = [f"{len(texts) - MOST_NAMED + 1} settings more"]
    raise ConfigError("search.study", f"one made with the same settings ({remedy})", name, "; ".join(texts))


def _complete(stored: Identity, current: Identity, plan: Plan) -> tuple[Identity, Identity]:
    """Return both identities, each with keys that it lacks and whose value is nevertheless certain."""
    # A setting that takes its value from a dimension of the space has no value to compare.
    stored = {key: value for key, value in stored.items() if not _inherits_from_space(key, plan)}
    # The baseline cannot differ in a dimension that is new, nor in a study older than these keys.
    stored = {**_baseline_of(current), **stored}
    # One that is no longer searched is compared by its setting.
    current = {**_baseline_of(stored), **current}
    return {**_defaults_of_new_settings(stored, current), **stored}, current


def _inherits_from_space(key: str, plan: Plan) -> bool:
    return key in describe(Config) and plan.inherits_from_space(key)


def _baseline_of(identity: Identity) -> Identity:
    return {key: value for key, value in identity.items() if key.startswith(BASELINE_PREFIX)}


def _defaults_of_new_settings(stored: Identity, current: Identity) -> Identity:
    """Return the defaults of settings that did not exist when the study was made: its trials had these."""
    defaults = {}
    for key, spec in describe(Config).items():
        is_new = key in current and key not in stored and f"{SPACE_PREFIX}{key}" not in stored
        if is_new and not spec["same_as"]:
            defaults[key] = spec["default"]
    return defaults


def _compare_identities(stored: Identity, current: Identity, searched: set[str]) -> list[Difference]:
    """Compare all keys of two identities except settings that one of them searches."""
    keys = sorted((stored.keys() | current.keys()) - searched)
    return [(key, stored.get(key), current.get(key)) for key in keys if stored.get(key) != current.get(key)]


def _compare_new_dimensions(stored: Identity, searched: set[str], plan: Plan) -> list[Difference]:
    """Compare settings that became dimensions: the value that they had in the study with this search's baseline.

    Where these are equal, all trials can be compared: those of before have the baseline's value.
    """
    pairs = [(key, stored[key], get(plan.config, key)) for key in sorted(searched & stored.keys())]
    return [(key, before, baseline) for key, before, baseline in pairs if before != baseline]


def _compare_fixed_dimensions(stored: Identity, current: Identity, searched: set[str], plan: Plan) -> list[Difference]:
    """Compare dimensions that became settings: the baseline's value in the study with that of this search."""
    pairs = []
    for key in sorted(searched & current.keys()):
        now = in_brief(effective(plan.config, key))
        pairs.append((key, stored.get(f"{BASELINE_PREFIX}{key}", now), now))
    return [(key, before, now) for key, before, now in pairs if before != now]


def _check_distributions(study: Study, plan: Plan) -> None:
    """Raise ConfigError for a dimension that Optuna cannot extend.

    It accepts another interval for a parameter, but no other choices, scale or type.
    """
    for dimension in plan.space:
        for trial in study.get_trials(deepcopy=False):
            before = trial.distributions.get(dimension.key, dimension.distribution)
            try:
                check_distribution_compatibility(before, dimension.distribution)
            except ValueError as error:
                rule = "of the same kind, scale and choices as in the study"
                raise ConfigError(dimension.key, rule, dimension.text, OTHER_STUDY) from error


def describe_extension(study: Study, plan: Plan, stored: Identity) -> Iterator[str]:
    """Yield a line for each dimension that changes, and one for the trials that still guide the search.

    Args:
        study: that is resumed.
        plan: of this search.
        stored: the identity that the study had so far.

    Yields:
        Lines for the user; none where the space is the same.
    """
    before = {key: text for key, text in stored.items() if key.startswith(SPACE_PREFIX)}
    now = {f"{SPACE_PREFIX}{dimension.key}": dimension.text for dimension in plan.space}
    changed = [key for key in before | now if before.get(key) != now.get(key)]
    for key in changed:
        old_text, new_text = before.get(key, "one value"), now.get(key, "one value")
        yield f"extends  {key.removeprefix(SPACE_PREFIX)}: {old_text} -> {new_text}"
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    if not changed or not trials or plan.search.sampler not in MODEL_BASED:
        return
    if plan.search.sampler == "cmaes":
        yield "         CMA-ES begins anew, as it learned from the former space"
        return
    kept = len(trials_in_space(trials, plan))
    yield f"         {kept} of {len(trials)} trials guide the search, the others are outside of the space"


def _or_absent(value: Any) -> str:
    return "absent" if value is None else str(value)
