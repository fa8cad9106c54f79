"""What a list says of runs and searches, read from their folders alone: quickly, as there may be thousands."""

import contextlib
import os
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from experiments.records import journal
from experiments.records.differences import differences
from experiments.records.folders import Records, RunFolder, read_json
from experiments.records.journal import OF_A_FAILURE, Scalars, Score, Status, Tags, Winner
from experiments.records.status import PAUSED, TRIAL_STATE, RunState, RunStatus
from gan import metric_names
from gan.errors import ConfigError

OF_TRIALS = {"PRUNED": RunState.PRUNED, PAUSED: RunState.PAUSED}  # by that tag
# What lines of a journal have which matter here: others are not decoded.
MATTERS = re.compile(
    rf'"(?:{metric_names.FID_PROXY}|{metric_names.FINAL_FID_PROXY}|status|tags|champion)"'.encode()
).search
STEP = re.compile(rb'"step": ?(\d+)')
MAKES_ALIKE = ("fid_proxy_id", "dataset_sha256")  # tags of runs whose scores of equally many images can be compared


@dataclass(frozen=True)
class Overview:
    """What a list says of a run.

    Attributes:
        folder: the run's folder.
        facts: its run.json; empty where that is damaged.
        state: what has become of it.
        tags: of its journal.
        step: the last update that is recorded.
        scores: in-run scores, by step.
        scored: the score that stands for it; None for a run that was never scored.
        won: names of the searches that it was registered as the winner of.
        searched: the settings that its study searches.
    """

    folder: RunFolder
    facts: dict[str, Any]
    state: RunState
    tags: dict[str, str] = field(default_factory=dict)
    step: int = 0
    scores: dict[int, float] = field(default_factory=dict)
    scored: Score | None = None
    won: tuple[str, ...] = ()
    searched: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def study(self) -> str:
        """The search that it is a trial of, or confirms; empty for none."""
        return str(self.facts.get("parent", "")).rpartition("/")[2]

    @property
    def confirms(self) -> str:
        """The candidate that it is a training on a fresh seed of, as `trial-0007`; empty for any other run."""
        return str(self._all_tags.get("confirms", ""))

    @property
    def score(self) -> float | None:
        """The FID proxy at its end, or of the last in-run scores, as a search minimises it."""
        return self.scored.value if self.scored is not None else None

    @property
    def num_images(self) -> int | None:
        """How many images the score is of."""
        counts = re.findall(r"\d+", str(self._all_tags.get("fid_proxy_images", "")))
        if len(counts) < 2 or self.scored is None:
            return None
        return int(counts[1] if self.scored.is_final else counts[0])

    @property
    def alike(self) -> tuple[str, ...]:
        """What the scores of two runs must have in common to be compared."""
        return (*(str(self._all_tags.get(tag, "unknown")) for tag in MAKES_ALIKE), str(self.num_images))

    @property
    def created(self) -> float:
        """When it was made, in seconds since 1970."""
        return _created(self.folder, self.facts)

    @cached_property
    def preset(self) -> str:
        """The preset that it was started with; empty for none."""
        return next((word.partition("=")[2] for word in reversed(self._words) if word.startswith("experiment=")), "")

    @cached_property
    def changed(self) -> dict[str, str]:
        """What it changes of its preset, by key; of a trial the settings that are searched."""
        length, began_with = self.tags.get("train.steps"), (self.facts.get("params") or {}).get("train.steps")
        resumed_to = [f"train.steps={length}"] if length is not None and length != str(began_with) else []
        changed = differences([*self._words, *resumed_to])
        return {key: value for key, value in changed.items() if not self.study or key in self.searched}

    @cached_property
    def size(self) -> int:
        """Bytes on the disk, with its files in the MLflow of the records."""
        files = [self.folder.records.artifacts / run_id for run_id in self.folder.mlflow_run_ids()]
        return sum(map(size_of, [self.folder.path, *files]))

    @property
    def _all_tags(self) -> dict[str, Any]:
        return {**self.facts.get("tags", {}), **self.tags}

    @cached_property
    def _words(self) -> list[str]:
        command = str(self.facts.get("command", ""))
        if not set(command) & set("\\'\""):  # shlex takes milliseconds
            return command.split()[2:]
        try:
            return shlex.split(command)[2:]
        except ValueError:
            return []


@dataclass(frozen=True)
class Search:
    """What a list says of a search.

    Attributes:
        folder: of the study.
        state: what has become of the search.
        result: a sentence on what it found; empty before its end.
        runs: its trials and the trainings that confirm the best of them.
        winner: name of the run that won; empty before the search is over.
        winner_trial: the number of the trial that won.
        result_score: the winner's final score, the mean over its seeds; None before the search is over.
        seeds: how many fresh seeds that is; None where an earlier version ended the search.
    """

    folder: RunFolder
    facts: dict[str, Any]
    state: RunState
    result: str
    runs: tuple[Overview, ...]
    winner: str
    winner_trial: int | None
    result_score: float | None = None
    seeds: int | None = None

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def created(self) -> float:
        return _created(self.folder, self.facts)

    @property
    def trials(self) -> list[Overview]:
        return [run for run in self.runs if not run.confirms]

    @property
    def best(self) -> Overview | None:
        """The winner's run; before the search is over the trial with the lowest score of the longest ones."""
        won = [run for run in self.runs if run.name == self.winner]
        scored = [run for run in self.trials if run.score is not None]
        return won[0] if won else min(scored, key=lambda run: (-run.step, run.score or 0.0), default=None)

    @property
    def score(self) -> float | None:
        """The result's score; before there is one, that of the best run."""
        return self.result_score if self.result_score is not None else self.best.score if self.best else None

    @property
    def score_words(self) -> str:
        """What the score is of."""
        won = self.best
        confirmed = [run for run in self.runs if won is not None and run.confirms == won.confirms != "" and run.scored]
        seeds = self.seeds if self.seeds is not None else len(confirmed)
        return f"mean of {seeds} seeds" if self.result_score is not None and seeds > 1 else "its best run"

    @cached_property
    def size(self) -> int:
        """Bytes on the disk, those of its runs included."""
        return size_of(self.folder.path) + sum(run.size for run in self.runs)


def read_runs(records: Records) -> list[Overview]:
    """Read what a list says of all runs, the newest first."""
    searched = {f"studies/{folder.name}": _searched_keys(folder.path) for folder in records.all_studies()}
    runs = []
    for folder in records.all_runs():
        run = read_run(folder)
        if run.state == RunState.DAMAGED and not folder.path.exists():  # removed just now
            continue
        runs.append(replace(run, searched=searched.get(str(run.facts.get("parent")), frozenset())))
    return sorted(runs, key=lambda run: -run.created)


def read_run(folder: RunFolder) -> Overview:
    """Read what a list says of a run; what is damaged is said as its state."""
    try:
        facts = read_json(folder.facts)
        return _of_journal(folder, facts)
    except (OSError, ValueError, TypeError, AttributeError):
        return Overview(folder, {}, RunState.DAMAGED)


def _created(folder: RunFolder, facts: dict[str, Any]) -> float:
    """Return when a run or a search was made, in seconds since 1970; 0 where its folder is gone."""
    with contextlib.suppress(KeyError, TypeError, ValueError):
        return float(facts["created"]) / 1000
    with contextlib.suppress(FileNotFoundError):
        return folder.path.stat().st_mtime
    return 0.0


def read_searches(records: Records, runs: Iterable[Overview]) -> list[Search]:
    """Read what a list says of all searches, the newest first.

    Args:
        records: where they are.
        runs: all runs of the records.
    """
    by_study: dict[str, list[Overview]] = {}
    for run in runs:
        by_study.setdefault(run.study, []).append(run)
    searches = []
    for folder in records.all_studies():
        study = read_run(folder)
        best = read_best(folder)
        members = sorted(by_study.get(folder.name, []), key=lambda run: run.name)
        number, seeds = best.get("trial"), best.get("seeds")
        searches.append(
            Search(
                folder, study.facts, study.state, study.tags.get("result", "") if best else "", tuple(members),
                str(best.get("run", "")), number if isinstance(number, int) else None, study.score if best else None,
                seeds if isinstance(seeds, int) else None,
            )
        )  # fmt: skip
    return sorted(searches, key=lambda search: -search.created)


def find_searches(records: Records, name: str | None) -> list[Search]:
    """Return the search of a name, or all of them for None. Raises ConfigError where there is none of that name."""
    searches = [search for search in read_searches(records, read_runs(records)) if name in (None, search.name)]
    if name is not None and not searches:
        names = ", ".join(folder.name for folder in records.all_studies()) or "none"
        raise ConfigError("study", "a search", name, f"known: {names}")
    return searches


def read_best(study: RunFolder) -> dict[str, Any]:
    """Return what best.yaml says of a study's winner: empty before the search is over, or where it is damaged."""
    try:
        best = yaml.safe_load((study.path / "best.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return best if isinstance(best, dict) else {}


def is_in_use(folder: RunFolder) -> bool:
    """Return whether a process trains or delivers a run, or searches a study."""
    file = folder.path / ".lock"
    if not file.exists():
        return False
    try:
        with FileLock(file, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # records of somebody else
        return False


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files below a folder; links are not followed."""
    try:
        with os.scandir(path) as entries:
            return sum(_entry_size(entry) for entry in entries)
    except NotADirectoryError:
        return path.lstat().st_size
    except OSError:  # it is gone, or somebody else's
        return 0


def in_bytes(size: float) -> str:
    """Return a size for a person, as 68 MB."""
    for unit in ("B", "kB", "MB"):
        if size < 999.5:
            return f"{size:.0f} {unit}" if size >= 10 or unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def ago(seconds: float) -> str:
    """Return how long ago something was, as `5 min`."""
    for unit, length in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def _entry_size(entry: "os.DirEntry[str]") -> int:
    try:
        is_folder = entry.is_dir(follow_symlinks=False)
        return size_of(Path(entry.path)) if is_folder else entry.stat(follow_symlinks=False).st_size
    except OSError:  # it is gone meanwhile
        return 0


def _of_journal(folder: RunFolder, facts: dict[str, Any]) -> Overview:
    content = folder.journal.read_bytes() if folder.journal.exists() else b""
    lines = content.split(b"\n")[:-1]  # what follows the last end of a line is half a record
    scores: dict[int, float] = {}
    status: RunStatus | None = None
    tags: dict[str, str] = {}
    final: dict[int, float] = {}
    won: list[str] = []
    for line in lines:
        if not MATTERS(line):
            continue
        match journal.parse(line):
            case Scalars(_, step, values):
                if metric_names.FID_PROXY in values:
                    scores[step] = values[metric_names.FID_PROXY]
                if metric_names.FINAL_FID_PROXY in values:
                    final[step] = values[metric_names.FINAL_FID_PROXY]
            case Status(_, status):
                if status == RunStatus.RUNNING:
                    tags = {key: tag for key, tag in tags.items() if key not in OF_A_FAILURE}
            case Tags(_, new):
                tags |= new
            case Winner(_, name):
                won.append(name)
            case None:
                return Overview(folder, facts, RunState.DAMAGED)
    step = max(map(int, STEP.findall(content)), default=0)
    state = _state(folder, status, tags, step)
    if state in (RunState.STOPPED, RunState.INTERRUPTED):  # from where it resumes, which may lie behind the last record
        step = max([step, *folder.checkpoints.by_step()])
    curves = {metric_names.FID_PROXY: scores, metric_names.FINAL_FID_PROXY: final}
    scored = journal.score_of({metric: (list(by_step), list(by_step.values())) for metric, by_step in curves.items()})
    return Overview(folder, facts, state, tags, step, scores, scored, tuple(won))


def _state(folder: RunFolder, status: RunStatus | None, tags: dict[str, str], step: int) -> RunState:
    match status:
        case RunStatus.FINISHED:
            return RunState.FINISHED
        case RunStatus.FAILED:
            return RunState.FAILED
        case RunStatus.KILLED:
            return OF_TRIALS.get(tags.get(TRIAL_STATE, ""), RunState.STOPPED)
    if is_in_use(folder):
        return RunState.RUNNING
    return RunState.INTERRUPTED if status == RunStatus.RUNNING or step else RunState.NEW  # a first start has no status


def _searched_keys(study: Path) -> frozenset[str]:
    """Return the settings that a study searches."""
    try:
        params = read_json(study / "run.json").get("params", {})
    except (OSError, ValueError):
        params = {}
    return frozenset(key.removeprefix("space.") for key in params if key.startswith("space."))
