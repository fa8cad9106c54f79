"""Removing runs and searches: their folders, and what MLflow and Optuna have of them."""

import contextlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console

from experiments.cli import entry
from experiments.cli.progress import Output, say, say_words, stage
from experiments.housekeeping.words import agreed, counted, say_left
from experiments.records.folders import Records, RunFolder
from experiments.records.overview import (
    Overview,
    Search,
    find_searches,
    in_bytes,
    is_in_use,
    read_best,
    read_run,
    size_of,
)
from experiments.reports.index import refresh
from experiments.settings.rules import NotEmpty, setting
from experiments.settings.schema import RecordsConfig
from experiments.tracking.address import fix_tracking_uri
from experiments.tracking.removal import finish, is_only_noted, move_aside, names_unfinished, set_aside, unfinished
from gan.errors import ConfigError, first_line


@dataclass
class Removal:
    run: list[str] = setting([], "runs, also without run=: name, folder, MLflow id, last, best:<study>, or a pattern")
    study: str | None = setting(None, "a whole search: its trials, its report, and what Optuna has of it", NotEmpty())
    force: bool = setting(False, "remove the winner of a search, too")
    yes: bool = setting(False, "do not ask")
    records: RecordsConfig = field(default_factory=RecordsConfig)


def remove(args: Removal) -> int:
    fix_tracking_uri()
    records = Records.at(args.records.root)
    console = Output(highlight=False, markup=False, soft_wrap=True)
    begun = [folder.name for folder in unfinished(records) if not is_only_noted(folder)]
    references = [reference for reference in args.run if not names_unfinished(records, reference)]
    if begun and "last" in references:
        remedy = f"the removal of {', '.join(begun)} was interrupted; `runs.py repair` finishes it"
        raise ConfigError("run", "a name, as long as a removal is not finished", "last", remedy)
    if not args.run and args.study is None:
        raise ConfigError("run", "given", None, "python experiments/runs.py lists them")
    runs = [read_run(folder) for folder in records.find_runs(references)]
    search = find_searches(records, args.study)[0] if args.study is not None else None
    if search is not None:
        runs = list({run.name: run for run in [*search.runs, *runs]}.values())
    with contextlib.ExitStack() as studies:
        for study in sorted({run.study for run in runs} - {""} | ({search.name} if search else set())):
            if (folder := RunFolder(records.studies / study)).path.is_dir():
                studies.enter_context(_idle(folder))
        winners = {folder.name: read_best(folder) for folder in records.all_studies()}
        for run in runs:
            if run.folder.records.root != records.root:
                remedy = f"it is of other records: records.root={run.folder.records.root}"
                raise ConfigError("run", f"one of {records.root}", str(run.folder.path), remedy)
            _check_removable(run, winners, args.force or (search is not None and run.study == search.name))
            if search is None or run not in search.runs:
                score = f", FID proxy {run.score:.4g}" if run.score is not None else ""
                say(console, f"run      {run.name}: {run.state}, {in_bytes(run.size)}{score}")
        if search is not None:
            say(
                console,
                f"search   {search.name}: {search.state}, {counted(len(search.runs), 'run')}, {in_bytes(search.size)}",
            )
        if begun:
            say(console, f"begun    {', '.join(begun)}: their removal was interrupted")
        size = sum(run.size for run in runs) + size_of(records.removed) + (size_of(search.folder.path) if search else 0)
        if not agreed(f"remove {_counted(len(runs), search)} here and in MLflow, {in_bytes(size)}?", args.yes):
            say(console, "kept     nothing is removed")
            return entry.FAILED
        for run in runs:
            set_aside(run.folder)
        if search is not None:
            _forget(search, console)
            move_aside(search.folder)  # last, so that the same command finishes what broke off
    before = size_of(records.root)
    with stage(console, "removing"):
        removed = finish(records)
    gone = _counted(max(len(removed.names) - (search is not None), 0), search)  # 0 where another process was first
    say_words(console, f"removed  {gone}, {in_bytes(max(before - size_of(records.root), 0))}")
    refresh(records, console)
    return say_left(removed, records, console)


def _counted(runs: int, search: Search | None) -> str:
    return counted(runs, "run") + (f" and the search {search.name}" if search is not None else "")


def _forget(search: Search, console: Console) -> None:
    """Delete a study from Optuna's database, unless that is one that hosts share."""
    import optuna

    records = search.folder.records
    if address := search.facts.get("params", {}).get("search.storage"):
        say_words(
            console, f"left     the study in {address}, which other hosts may use; `optuna delete-study` deletes it"
        )
    elif records.studies_database.is_file():
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            optuna.delete_study(study_name=search.name, storage=records.studies_address)
        except KeyError:  # deleted before
            pass
        except Exception as error:  # whatever Optuna or its database raise
            remedy = f"{records.studies_database}: {first_line(error)}; the search can be removed without that file"
            raise ConfigError("study", "in a database that Optuna can open", search.name, remedy) from error


def _idle(study: RunFolder) -> AbstractContextManager[None]:
    """Return a context in which a study is not searched. Raises ConfigError if it is."""
    if is_in_use(study):
        raise ConfigError("study", "one that is not running", study.name, "stop it first; it can be resumed")
    return study.owned("run")


def _check_removable(run: Overview, winners: Mapping[str, Mapping[str, Any]], force: bool) -> None:
    """Raise ConfigError for a run that is in use or that a search rests on. winners: best.yaml of each study."""
    if is_in_use(run.folder):
        raise ConfigError("run", "one that no process trains or delivers", run.name, "stop that first")
    won = {study for study, best in winners.items() if best.get("run") == run.name} | {*run.won}
    if won and not force:
        names = ", ".join(f"best:{name}" for name in sorted(won))
        raise ConfigError("run", "no winner of a search, unless force=true", run.name, f"it is {names}, and registered")
    trial = winners.get(run.study, {}).get("trial") if not run.confirms else None
    if trial is not None and run.name == f"{run.study}-trial-{trial:04d}" and not force:
        why = f"the result of study {run.study} rests on it"
        raise ConfigError("run", "not the best trial of a search, unless force=true", run.name, why)
