"""Deliver to MLflow what it missed while it could not be reached.

    python experiments/sync.py all
    python experiments/sync.py last 'ships-*'

The records of a run are complete in its folder whatever happened to the tracking
server; what was delivered before is not sent again.
"""

from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from experiments.cli import entry
from experiments.cli.arguments import with_arguments
from experiments.cli.progress import Output
from experiments.records.folders import Records, RunFolder
from experiments.reports.ending import say_next
from experiments.reports.index import refresh
from experiments.settings.rules import setting
from experiments.settings.schema import RecordsConfig
from experiments.tracking.address import fix_tracking_uri, public, serve_command, tracking_uri
from experiments.tracking.sync import deliver, why_unreachable, with_study
from gan.errors import ConfigError

ALL = "all"


@dataclass
class Sync:
    run: list[str] = setting([], "runs, also without run=: name, folder, MLflow id, last, a pattern, or all of them")
    records: RecordsConfig = field(default_factory=RecordsConfig)


def main(args: Sync) -> int:
    if not args.run:
        raise ConfigError("run", "given", None, "a name, a folder, an MLflow id, last, a pattern, or all")
    fix_tracking_uri()
    records = Records.at(args.records.root)
    if ALL in args.run and len(args.run) > 1:
        raise ConfigError("run", "all alone, or some runs", " ".join(args.run))
    if ALL in args.run:
        runs = [*records.all_studies(), *records.all_runs()]
    else:
        found = [folder for run in records.find_runs(args.run) for folder in with_study(run)]
        runs = list({folder.path: folder for folder in found}.values())
    console = Output(soft_wrap=True, highlight=False, markup=False)
    if not runs:
        console.print(f"no runs in {records.runs}")
        return 0
    by_root: dict[Path, list[RunFolder]] = {}  # a folder may be of other records than records.root
    for run in runs:
        by_root.setdefault(run.records.root, []).append(run)
    delivered = [_deliver(some, console) for some in by_root.values()]
    serve = serve_command(runs[-1].records)
    if all(delivered) and serve is not None:
        say_next(console, serve)
    return 0 if all(delivered) else entry.FAILED


def _deliver(runs: list[RunFolder], console: Console) -> bool:
    """Deliver runs of the same records, and return whether MLflow has all that it should."""
    records = runs[0].records
    if why := why_unreachable(records):
        console.print(f"nothing was delivered to {public(tracking_uri(records))}: {why}", style="red")
        return False
    delivered = [deliver(folder, console) for folder in runs]
    refresh(records, console)
    return all(delivered)


if __name__ == "__main__":
    entry.run(with_arguments(Sync, main, __doc__))
