"""Checkpoints and files that nothing needs any more.

A trial can be promoted, and so needs its checkpoints, as long as it is paused: a search with a larger budget ranks it
anew, whatever its score. A trial that was pruned, that failed because of its settings, or that came to its end never trains on.
"""

import contextlib
import itertools
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from experiments.records import journal
from experiments.records.folders import Records
from experiments.records.overview import Overview, Search, read_run, read_runs, read_searches, size_of
from experiments.records.status import OF_THE_MACHINE, FailureKind, RunState
from experiments.tracking.connection import UNFINISHED
from gan.errors import ConfigError

BASELINE = 0  # the trial with the settings that all others are compared with
RESTING_SECONDS = 3600.0  # after which what a process was writing is not written any more
TEMPORARY = re.compile(r"\..+\.(\d+)(?:-[0-9a-f]+)?\.(?:tmp|keras)")  # as `gan.arrays.temporary_name` names files
OF_A_RUN = {  # what programs write into a run's folder: one with anything else is a person's
    ".hydra", ".lock", "checkpoints", "code.diff", "generated", "generator.keras", "metrics.jsonl", "plots", "run.log",
    "samples", "samples.gif", "tensorflow.log", "tracking.json",
}  # fmt: skip
PAUSED, PRUNED, FAILED, BEATEN = RunState.PAUSED, RunState.PRUNED, RunState.FAILED, "beaten"


@dataclass(frozen=True)
class Unneeded:
    """A run whose checkpoints nothing needs.

    Attributes:
        run: the run.
        why: PAUSED, PRUNED, FAILED or BEATEN.
    """

    run: Overview
    why: str

    @property
    def size(self) -> int:
        """Bytes of the checkpoints."""
        return size_of(self.run.folder.checkpoints.folder)


def unneeded_checkpoints(search: Search, is_over: bool, paused: bool = False) -> list[Unneeded]:
    """Return the runs of a search whose checkpoints nothing needs.

    Those of the winner, the baseline and the trial with the lowest score stay, and those of runs that a person has
    resumed. Before a search is over its winner is not known, and what came to its end stays too.

    Args:
        search: whose runs.
        is_over: whether its confirmation is over and best.yaml names the winner.
        paused: whether paused trials count, which cannot be resumed without their checkpoints.
    """
    scored = [run for run in search.trials if run.state == RunState.FINISHED and run.score is not None]
    best = min(scored, key=lambda run: (run.score, run.name), default=None)  # wins where nothing is confirmed
    needed = {BASELINE, search.winner_trial, _trial(best) if best is not None else BASELINE}
    found = []
    for run in search.runs:
        confirms_baseline = run.confirms and _trial(run) is None
        is_needed = run.name == search.winner or _trial(run) in needed or confirms_baseline
        if is_needed or journal.BY_HAND in run.tags or not run.folder.checkpoints.all_files():
            continue
        if (why := _why(search, run, is_over)) and (why != PAUSED or paused):
            found.append(Unneeded(run, why))
    return found


def _why(search: Search, run: Overview, is_over: bool) -> str:
    """Return why a run's checkpoints are not needed; empty where they are."""
    if run.state == RunState.PAUSED:
        return PAUSED
    if run.state == RunState.PRUNED:
        return PRUNED
    if run.state == RunState.FAILED:
        failure = journal.last_failure(run.folder.journal)
        # A confirmation resumes what the machine lacked something for; a trial has its result then.
        resumes = OF_THE_MACHINE if run.confirms else (FailureKind.RECORDS,)
        is_its_own = failure is not None and failure.kind not in resumes and journal.FAILURE in run.tags
        return FAILED if is_its_own else ""
    return BEATEN if run.state == RunState.FINISHED and is_over and search.winner else ""


def _trial(run: Overview) -> int | None:
    """Return the number of the trial that a run is or confirms; None for a training that confirms the baseline."""
    match = re.search(r"trial-(\d+)$", run.confirms or run.name)
    return int(match[1]) if match else None


def free(unneeded: Iterable[Unneeded], why: str) -> int:
    """Remove checkpoints, and return how many bytes that freed.

    Args:
        unneeded: whose.
        why: a sentence that stands in their place, for whoever looks for them.
    """
    freed = 0
    for each in unneeded:
        with contextlib.suppress(ConfigError), each.run.folder.owned():  # else a process is at it
            now = read_run(each.run.folder)
            if now.state != each.run.state or journal.BY_HAND in now.tags:  # it was resumed while somebody was asked
                continue
            before = each.size
            each.run.folder.checkpoints.remove(why)
            freed += before - each.size
    return freed


def free_of_study(records: Records, study: str) -> tuple[int, int]:
    """Remove the checkpoints that nothing needs of a search whose result was just written.

    Args:
        records: where it is.
        study: its name.

    Returns:
        How many runs had any, and how many bytes are freed.
    """
    runs = [run for run in read_runs(records) if run.study == study]
    (search,) = (each for each in read_searches(records, runs) if each.name == study)
    unneeded = unneeded_checkpoints(search, is_over=True)
    return len(unneeded), free(unneeded, "the search is over (search.keep_checkpoints=winners)")


def leftovers(records: Records) -> Iterator[Path]:
    """Yield what processes that were killed have left: half files, and folders in which no run began."""
    folders = (records.runs, records.studies, records.cache, records.comparisons)
    for file in itertools.chain(records.root.glob(".*"), *(folder.rglob(".*") for folder in folders)):
        match = TEMPORARY.fullmatch(file.name)
        if match and _is_old(file) and not psutil.pid_exists(int(match[1])):
            yield file
    yield from (file for file in records.root.glob(f"{UNFINISHED}*") if _is_old(file))
    for folder in records.runs.glob("*/"):
        names = {file.name for file in folder.iterdir()}
        never_began = not names - {"run.json", ".lock"}
        half_removed = not names & {"config.yaml", "run.json"} and not names - OF_A_RUN
        if (never_began or half_removed) and not folder.is_symlink() and _is_old(folder):
            yield folder


def remove_leftover(path: Path) -> None:
    """Remove a file or a folder that `leftovers` found."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _is_old(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return time.time() - path.stat().st_mtime > RESTING_SECONDS
    return False
