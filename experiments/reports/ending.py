"""How programs end: the index of all runs is written anew, and the last line is the command that makes sense now."""

from collections.abc import Sequence

from rich.console import Console

from experiments.cli.paths import command, shown
from experiments.cli.progress import say
from experiments.records.folders import Records
from experiments.records.overview import Overview, read_run
from experiments.reports.index import file_of, refresh
from experiments.reports.run_rows import Row


def end(records: Records, console: Console, program: str, *arguments: str) -> None:
    """Write the index, and print a command as the last line.

    Args:
        records: of the index, which the command works on.
        console: where it is printed.
        program: of the command, as experiments/compare.py.
        arguments: of the command, texts among them quoted.
    """
    refresh(records, console)
    say_next(console, command(records, program, *arguments))


def end_of_run(records: Records, console: Console, name: str) -> None:
    """End a program that trained or scored a run: it is compared with the newest one that it can be compared with.

    Args:
        records: of the run.
        console: where the last line is printed.
        name: of the run.
    """
    rows = refresh(records, console)
    if rows:
        say(console, f"index    {shown(file_of(records))}")
    run = read_run(records.find_run(name))
    rival = _rival(run, rows)
    if rival is not None:
        say_next(console, command(records, "experiments/compare.py", run.name, rival.name))
    else:
        say_next(console, command(records, "experiments/generate.py", run.name))


def say_next(console: Console, command: str) -> None:
    """Print the command that makes sense now, as the last line of a program."""
    say(console, f"next     {command}")


def _rival(run: Overview, rows: Sequence[Row]) -> Overview | None:
    """Return the newest other run, of no search, whose score can be compared with a run's; one of its length if there is.

    rows: the newest first.
    """
    rivals = [
        row.of
        for row in rows
        if isinstance(row.of, Overview) and row.name != run.name and row.score is not None and row.of.alike == run.alike
    ]
    return next((rival for rival in rivals if rival.step == run.step), rivals[0] if rivals else None)
