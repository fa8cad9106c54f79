"""What the score depends on: importances of the settings, of trials of one length alone."""

from collections.abc import Sequence

import numpy as np
import optuna
from optuna.importance import (
    BaseImportanceEvaluator,
    FanovaImportanceEvaluator,
    PedAnovaImportanceEvaluator,
    get_param_importances,
)
from optuna.study import Study
from optuna.trial import FrozenTrial

from sweeps.spec.plan import Plan
from sweeps.study import attempts, rungs
from sweeps.study.optuna_log import experimental
from sweeps.study.samplers import trials_in_space, without_float_errors

FEWEST, MOST = 15, 200  # trials with a score of one length; of fewer, importances are mostly luck
BEST_FRACTION = 1 / 3  # of the trials, which PED-ANOVA tells from the others


def fanova(study: Study, plan: Plan | None = None) -> dict[str, float]:
    """Return how much of the score's variance each setting explains (fANOVA, Hutter et al. 2014).

    It is empty where there are fewer than FEWEST trials, or all have one score. Of more than MOST a part is drawn, as the time grows with
    their square. plan: whose space all trials are shown in, as that of a study may have been extended.
    """
    return _importances(study, plan, FanovaImportanceEvaluator(seed=0), normalize=False)


def ped_anova(study: Study, plan: Plan | None = None) -> dict[str, float]:
    """Return how much each setting decides about being among the best (PED-ANOVA, Watanabe et al. 2023).

    They are fractions of their sum, for the best BEST_FRACTION of the trials. As with `fanova`, there are none of a few.
    """
    with experimental():
        evaluator = PedAnovaImportanceEvaluator(target_quantile=BEST_FRACTION)
    return _importances(study, plan, evaluator, normalize=True)


def _importances(
    study: Study, plan: Plan | None, evaluator: BaseImportanceEvaluator, normalize: bool
) -> dict[str, float]:
    trials = study.get_trials(deepcopy=False)
    if plan is not None:
        trials = trials_in_space(comparable(plan, trials), plan)
    done = attempts.finished(trials)
    if len(done) < FEWEST or len({trial.value for trial in done}) == 1:  # of equal scores there is nothing to explain
        return {}
    if len(done) > MOST:
        done = [done[k] for k in np.random.default_rng(0).choice(len(done), MOST, replace=False)]
    with experimental():
        return get_param_importances(as_suggested(done), evaluator=evaluator, normalize=normalize)


def comparable(plan: Plan, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return trials with scores that can be compared, as complete ones: where they grow, those of one rung."""
    shown = rungs.at_one_rung(plan.rungs, trials, FEWEST) if len(plan.rungs) > 1 else trials
    return attempts.finished(shown)


def length(plan: Plan, trials: Sequence[FrozenTrial]) -> int:
    """Return the updates after which `comparable` takes the scores."""
    return rungs.common_rung(plan.rungs, trials, FEWEST)


def as_suggested(trials: Sequence[FrozenTrial]) -> Study:
    """Return a study in memory in which each suggestion is one trial, numbered as everywhere else."""
    study = optuna.create_study()
    study.add_trials(map(without_float_errors, sorted(trials, key=attempts.origin)))
    return study
