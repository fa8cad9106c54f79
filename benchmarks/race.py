"""What the race of a confirmation finds: how often equals are called different, and how soon a lead is found.

    python benchmarks/race.py [races=6000] [table=docs/results/runs.csv]

Candidates leave the race as soon as they are behind (`now`), or only when they are shown to be worse (`before`), for
which BEHIND is as large as the limits. Below that: how far the scores of two presets go together over seeds, in a table
of real trainings.
"""

import csv
import math
from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from arguments import arguments

from gan import metric_names
from sweeps.analysis import race

ROOT = Path(__file__).resolve().parents[1]
FEWEST = 4  # seeds that two presets have in common
LEADS = ((0, 0, 0), (2, 1, 0), (2.5, 1.5, 0.5), (4, 3, 2), (-1, -1, -1))  # in standard deviations over seeds


def run(rng: np.random.Generator, leads: Sequence[float], seeds: int) -> tuple[bool, bool, int]:
    """Race candidates against a baseline.

    Args:
        rng: of the scores.
        leads: of each candidate on the baseline, in standard deviations over seeds.
        seeds: of the race, at most.

    Returns:
        Whether any was found to differ from the baseline, whether the leader was found to be better, and how many
        trainings that took.
    """
    scores = rng.standard_normal((len(leads) + 1, seeds))
    scores[1:] -= np.array(leads)[:, None]
    racing = list(range(len(leads)))
    trainings = (race.FEWEST - 1) * (len(racing) + 1)
    differs = False
    for count in range(race.FEWEST, seeds + 1):
        trainings += len(racing) + 1
        samples = [scores[1 + k, :count].tolist() for k in racing]
        interim = race.analyse(samples, scores[0, :count].tolist(), len(leads), seeds)
        differs |= any(difference.low > 0 or difference.high < 0 for difference in interim.differences)
        if interim.is_over:
            return differs, interim.differences[interim.leader].high < 0, trainings
        racing = [racing[k] for k in interim.racing]
    raise AssertionError("a race is over after its last seed")


def main(races: int, table: str) -> None:
    rng = np.random.default_rng(5)
    print("| leave | seeds | leads of three candidates | found to differ | found to be better | trainings |")
    print("|---|---|---|---|---|---|")
    for name, behind, seeds in (("now", race.BEHIND, 8), ("now", race.BEHIND, 4), ("before", math.inf, 4)):
        race.BEHIND = behind
        race._limits.cache_clear()
        for leads in LEADS:
            differ, found, trainings = zip(*(run(rng, leads, seeds) for _ in range(races)), strict=True)
            words = ", ".join(f"{lead:g}" for lead in leads)
            print(
                f"| {name} | up to {seeds} | {words} | {np.mean(differ):.1%} | {np.mean(found):.0%} | "
                f"{np.mean(trainings):.1f} |"
            )
    groups: dict[tuple[str, ...], dict[str, float]] = defaultdict(dict)
    with open(ROOT / table, encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            if row["outcome"] != "diverged":
                key = row["class"], row["steps"], row["step"], row["preset"]
                groups[key][row["seed"]] = float(row[metric_names.FID])
    for one, other in combinations(sorted(groups), 2):
        both = sorted(groups[one].keys() & groups[other].keys())
        if one[:3] == other[:3] and len(both) >= FEWEST:
            pairs = [[groups[key][seed] for seed in both] for key in (one, other)]
            words = f"{one[0]}, {int(one[2]):,} updates, {one[3]} and {other[3]}"
            correlation = np.asarray(np.corrcoef(pairs))[0, 1]
            print(f"{words}: correlation over {len(both)} seeds {correlation:.2f}")


if __name__ == "__main__":
    main(**arguments(races=6000, table="docs/results/runs.csv"))
