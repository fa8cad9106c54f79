"""What our own samplers share: what suggested a trial, how sure priors are, and where a value lies in its range."""

import math
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from sweeps.spec.space import remove_float_error

RANDOM, PRIOR, MUTATION, TPE, LINEAR = "random", "prior", "mutation", "tpe", "linear model"
KIND = "suggested_by"  # attribute of a trial: one of these
# How sure a prior is: standard deviation in a dimension's range, and weight of its choice, where another has 1.
PRIOR_STD = {"low": 0.5, "medium": 0.25, "high": 0.125}
PRIOR_WEIGHT = {"low": 2.0, "medium": 4.0, "high": 6.0}


def anywhere(rng: np.random.Generator, distribution: BaseDistribution) -> Any:
    """Draw a value of a distribution."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[rng.integers(len(distribution.choices))]
    return from_unit(distribution, rng.random())


def to_unit(distribution: BaseDistribution, value: Any) -> float:
    """Return where a number lies in the range of its distribution, from 0 to 1."""
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    (low, high), at = _ends(distribution), float(value)
    if distribution.log:
        low, high, at = math.log(low), math.log(high), math.log(at)
    return min(max((at - low) / (high - low), 0.0), 1.0)


def from_unit(distribution: BaseDistribution, at: float) -> Any:
    """Return the number of a distribution that lies there in its range, from 0 to 1."""
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = _ends(distribution)
    value = low * (high / low) ** at if distribution.log else low + at * (high - low)
    if isinstance(distribution, IntDistribution):
        value = round(value)
    return min(max(remove_float_error(distribution, value), distribution.low), distribution.high)


def _ends(distribution: FloatDistribution | IntDistribution) -> tuple[float, float]:
    """Return where a range begins and ends, half a step beyond its values: so all values of it have equal room."""
    beyond = (distribution.step or 0) / 2
    return distribution.low - beyond, distribution.high + beyond
