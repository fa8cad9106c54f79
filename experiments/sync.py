"""Deliver to MLflow what it missed while it could not be reached.

    python experiments/sync.py <run name, MLflow run id, folder, last or all> [records.root=<folder>]

The records of a run are complete in its folder whatever happened to the tracking
server; what was delivered before is not sent again.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from experiments import program
from experiments.arguments import parse_arguments
from experiments.native_log import native_stderr_to
from experiments.records import Records, RunFolder, read_json
from experiments.settings.rules import misplaced_character
from experiments.settings.schema import RecordsConfig
from experiments.tracking import Delivery, RunDeleted, reason
from experiments.tracking_address import fix_tracking_uri, public, tracking_uri
from gan.errors import ConfigError


@dataclass
class Place:
    """Where the records are."""

    records: RecordsConfig = field(default_factory=RecordsConfig)


def main(arguments: list[str]) -> int:
    if {"-h", "--help"} & set(arguments):
        print(__doc__)
        return 0
    roots = [argument for argument in arguments if argument.startswith("records.root=")]
    names = [argument for argument in arguments if not argument.startswith("records.root=")]
    if len(names) != 1 or len(roots) > 1:
        given = " ".join(arguments)
        raise ConfigError(
            "the arguments", "one run, or all, and at most one records.root=<folder>", given, "see --help"
        )
    fix_tracking_uri()
    if stray := misplaced_character(names[0]):
        raise ConfigError("the arguments", "text without characters that cannot be seen", names[0], stray)
    records = Records.at(parse_arguments(Place, roots).records.root)
    if names[0] == "all":
        runs = [*records.all_studies(), *records.all_runs()]
    else:
        runs = with_study(records.find_run(names[0], "the run"))
    console = Console(soft_wrap=True, highlight=False, markup=False)
    if not runs:
        console.print(f"no runs in {records.runs}")
    delivered = [deliver(folder, console) for folder in runs]
    return 0 if all(delivered) else 1


def with_study(folder: RunFolder) -> list[RunFolder]:
    """Return a run, after the study that it is part of: MLflow needs that first."""
    try:
        parent = read_json(folder.facts).get("parent")
    except (OSError, ValueError):  # is said when the run is delivered
        parent = None
    return [folder] if parent is None else [RunFolder(folder.records.root / parent), folder]


def deliver(folder: RunFolder, console: Console) -> bool:
    """Bring MLflow up to date with a run's journal, and say so.

    Returns:
        Whether MLflow has all that it should: a run that was deleted there stays so.
    """
    server = public(tracking_uri(folder.records))
    if not folder.journal.exists():
        console.print(f"{folder.name}: nothing happened in it yet")
        return True
    try:
        with folder.owned(), native_stderr_to(Path(os.devnull)):
            refused = Delivery(folder).deliver()
    except ConfigError:
        console.print(f"{folder.name}: left alone, its own process is at it")
        return True
    except RunDeleted as error:
        console.print(f"{folder.name}: left alone in {server}: {error}", style="yellow")
        return True
    except Exception as error:  # whatever MLflow, its database or the network raise: the next run may still go
        console.print(f"{folder.name}: not delivered to {server}: {reason(error, folder.records)}", style="red")
        return False
    for line in refused:
        console.print(f"{folder.name}: refused: {line}", style="red")
    if not refused:
        console.print(f"{folder.name}: delivered to {server}")
    return not refused


if __name__ == "__main__":
    program.run(main)
