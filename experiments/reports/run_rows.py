"""Runs and searches as rows: what a list on a terminal and the index of all records have in common."""

import fnmatch
import math
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.cli.progress import short_names
from experiments.records.folders import Records
from experiments.records.overview import Overview, Search, ago, in_bytes, read_runs, read_searches, size_of
from experiments.records.status import RunState
from experiments.settings.text import brief

SORTS = ("newest", "name", "score", "step", "size")


@dataclass(frozen=True)
class Row:
    """A run, or a search with all of its runs.

    Attributes:
        of: what it shows.
        run: itself, or the best run of a search; None where that has none yet.
    """

    of: Overview | Search
    run: Overview | None

    @property
    def name(self) -> str:
        return self.of.name

    @property
    def state(self) -> RunState:
        return self.of.state

    @property
    def is_search(self) -> bool:
        return isinstance(self.of, Search)

    @property
    def study(self) -> str:
        """The search that a run is of; of a search its own name."""
        return self.of.name if isinstance(self.of, Search) else self.of.study

    @property
    def score(self) -> float | None:
        return self.of.score

    @property
    def num_images(self) -> int | None:
        return self.run.num_images if self.run is not None else None

    @property
    def step(self) -> int:
        return self.run.step if self.run is not None else 0

    @property
    def size(self) -> int:
        return self.of.size

    @property
    def created(self) -> float:
        return self.of.created

    @property
    def age(self) -> str:
        return ago(time.time() - self.created)

    @property
    def note(self) -> str:
        """What its user wants to remember of it."""
        return str(self.of.facts.get("note") or "")

    @property
    def differs(self) -> str:
        """What it changes of its preset, in words; of a search also how many trials it has."""
        count = len(self.of.trials) if isinstance(self.of, Search) else None
        words = [f"search of {count:,} trial{'' if count == 1 else 's'}"] if count is not None else []
        return ", ".join([*words, *settings_in_words(self.run)])


def settings_in_words(run: Overview | None) -> list[str]:
    """Return the preset of a run, and each setting that it changes."""
    if run is None:
        return []
    words = [run.preset] if run.preset and (not run.study or not run.changed) else []
    short = short_names(run.changed)
    return [*words, *(f"{short[key]} {_value(value)}" for key, value in run.changed.items())]


def _value(text: str) -> str:
    """Return a setting's value as tables have it, though it is recorded as a text."""
    if re.fullmatch(r"[-+]?\d+", text):
        return text
    try:
        number = float(text)
    except ValueError:  # no number
        return text
    return brief(number) if math.isfinite(number) else text  # a name such as nan, or 12e45678


def images_in_words(rows: Iterable[Row]) -> dict[str, str]:
    """Return by their hash what runs were trained on, in a word or two; empty where all have the same images."""
    datasets = [row.run.facts.get("dataset", {}) for row in rows if row.run is not None]
    words = {str(each.get("sha256")): _images(each) for each in datasets}
    return words if len(words) > 1 else {}


def _images(dataset: Mapping[str, Any]) -> str:
    classes = dataset.get("class_names") or []
    return (
        f"{dataset.get('name', 'unknown')} {classes[0]}" if len(classes) == 1 else str(dataset.get("name", "unknown"))
    )


def read_rows(records: Records, trials: bool = False, study: str | None = None) -> list[Row]:
    """Read the rows of all runs and searches, the newest first.

    Args:
        records: where they are.
        trials: whether each trial of a search is a row of its own, in the place of the search's one.
        study: a pattern of the names of searches, whose trials are the rows; None for all runs.
    """
    runs = read_runs(records)
    if study is not None:
        return [Row(run, run) for run in runs if run.study and fnmatch.fnmatch(run.study, study)]
    if trials:
        return [Row(run, run) for run in runs]
    rows = [Row(run, run) for run in runs if not run.study or not (records.studies / run.study).is_dir()]
    rows += [Row(search, search.best) for search in read_searches(records, runs)]
    return sorted(rows, key=lambda row: -row.created)


def chosen(rows: Iterable[Row], name: str | None, states: Sequence[str], sort: str) -> list[Row]:
    """Choose and sort rows.

    Args:
        rows: the newest first.
        name: a pattern of names; None for all.
        states: those that rows may be in; none for all.
        sort: one of SORTS.
    """
    fitting = [
        row for row in rows if (name is None or fnmatch.fnmatch(row.name, name)) and (not states or row.state in states)
    ]
    keys = {
        "name": lambda row: row.name,
        "score": lambda row: (math.inf if row.score is None else row.score, -row.created),
        "step": lambda row: -row.step,
        "size": lambda row: -row.size,
    }
    return sorted(fitting, key=keys[sort]) if sort in keys else fitting


def disk_use(records: Records) -> str:
    """Return what the records take on the disk, in words."""
    places: dict[str, list[Path]] = {
        "runs": [records.runs, records.removed],
        "MLflow": [records.artifacts, records.database],
        "searches": [records.studies, records.studies_database],
        "cache": [records.cache],
    }
    sizes = {name: sum(map(size_of, paths)) for name, paths in places.items()}
    total = size_of(records.root)
    sizes["all else"] = total - sum(sizes.values())
    parts = ", ".join(f"{name} {in_bytes(size)}" for name, size in sizes.items() if size > 1e5)
    return in_bytes(total) + (f": {parts}" if parts else "")
