"""Deliver to MLflow what it missed while it could not be reached.

    python experiments/sync.py <run name, MLflow run id, folder, last or all> [records.root=<folder>]

The records of a run are complete in its folder whatever happened to the tracking
server; what was delivered before is not sent again.
"""

import os
import sys
from pathlib import Path

from rich.console import Console

from experiments.native_log import native_stderr_to
from experiments.records import Records, RunFolder
from experiments.tracking import Delivery, public, tracking_uri
from gan.config import ConfigError


def main(arguments: list[str]) -> int:
    root = None
    names = []
    for argument in arguments:
        if argument.startswith("records.root="):
            root = argument.partition("=")[2]
        else:
            names.append(argument)
    if len(names) != 1:
        raise ConfigError("sync.py", "given one run, or all", " ".join(names))
    records = Records.at(root)
    runs = records.all_runs() if names[0] == "all" else [records.find_run(names[0], "the run")]
    console = Console(soft_wrap=True, highlight=False)
    failed = 0
    for folder in runs:
        failed += not _deliver(folder, console)
    return 1 if failed else 0


def _deliver(folder: RunFolder, console: Console) -> bool:
    if not folder.journal.exists():
        console.print(f"{folder.name}: nothing happened in it yet")
        return True
    try:
        with folder.owned(), native_stderr_to(Path(os.devnull)):
            Delivery(folder.records, folder).deliver()
    except ConfigError:
        console.print(f"{folder.name}: left alone, its own process is at it")
        return True
    except Exception as error:  # whatever MLflow, its database or the network raise: the next run may still go
        console.print(f"{folder.name}: not delivered to {public(tracking_uri(folder.records))}: {error}", style="red")
        return False
    console.print(f"{folder.name}: delivered")
    return True


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
