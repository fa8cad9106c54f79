"""Deliver to MLflow what it missed while it could not be reached.

    python experiments/sync.py <run name, MLflow run id, folder, last or all> [records.root=<folder>]

The records of a run are complete in its folder whatever happened to the tracking
server; what was delivered before is not sent again.
"""

from dataclasses import dataclass, field

from experiments.cli import entry
from experiments.cli.arguments import parse_arguments
from experiments.cli.progress import Output
from experiments.records.folders import Records
from experiments.reports.ending import say_next
from experiments.reports.index import refresh
from experiments.settings.rules import misplaced_character
from experiments.settings.schema import RecordsConfig
from experiments.tracking.address import fix_tracking_uri, serve_command
from experiments.tracking.sync import deliver, with_study
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
        text = " ".join(arguments)
        raise ConfigError("the arguments", "one run, or all, and at most one records.root=<folder>", text, "see --help")
    fix_tracking_uri()
    if stray := misplaced_character(names[0]):
        raise ConfigError("the arguments", "text without characters that cannot be seen", names[0], stray)
    records = Records.at(parse_arguments(Place, roots).records.root)
    if names[0] == "all":
        runs = [*records.all_studies(), *records.all_runs()]
    else:
        runs = with_study(records.find_run(names[0], "the run"))
    console = Output(soft_wrap=True, highlight=False, markup=False)
    if not runs:
        console.print(f"no runs in {records.runs}")
        return 0
    delivered = [deliver(folder, console) for folder in runs]
    refresh(records, console)
    serve = serve_command(records)
    if all(delivered) and serve is not None:
        say_next(console, serve)
    return 0 if all(delivered) else entry.FAILED


if __name__ == "__main__":
    entry.run(main)
