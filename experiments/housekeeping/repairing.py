"""Checking the records after a move, or a removal that was interrupted."""

import sqlite3
from dataclasses import dataclass, field

from rich.console import Console

from experiments.cli import entry
from experiments.cli.paths import command
from experiments.cli.progress import Output, say, say_words, stage
from experiments.cli.stderr import native_stderr_to
from experiments.housekeeping.words import agreed, counted, say_left
from experiments.records.folders import Records
from experiments.reports.ending import say_next
from experiments.settings.rules import setting
from experiments.settings.schema import RecordsConfig
from experiments.tracking.address import fix_tracking_uri, mlflow_command, public, tracking_uri
from experiments.tracking.connection import connect
from experiments.tracking.consistency import Findings, check, correct_places
from experiments.tracking.removal import Removed, finish, forget, remove_from_mlflow, unfinished
from experiments.tracking.sync import reason
from gan.errors import ConfigError

NAMED = 3  # runs of a kind that are named


@dataclass
class Repair:
    remove: bool = setting(False, "remove MLflow's runs whose folders are gone")
    forget: bool = setting(False, "give up what servers that cannot be reached have of removed runs")
    yes: bool = setting(False, "do not ask, with remove=true or forget=true")
    records: RecordsConfig = field(default_factory=RecordsConfig)


def repair(args: Repair) -> int:
    fix_tracking_uri()
    records = Records.at(args.records.root)
    console = Output(highlight=False, markup=False, soft_wrap=True)
    code = entry.FINISHED
    try:
        for former in correct_places(records):
            say(console, f"moved    from {former}: the places of files in MLflow's database are corrected")
    except sqlite3.Error as error:
        return _cannot_be_asked(error, records, console)
    if names := [folder.name for folder in unfinished(records)]:
        with stage(console, "removing"):
            removed = finish(records)
        say_words(console, f"begun    {', '.join(names)}: their removal was interrupted; now {_how(removed.left)}")
        if removed.left and args.forget:
            _forget(records, removed, args.yes, console)
        code = say_left(removed, records, console)
    try:
        with stage(console, "comparing the records with MLflow"), native_stderr_to():
            found = check(records)
    except Exception as error:  # whatever MLflow, its database or the network raise
        return _cannot_be_asked(error, records, console)
    if found.without_folder and args.remove:
        try:
            _remove(records, found, args.yes, console)
        except ConfigError:
            raise
        except Exception as error:  # the same, while it is asked to remove them
            return _cannot_be_asked(error, records, console)
    return max(code, _say(records, found, console))


def _cannot_be_asked(error: Exception, records: Records, console: Console) -> int:
    say_words(console, f"MLflow   {public(tracking_uri(records))} cannot be asked: {reason(error, records)}")
    return entry.FAILED


def _how(left: dict[str, str]) -> str:
    return "gone from here, but not from MLflow" if left else "gone"


def _remove(records: Records, found: Findings, yes: bool, console: Console) -> None:
    """Remove MLflow's runs without folders, after asking."""
    count = counted(len(found.without_folder), "run")
    if agreed(f"remove {count} of MLflow, with files: {_some(list(found.without_folder.values()))}?", yes):
        with native_stderr_to():
            client = connect(records, tracking_uri(records))
            for run_id in found.without_folder:
                remove_from_mlflow(client, run_id, tracking_uri(records))
        found.without_folder = {}
        say_words(console, f"removed  {count} of MLflow without folders")


def _say(records: Records, found: Findings, console: Console) -> int:
    """Say what is not as it should be and what helps, and return the exit code."""
    if found.behind:
        say_words(console, f"behind   MLflow lacks records of {_some(found.behind)}")
    if found.deleted:
        restore = mlflow_command(records, "runs restore --run-id <id>")
        say_words(
            console, f"deleted  in MLflow, but not here: {_some(found.deleted)}; rm removes them, and restores one:"
        )
        say(console, f"         {restore}")
    if found.without_folder:
        say_words(
            console,
            f"lost     {_some(list(found.without_folder.values()))}: in MLflow, but not here; remove=true removes them",
        )
    for problem in found.broken:
        say_words(console, f"broken   {problem}")
    if found.behind:
        say_next(console, command(records, "experiments/sync.py", "all"))
    if found != Findings():
        return entry.FAILED
    runs, studies = len(records.all_runs()), len(records.all_studies())
    searches = f"{studies:,} search{'es' if studies != 1 else ''}"
    say_words(console, f"whole    {counted(runs, 'run')} and {searches}: folders and MLflow say the same")
    return entry.FINISHED


def _forget(records: Records, removed: Removed, yes: bool, console: Console) -> None:
    """Give up what stores have of removed runs, after asking."""
    stores = ", ".join(removed.left)
    if agreed(f"leave what {stores} has of removed runs there, for good?", yes):
        forget(records, removed.left)
        removed.left = {}
        say_words(console, f"forgot   what {stores} has of removed runs")


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
