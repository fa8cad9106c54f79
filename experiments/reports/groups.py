"""What a comparison of runs needs: settings, curves, scores, samples, and whether they may be compared."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from experiments.cli.progress import short_names
from experiments.records import journal
from experiments.records.folders import Records, RunFolder
from experiments.reports.statistics import mean, mean_and_std
from experiments.settings.schema import FOLLOWS, FREE_KEYS, Config
from experiments.settings.text import brief
from experiments.training.facts import ancestor_of, read_records, settings_of_result, shown_settings
from gan import metric_names
from gan.errors import ConfigError
from gan.images import evenly

MOST_RUNS = 18  # runs that colours and lines can tell apart
NAMED = 3  # settings in the name of a group, at most
MEASURED = {"eval.num_images", "eval.final_num_images"}  # settings that say how runs are scored, not what they are
ALIKE = {  # tags that must be equal in all runs, beside the numbers of scored images
    "fid_proxy_id": "extractor",
    "dataset_sha256": "images",
}


@dataclass(frozen=True)
class Compared:
    """One run of a comparison."""

    folder: RunFolder
    config: Config
    facts: dict[str, Any]
    curves: journal.Curves

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def step(self) -> int:
        return max((steps[-1] for steps, _ in self.curves.values()), default=0)

    @property
    def settings(self) -> dict[str, object]:
        """Settings that the result depends on, without the seed."""
        return settings_of_result(self.config, ancestor_of(self.facts))

    @cached_property
    def samples(self) -> dict[int, Path]:
        """Samples of the latents that all runs share, by step."""
        return self.folder.sample_files

    def value(self, metric: str) -> float | None:
        """Return the last value of a metric, of the in-run score the mean of the last three, as in a search.

        None where the run has none: scores at the end are none of a run that was scored again since.
        """
        if metric not in self.curves:
            return None
        values = self.curves[metric][1]
        if metric == metric_names.FID_PROXY:
            return metric_names.in_run_score(values)
        score = journal.score_of(self.curves)
        return None if metric.startswith("final/") and score is not None and not score.is_final else values[-1]

    @property
    def last_samples(self) -> tuple[int, Path] | None:
        """The step and the file of its newest samples; None where it has none."""
        return max(self.samples.items(), default=None)


@dataclass(frozen=True)
class Group:
    """Runs that differ in nothing but their seeds."""

    runs: list[Compared]
    name: str  # what sets it apart

    def name_of(self, run: Compared) -> str:
        """Return the name of one of its runs: that of the group, and the seed where it has several."""
        seeds = [each.config.seed for each in self.runs]
        if len(self.runs) == 1 or self.name == run.name:
            return self.name
        return (
            f"{self.name}, seed {run.config.seed}" if seeds.count(run.config.seed) == 1 else f"{self.name}, {run.name}"
        )

    def values(self, metric: str) -> list[float]:
        """Return one value for each seed that has any: the mean of its runs, which are no independent repetitions."""
        by_seed: dict[int, list[float]] = {}
        for run in self.runs:
            if (value := run.value(metric)) is not None:
                by_seed.setdefault(run.config.seed, []).append(value)
        return [mean(values) for values in by_seed.values()]

    def seeds_in_words(self, metric: str) -> str:
        """Return how many seeds have a value of a metric, as `3`, or as `2 of 3` where one has none."""
        scored, seeds = len(self.values(metric)), len({run.config.seed for run in self.runs})
        return str(seeds) if scored == seeds else f"{scored} of {seeds}"

    def summary(self, metric: str) -> str:
        """Return mean ± sample standard deviation over seeds, as text."""
        return mean_and_std(self.values(metric), digits=4)


def best_trials(records: Records, study: str, top: int) -> list[RunFolder]:
    """Find the runs of the best trials of a finished search.

    Args:
        records: where the search is.
        study: its name.
        top: how many trials at most.

    Raises:
        ConfigError: if there is no such search, or it is not finished.
    """
    file = records.studies / study / "trials.csv"
    if study not in {folder.name for folder in records.all_studies()} or not file.is_file():
        names = ", ".join(f.name for f in records.all_studies() if (f.path / "trials.csv").is_file()) or "none"
        raise ConfigError("study", "a finished search", study, f"known: {names}")
    try:
        with open(file, newline="", encoding="utf-8") as stream:
            rows = [row for row in csv.DictReader(stream) if row["state"] == "COMPLETE"]
        runs = [RunFolder(records.runs / row["run"]) for row in sorted(rows, key=lambda row: float(row["score"]))]
    except (OSError, KeyError, ValueError, TypeError, csv.Error) as error:
        remedy = f"{file} is damaged: {type(error).__name__}; the search, run again, writes it anew"
        raise ConfigError("study", "one with undamaged records", study, remedy) from error
    return [run for run in runs if run.config.is_file()][:top]


def read_compared(folder: RunFolder) -> Compared:
    """Read the settings, facts and curves of a run. Raises ConfigError for damaged records."""
    config, facts = read_records(folder, "run")
    return Compared(folder, config, facts, journal.curves(folder.journal))


def lineage(run: Compared) -> str:
    """Return the runs that a run's networks come from, as `third <- second (step 500) <- first (step 2500)`.

    It is empty for a run that started from nothing.
    """
    words, folder, seen = [run.name], run.folder, {run.folder.path}
    facts = run.facts
    while ancestor := ancestor_of(facts):
        words.append(ancestor)
        folder = RunFolder(folder.records.runs / facts["tags"]["init_from"])
        if folder.path in seen or not folder.facts.is_file():  # gone, or of other records
            break
        seen.add(folder.path)
        facts = read_records(folder, "run")[1]
    return " <- ".join(words) if len(words) > 1 else ""


def comparable(runs: Sequence[Compared]) -> list[Compared]:
    """Return runs whose scores can be compared.

    Where evaluate.py scored a run again with as many images as the others, that is its final score.

    Raises:
        ConfigError: where scores must not be compared, with every difference.
    """
    differences = _differences(runs)
    if not differences and not _final_alike(runs):
        runs = _with_equal_counts(runs)
    if len({_counts(run) for run in runs}) > 1 and not _final_alike(runs):
        differences.append(_difference(runs, "numbers of scored images", [_counts(run) for run in runs]))
    if differences:
        names = ", ".join(run.name for run in runs)
        raise ConfigError("run", "runs whose scores can be compared", names, ". ".join(differences))
    return list(runs)


def _differences(runs: Sequence[Compared]) -> list[str]:
    """Return why scores must not be compared, a sentence for each tag of ALIKE in which runs differ."""
    return [
        _difference(runs, meaning, [_in_words(run, tag) for run in runs])
        for tag, meaning in ALIKE.items()
        if len({run.facts["tags"].get(tag, "unknown") for run in runs}) > 1
    ]


def _difference(runs: Sequence[Compared], meaning: str, values: Sequence[str]) -> str:
    """Return a sentence that names the runs of each value.

    Args:
        runs: of the comparison.
        meaning: what differs.
        values: in words, one a run.
    """
    by_value: dict[str, list[str]] = {}
    for run, value in zip(runs, values, strict=True):
        by_value.setdefault(value, []).append(run.name)
    sides = "; ".join(f"{', '.join(names)}: {value}" for value, names in by_value.items())
    return f"{meaning} differ: {sides}"


def _with_equal_counts(runs: Sequence[Compared]) -> list[Compared]:
    """Return runs with final scores of equally many images: where evaluate.py scored one again, with that score.

    Raises:
        ConfigError: for a run whose final score is of fewer images than that of another.
    """
    most = max(run.config.eval.final_num_images for run in runs)
    equal = []
    for run in runs:
        again = f"evaluate/{run.facts['tags'].get('fid_proxy_id')}/{most}/"
        scores = {f"final/{key.removeprefix(again)}": c for key, c in run.curves.items() if key.startswith(again)}
        # Of a run that has no final score, or trained on since, that of its newest checkpoint stands for it.
        final = run.curves.get(metric_names.FINAL_FID_PROXY, ([], []))[0]
        ends = {*final[-1:], *list(run.folder.checkpoints.by_step())[-1:]}
        if run.config.eval.final_num_images == most:
            equal.append(run)
        elif scores.get(metric_names.FINAL_FID_PROXY, ([None], []))[0][-1] in ends:
            config = replace(run.config, eval=replace(run.config.eval, final_num_images=most))
            equal.append(replace(run, config=config, curves={**run.curves, **scores}))
        else:
            count = f"{run.config.eval.final_num_images:,}"
            remedy = f"python experiments/evaluate.py {run.name} num_images={most} scores it with as many"
            raise ConfigError("run", f"scored with {most:,} images, as the others", f"{run.name}, with {count}", remedy)
    return equal


def in_run_alike(runs: Sequence[Compared]) -> bool:
    """Return whether the scores during the runs are of equally many images."""
    return len({run.config.eval.num_images for run in runs}) <= 1


def _final_alike(runs: Sequence[Compared]) -> bool:
    """Return whether all runs have a score at the end, of equally many images."""
    counts = {run.config.eval.final_num_images for run in runs}
    return len(counts) == 1 and all(run.value(metric_names.FINAL_FID_PROXY) is not None for run in runs)


def _counts(run: Compared) -> str:
    return f"{run.config.eval.num_images} in the run, {run.config.eval.final_num_images} at the end"


def _in_words(run: Compared, tag: str) -> str:
    value = str(run.facts["tags"].get(tag, "unknown"))
    if tag == "dataset_sha256" and "dataset" in run.facts:
        return f"{run.facts['dataset']['description']} ({value[:8]})"
    return value[:60]


def grouped(runs: Sequence[Compared]) -> list[Group]:
    """Group runs with equal settings, in the order in which they were asked for."""
    groups: list[list[Compared]] = []
    for run in runs:
        for group in groups:
            if group[0].settings == run.settings:
                group.append(run)
                break
        else:
            groups.append([run])
    return [Group(group, name) for group, name in zip(groups, _names(groups), strict=True)]


def _names(groups: Sequence[list[Compared]]) -> list[str]:
    """Name each group by the settings that differ; where they are many, by what its runs' names have in common."""
    common = [_common_name(group) for group in groups]
    if len(groups) == 1:
        return [common[0] or groups[0][0].name]
    unlike = differing_settings(groups)
    if len(unlike) > NAMED and all(common) and len(set(common)) == len(groups):
        return common
    short = short_names(unlike)
    parts = [[f"{short[key]} {value}" for value in values] for key, values in list(unlike.items())[:NAMED]]
    if (more := len(unlike) - NAMED) > 0:
        parts.append([f"{more} more"] * len(groups))
    names = [", ".join(words) for words in zip(*parts, strict=True)] or [group[0].name for group in groups]
    return [
        f"{name} ({group[0].name})" if names.count(name) > 1 else name
        for name, group in zip(names, groups, strict=True)
    ]


def differing_settings(groups: Sequence[list[Compared]]) -> dict[str, list[str]]:
    """Return the settings that differ among groups, each with every group's value as it is in effect."""
    rows = [{**shown_settings(group[0].config), **_ancestry(group[0])} for group in groups]
    keys = [key for key in rows[0] if key not in FOLLOWS.keys() | FREE_KEYS | MEASURED]
    unlike = {key: [brief(row[key]) or "none" for row in rows] for key in keys}
    return {key: values for key, values in unlike.items() if len(set(values)) > 1}


def _ancestry(run: Compared) -> dict[str, object]:
    ancestor = ancestor_of(run.facts)
    return {"train.init_from": ancestor} if ancestor else {}


def _common_name(group: Sequence[Compared]) -> str:
    """Return the name of a group's runs without the number at the end; empty where they differ in more."""
    if len(group) == 1:
        return group[0].name
    names = {re.sub(r"[-_.=]*(seed)?[-_.=]*\d+$", "", run.name) for run in group}
    return names.pop() if len(names) == 1 else ""


def marks(groups: Sequence[Group], colours: int, lines: int) -> list[tuple[int, int]]:
    """Choose a colour and a line for each run: a colour for each group and a line for each seed, if there are enough.

    Args:
        groups: whose runs are marked.
        colours: how many there are.
        lines: how many there are.

    Returns:
        Indices of colour and line of each run, in the order of the groups.
    """
    if len(groups) <= colours and all(len(group.runs) <= lines for group in groups):
        return [(colour, line) for colour, group in enumerate(groups) for line in range(len(group.runs))]
    return [(k % colours, k // colours % lines) for k in range(sum(len(group.runs) for group in groups))]


def differing(runs: Sequence[Compared]) -> dict[str, list[object]]:
    """Return the settings that differ, each with every run's value; without those that follow another key."""
    rows = [{"seed": run.config.seed, **run.settings} for run in runs]
    for row in rows:
        for key, leader in FOLLOWS.items():
            values = row[key]
            same = all(value == row[leader] for value in (values if isinstance(values, list) else [values]))
            row[key] = None if same else values
    return {key: [row[key] for row in rows] for key in rows[0] if any(row[key] != rows[0][key] for row in rows)}


def common_steps(runs: Sequence[Compared], most: int) -> list[int]:
    """Choose steps at which all runs drew the shared latents, evenly up to the last; 0 only if it is the only one."""
    steps = sorted(set.intersection(*(set(run.samples) for run in runs)))
    steps = [step for step in steps if step > 0] or steps
    return evenly(steps, most)
