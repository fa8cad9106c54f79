"""The list of runs and searches."""

from dataclasses import dataclass, field

from experiments.cli.paths import command
from experiments.cli.progress import Output, say, say_words
from experiments.records.folders import Records
from experiments.records.status import RunState
from experiments.reports.ending import say_next
from experiments.reports.run_rows import SORTS, chosen, disk_use, read_rows
from experiments.reports.run_table import lines
from experiments.settings.rules import Choice, Interval, NotEmpty, setting
from experiments.settings.schema import RecordsConfig
from gan.errors import ConfigError, check_name


@dataclass
class Listing:
    study: str | None = setting(None, "list the trials of this search (or of those that a pattern fits)", NotEmpty())
    state: list[str] = setting([], f"list runs in these states alone: {', '.join(RunState)}")
    name: str | None = setting(None, "list runs whose names this pattern fits, as quick-*", NotEmpty())
    sort: str = setting(
        "newest", "what comes first; scores of different numbers of images cannot be compared", Choice(SORTS)
    )
    top: int = setting(30, "rows at most; 0 for all", Interval(0))
    trials: bool = setting(False, "a row for each trial, not one for each search")
    records: RecordsConfig = field(default_factory=RecordsConfig)


def list_runs(args: Listing) -> int:
    for state in args.state:
        check_name("state", state, [*RunState])
    records = Records.at(args.records.root)
    if records.root.exists() and not records.root.is_dir():
        raise ConfigError("records.root", "a folder", str(records.root))
    console = Output(highlight=False, markup=False)
    every = read_rows(records, args.trials, args.study)
    if args.study is not None and not every:
        names = ", ".join(folder.name for folder in records.all_studies()) or "none"
        raise ConfigError("study", "a search with trials", args.study, f"known: {names}")
    rows = chosen(every, args.name, args.state, args.sort)
    if not every:
        say(console, f"no runs in {records.runs}")
        say_next(console, command(records, "experiments/run.py", "experiment=quick"))
        return 0
    shown = rows[: args.top or None]
    if shown:
        for line in lines(shown, console):
            console.print(line, soft_wrap=True)
    if len(rows) < len(every):
        say_words(console, f"rows     {len(rows):,} of {len(every):,} match")
    if len(shown) < len(rows):
        say_words(console, f"rows     {len(shown):,} of {len(rows):,} shown; top=0 shows all")
    say_words(console, f"disk     {disk_use(records)}")
    return 0
