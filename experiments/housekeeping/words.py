"""What the commands of experiments/runs.py ask and say alike."""

import sys

from rich.console import Console

from experiments.cli.entry import FAILED, FINISHED
from experiments.cli.paths import command
from experiments.cli.progress import LABEL, say_words
from experiments.records.folders import Records
from experiments.reports.ending import say_next
from experiments.tracking.removal import Removed
from gan.errors import ConfigError


def counted(number: int, noun: str) -> str:
    """Return a number with a noun, as `2 runs`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def agreed(question: str, yes: bool) -> bool:
    """Ask a person. Raises ConfigError where there is none to ask."""
    if yes:
        return True
    if not (sys.stdin and sys.stdin.isatty()):
        raise ConfigError("yes", "true where nobody can be asked", False, question)
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:  # Ctrl-D
        print()
        return False


def say_left(removed: Removed, records: Records, console: Console) -> int:
    """Say what MLflow still has, and return the exit code.

    Args:
        removed: what `finish` removed.
        records: of them.
        console: where it is said.
    """
    for server in removed.marked:
        say_words(
            console, f"MLflow   {server} keeps the runs' rows as deleted ones; `mlflow gc` on its host drops them"
        )
    for store, problem in removed.left.items():
        say_words(console, f"left     what {store} has of them: {problem}")
    if removed.left:
        say_words(console, " " * LABEL + "`runs.py repair forget=true` gives that up, for a server that is gone")
        say_next(console, command(records, "experiments/runs.py", "repair"))
    return FAILED if removed.left else FINISHED
