"""The tables of docs/results.md and docs/how_found.md, in Markdown."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.reports.statistics import compare_with_control, mean, mean_and_std
from gan import metric_names
from sweeps.reproduction.rows import SCORES, Row, presets_of
from sweeps.study.states import State

FEW = 5  # different numbers, up to which a setting's values are taken for choices
SMALLEST_P_VALUE = 1e-4  # that is printed
NOTHING = "(Still to be made.)\n"


def scores_table(rows: Sequence[Row], of: str, steps: int) -> str:
    """Return mean ± standard deviation over the seeds of each preset, at each scored step.

    Args:
        rows: of runs.csv.
        of: the class.
        steps: updates of the trainings.
    """
    lines = ["| updates | preset | seeds | FID proxy | KID | density | coverage | nn_distance | updates/s | minutes |"]
    lines.append("|---" * 10 + "|")
    selected = [row for row in rows if row["class"] == of and row["steps"] == str(steps)]
    for step in sorted({int(row["step"]) for row in selected if row["outcome"] != "diverged"}):
        for preset in presets_of(selected):
            ran = [row for row in selected if row["outcome"] != "diverged"]  # others have no scores
            group = [row for row in ran if row["preset"] == preset and row["step"] == str(step)]
            if group:
                cells = [mean_and_std(_numbers(group, name)) for name in SCORES]
                minutes = (
                    mean_and_std([seconds / 60 for seconds in _numbers(group, "seconds")]) if step == steps else ""
                )
                speed = mean_and_std(_numbers(group, "steps_per_second")) if step == steps else ""
                lines.append(f"| {step:,} | `{preset}` | {len(group)} | {' | '.join(cells)} | {speed} | {minutes} |")
    return "\n".join(lines) + "\n" if selected else NOTHING


def lead_table(rows: Sequence[Row], baseline: str) -> str:
    """Return how far the mean FID proxy of each preset lies below the baseline's, by Dunnett's test over the seeds.

    At each length of training, and for each class, all other presets are compared with the baseline together.
    """
    lines = [f"| class | updates | preset | seeds | lower than `{baseline}` by | 95 % | p-value |", "|---" * 7 + "|"]
    scored = [row for row in rows if row["outcome"] != "diverged"]
    for step, of in sorted({(int(row["step"]), row["class"]) for row in scored}):
        at_step = [row for row in scored if row["class"] == of and row["step"] == str(step)]
        groups = {
            p: [float(row[metric_names.FID]) for row in at_step if row["preset"] == p] for p in presets_of(at_step)
        }
        control = groups.pop(baseline, [])
        differences = compare_with_control(list(groups.values()), control) if groups and control else []
        for (preset, scores), difference in zip(groups.items(), differences, strict=False):
            if difference.has_interval:
                lines.append(
                    f"| {of} | {step:,} | `{preset}` | {len(scores)} and {len(control)} | "
                    f"{-difference.value:.3g} | {-difference.high:.3g} to {-difference.low:.3g} | "
                    f"{_p_value(difference.p_value)} |"
                )
    return "\n".join(lines) + "\n" if len(lines) > 2 else NOTHING


def _p_value(value: float) -> str:
    """Return a p-value as text; Dunnett's are integrated with random numbers, to some five digits."""
    return f"{value:.2g}" if value >= SMALLEST_P_VALUE else f"< {SMALLEST_P_VALUE:g}"


def _numbers(rows: Sequence[Row], column: str) -> list[float]:
    """Return a column of a table as numbers."""
    return [float(row[column]) for row in rows]


def mean_scores_table(curves: Sequence[Row], of: str, steps: int) -> str:
    """Average the scores of each training, and return mean ± standard deviation of that over the seeds of each preset.

    Args:
        curves: rows of curves.csv.
        of: the class.
        steps: updates of the trainings.
    """
    selected = [row for row in curves if row["class"] == of and row["steps"] == str(steps)]
    ways: dict[str, dict[str, list[float]]] = {}  # by preset and seed
    for row in selected:
        ways.setdefault(row["preset"], {}).setdefault(row["seed"], []).append(float(row[metric_names.FID]))
    lines = ["| preset | seeds | scores on the way | their mean |", "|---" * 4 + "|"]
    for preset, seeds in ways.items():
        counts = sorted({len(scores) for scores in seeds.values()})
        means = mean_and_std([mean(scores) for scores in seeds.values()])
        lines.append(f"| `{preset}` | {len(seeds)} | {' to '.join(map(str, counts))} | {means} |")
    return "\n".join(lines) + "\n" if selected else NOTHING


def robustness_table(rows: Sequence[Row], steps: int) -> str:
    """Return how many of the short runs of each preset failed."""
    lines = ["| preset | runs | diverged | collapsed | FID proxy of the others |", "|---" * 5 + "|"]
    selected = [row for row in rows if row["steps"] == str(steps)]
    for preset in presets_of(selected):
        group = [row for row in selected if row["preset"] == preset]
        counts = [sum(row["outcome"] == outcome for row in group) for outcome in ("diverged", "collapsed")]
        score = mean_and_std(_numbers([row for row in group if row["outcome"] == "finished"], metric_names.FID))
        lines.append(f"| `{preset}` | {len(group)} | {counts[0]} | {counts[1]} | {score} |")
    return "\n".join(lines) + "\n" if selected else NOTHING


def best_table(trials: Path, count: int = 8) -> str:
    """Return the best trials of a search, and the tutorial's settings, from its trials.csv."""
    rows, keys = _read_search(trials)
    done = sorted((row for row in rows if row["state"] == State.COMPLETE), key=lambda row: float(row["score"]))
    best = done[:count] + [row for row in done[count:] if row["trial"] == "0"]
    lines = ["| trial | score | " + " | ".join(f"`{key}`" for key in keys) + " |", "|---" * (2 + len(keys)) + "|"]
    for row in best:
        name = "0, the tutorial's" if row["trial"] == "0" else row["trial"]
        lines.append(f"| {name} | {float(row['score']):.3g} | " + " | ".join(_short(row[key]) for key in keys) + " |")
    words = {State.COMPLETE: "trials completed", State.PAUSED: "paused", State.PRUNED: "pruned", State.FAIL: "failed"}
    states = {word: sum(row["state"] == state for row in rows) for state, word in words.items()}
    counts = ", ".join(f"{count} {word}" for word, count in states.items() if count or word != "paused")
    updates = sum(int(row["steps"]) for row in rows)
    lines += ["", f"{counts}; {updates:,} updates in all."]
    return "\n".join(lines) + "\n"


def searches_table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return how each search was called, and what it found.

    Args:
        results: by the name of the search: its `arguments`, its `result` in words, and the `settings` of its winner.
    """
    lines = ["| search | arguments | result | settings |", "|---" * 4 + "|"]
    for name, found in results.items():
        arguments, settings = (" ".join(f"`{word}`" for word in found[key]) for key in ("arguments", "settings"))
        lines.append(f"| {name} | {arguments} | {found['result']} | {settings} |")
    return "\n".join(lines) + "\n" if results else NOTHING


def race_table(race: Mapping[str, Mapping[int, float]]) -> str:
    """Return the scores of a confirmation's fresh seeds, the best mean of those with most seeds first.

    Args:
        race: the scores by candidate, and by seed.
    """
    ranked = sorted(race.items(), key=lambda each: (-len(each[1]), mean(list(each[1].values()))))
    lines = ["| settings | fresh seeds | score | of each seed |", "|---" * 4 + "|"]
    for title, scores in ranked:
        each = ", ".join(f"{score:.3g}" for score in scores.values())
        lines.append(f"| {title} | {len(scores)} | {mean_and_std(list(scores.values()))} | {each} |")
    return "\n".join(lines) + "\n" if race else NOTHING


def importances_table(importances: Path) -> str:
    """Return what the score of a search's trials depends on, from its importances.csv."""
    with open(importances, encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    if not rows:
        return "(Too few trials of one length have a score.)\n"
    lines = ["| setting | fraction of the score's variance |", "|---" * 2 + "|"]
    lines += [f"| `{row['setting']}` | {float(row['fraction']):.2f} |" for row in rows]
    return "\n".join(lines) + "\n"


def ranks_table(trials: Path) -> str:
    """Return how the place of the trials of a search depends on each setting, the best first.

    The longer trained rank before the shorter, those of one length by their scores. A setting is tested over the trials
    that it means something in. Numbers: Spearman's rank correlation. Choices: the mean place of each, tested by Kruskal
    and Wallis (1952). The p-values are those of each setting by itself.
    """
    from scipy import stats  # slow to import

    rows, keys = _read_search(trials)
    order = {goodness: place for place, goodness in enumerate(sorted({_goodness(row) for row in rows}))}
    if len(order) < 2:
        return "(No trial was better than another.)\n"
    ranked = []
    for key in keys:
        active = [row for row in rows if row[key] != ""]
        values = np.array([row[key] for row in active])
        place = stats.rankdata([order[_goodness(row)] for row in active])
        choices = sorted(set(values))
        p_value = np.nan
        if len(choices) > FEW and all(isinstance(_value(choice), float) for choice in choices):
            correlation, p_value = stats.spearmanr(values.astype(float), place)
            words = f"{'lower' if correlation > 0 else 'higher'} is better, correlation {correlation:.2f}"
        else:
            groups = [place[values == choice] for choice in choices]
            if len(groups) > 1 and len(set(place)) > 1:
                p_value = stats.kruskal(*groups).pvalue
            means = sorted((group.mean(), choice) for group, choice in zip(groups, choices, strict=True))
            words = ", ".join(f"{choice} {mean:.3g}" for mean, choice in means)
        if len(active) < len(rows):
            words += f" ({len(active)} of {len(rows)} trials)"
        ranked.append((float(p_value), f"| `{key}` | {words} | {p_value:.2g} |"))
    lines = ["| setting | place in the search, first is best | p-value |", "|---" * 3 + "|"]
    lines += [line for _, line in sorted(ranked)]
    return "\n".join(lines) + "\n"


def look_table(file: Path) -> str:
    """Return the settings and scores by step of trainings that were looked at by hand, from a CSV file."""
    with open(file, encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    steps = [name for name in rows[0] if name.isdigit()]
    lines = ["| settings | " + " | ".join(f"{int(step):,}" for step in steps) + " | coverage |"]
    lines.append("|---" * (2 + len(steps)) + "|")
    for row in rows:
        scores = [f"{float(row[step]):.3g}" if row[step] else "" for step in steps]
        lines.append(f"| `{row['settings']}` | {' | '.join(scores)} | {row['coverage']} |")
    return "\n".join(lines) + "\n"


def _goodness(row: Row) -> tuple[bool, int, float]:
    """Return what trials are sorted by, the best first: as in a search's report, by length and then by score."""
    length = 0 if row["state"] == State.COMPLETE else -int(row["steps"])
    return row["state"] != State.COMPLETE, length, float(row["score"] or "inf")


def _read_search(file: Path) -> tuple[list[Row], list[str]]:
    """Return the rows of a trials.csv and the keys of the searched settings."""
    with open(file, encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream)
        rows = list(reader)
    names = list(reader.fieldnames or ())
    return rows, names[names.index("seconds") + 1 : names.index("outcome")]


def _value(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _short(text: str) -> str:
    return f"{value:.3g}" if isinstance(value := _value(text), float) else value
