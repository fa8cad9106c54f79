"""What the race of a confirmation finds: how often equals are called different, and how soon a lead is found.

    python benchmarks/race.py [races=6000] [table=docs/results/runs.csv]

Below that: how far the scores of two presets go together over seeds, in a table of real trainings.
"""

import csv
from collections import defaultdict
from itertools import combinations
from pathlib import Path

import numpy as np
from arguments import arguments

from gan import metric_names
from sweeps.analysis import race

ROOT = Path(__file__).resolve().parents[1]
FEWEST = 4  # seeds that two presets have in common


def run(rng: np.random.Generator, candidates: int, seeds: int, lead: float) -> tuple[bool, bool, int]:
    """Race candidates of which the first leads by so many standard deviations over seeds.

    Returns:
        Whether anything was decided, whether the first was found to be better, and after how many seeds it was over.
    """
    scores = rng.standard_normal((candidates + 1, seeds))
    scores[1] -= lead
    racing = list(range(candidates))
    for count in range(race.FEWEST, seeds + 1):
        interim = race.analyse([scores[1 + k, :count] for k in racing], scores[0, :count], candidates, seeds)
        if any(difference.low > 0 or difference.high < 0 for difference in interim.differences):
            return True, racing[interim.leader] == 0 and interim.differences[interim.leader].high < 0, count
        racing = [racing[k] for k in interim.racing]
        if interim.is_over:
            break
    return False, False, count


def main(races: int, table: str) -> None:
    rng = np.random.default_rng(5)
    for candidates, seeds in ((3, 4), (1, 4), (1, 3)):
        equal = [run(rng, candidates, seeds, 0.0)[0] for _ in range(races)]
        print(f"{candidates} candidates, up to {seeds} seeds: of equals {np.mean(equal):.1%} are called different")
        for lead in (3, 6, 10):
            _, found, after = zip(*(run(rng, candidates, seeds, lead) for _ in range(races // 4)), strict=True)
            print(
                f"  a lead of {lead} standard deviations is found in {np.mean(found):.0%}, after {np.mean(after):.1f} seeds"
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
            print(f"{words}: correlation over {len(both)} seeds {np.corrcoef(pairs)[0, 1]:.2f}")


if __name__ == "__main__":
    main(**arguments(races=6000, table="docs/results/runs.csv"))
