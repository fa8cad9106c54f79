"""What a comparison says first: which settings are better, by how much, and whether that is more than luck."""

from collections.abc import Sequence

from experiments.reports.groups import Group, differing_settings
from experiments.reports.statistics import CONFIDENCE, Difference, compare_with_control, mean
from gan import metric_names

NAMED = 3  # settings in the title, at most
SCORES = {  # by name: title, what is better
    metric_names.FID: ("FID proxy", "lower is better"),
    metric_names.KID: ("KID proxy", "lower is better"),
    metric_names.DENSITY: ("density", "1 is like real images"),
    metric_names.COVERAGE: ("coverage", "higher is better"),
    metric_names.NN_DISTANCE: ("nn_distance", "1 is like held-out images; far less means copies"),
}


def ranking(groups: Sequence[Group]) -> str:
    """Return the metric that ranks groups: the final score, or where some have none, the one during the runs."""
    return (
        metric_names.FINAL_FID_PROXY
        if all(group.values(metric_names.FINAL_FID_PROXY) for group in groups)
        else metric_names.FID_PROXY
    )


def by_in_run_score(groups: Sequence[Group]) -> bool:
    """Return whether groups are ranked by the score during the runs, and some have one."""
    return ranking(groups) == metric_names.FID_PROXY and any(group.values(metric_names.FID_PROXY) for group in groups)


def columns(groups: Sequence[Group]) -> dict[str, tuple[str, str]]:
    """Return title and direction of each score that some group has; the one that ranks them comes first."""
    metrics = {metric: SCORES[metric.partition("/")[2]] for metric in (f"final/{name}" for name in SCORES)}
    if ranking(groups) == metric_names.FID_PROXY:
        metrics[metric_names.FID_PROXY] = ("FID proxy in the run", "lower is better")
    order = sorted(metrics, key=lambda metric: metric != ranking(groups))
    return {metric: metrics[metric] for metric in order if any(group.values(metric) for group in groups)}


def heading(groups: Sequence[Group]) -> str:
    """Return what is compared: `learning_rate: 0.0002 or 5e-05`, or the settings that differ."""
    if len(groups) == 1:
        return f"{groups[0].name}: equal settings"
    unlike = differing_settings([group.runs for group in groups])
    keys = [key.rpartition(".")[2] for key in unlike]
    if len(keys) == 1:
        values = list(dict.fromkeys(*unlike.values()))
        return f"{keys[0]}: {', '.join(values[:-1])} or {values[-1]}"
    if not keys:
        return " or ".join(group.name for group in groups)
    more = [f"{len(keys) - NAMED} more"] if len(keys) > NAMED else []
    *first, last = [*keys[:NAMED], *more]
    return f"{', '.join(first)} and {last}"


def result(groups: Sequence[Group]) -> str:
    """Say which settings are better, and by how much; empty where no two groups have scores.

    The control of Dunnett's intervals is the group with the lowest mean. If the intervals of all others lie above 0,
    it is the best; equal groups are so told apart in at most 5 % of comparisons (Hsu, 1984). If some do not, they may
    be the best as well: that is all that is said of them, as the control was chosen after a look at the scores.
    """
    metric = ranking(groups)
    scored = sorted((group for group in groups if group.values(metric)), key=lambda group: mean(group.values(metric)))
    name = columns(groups)[metric][0] if scored else ""
    if len(scored) < 2:
        of = f" {scored[0].summary(metric)}, {_counted(scored, metric)}" if scored and len(groups) == 1 else ""
        return f"{scored[0].name}: {name}{of}." if of else ""
    first, second, *_ = scored
    differences = compare_with_control([group.values(metric) for group in scored[1:]], first.values(metric))
    scores = f"{name} {first.summary(metric)} against {second.summary(metric)}"
    # The lower less the higher, as in the result of a search; 0 - x, as -x may be -0.
    facts = (
        f"difference {0 - differences[0].value:.3g}, {_interval(differences[0], scored[:2], metric)}; lower is better"
    )
    unsure = [group for group, other in zip(scored[1:], differences, strict=True) if not other.low > 0]
    other = f"{second.name}" if len(scored) == 2 else f"{second.name}, the next of {len(scored)}"
    if (lengths := [max(run.step for run in group.runs) for group in scored[:2]])[0] != lengths[1]:
        other += f", after {lengths[0]:,} and {lengths[1]:,} updates"
    lowest = "lower" if len(scored) == 2 else "lowest"
    if not differences[0].has_interval:
        return f"{first.name} has the {lowest} score: {scores} of {other} ({facts})."
    if not unsure:
        return f"{first.name} is better: {scores} of {other} ({facts})."
    rivals = ", ".join(group.name for group in unsure)
    not_shown = "better" if len(scored) == 2 else f"the best ({rivals} may be as good)"
    return f"{first.name} has the {lowest} score, but is not shown to be {not_shown}: {scores} of {other} ({facts})."


def _interval(difference: Difference, groups: Sequence[Group], metric: str) -> str:
    if not difference.has_interval:
        single = [group for group in groups if len(group.values(metric)) == 1]
        which = "one seed" if len(single) == len(groups) else f"one seed of {single[0].name}"
        return f"{which}: no interval, and seeds of equal settings may differ by as much"
    return (
        f"{CONFIDENCE:.0%} interval {0 - difference.high:.3g} to {0 - difference.low:.3g}, {_counted(groups, metric)}"
    )


def _counted(groups: Sequence[Group], metric: str) -> str:
    """Return how many seeds have a score, as `2 and 3 seeds`."""
    counts = [len(group.values(metric)) for group in groups]
    words = f"{' and '.join(map(str, dict.fromkeys(counts)))} seed{'s' if counts != [1] * len(counts) else ''}"
    return f"{words} each" if len(set(counts)) == 1 and len(counts) > 1 else words
