"""Freeing disk of what nothing needs."""

from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass, field

from rich.console import Console

from experiments.cli import entry
from experiments.cli.paths import shown
from experiments.cli.progress import Output, say, say_words
from experiments.housekeeping.unneeded import PAUSED, free, leftovers, remove_leftover, unneeded_checkpoints
from experiments.housekeeping.words import agreed, counted, say_left
from experiments.records.folders import Records
from experiments.records.overview import Search, find_searches, in_bytes, is_in_use, size_of
from experiments.records.status import RunState
from experiments.reports.index import refresh
from experiments.settings.rules import NotEmpty, setting
from experiments.settings.schema import RecordsConfig
from experiments.tracking.address import fix_tracking_uri
from experiments.tracking.removal import finish, unfinished
from gan.errors import ConfigError


@dataclass
class Tidying:
    study: str | None = setting(None, "tidy this search alone", NotEmpty())
    paused: bool = setting(False, "with study=: free the checkpoints of paused trials, which then cannot be resumed")
    dry_run: bool = setting(False, "say what would be freed, and remove nothing")
    yes: bool = setting(False, "do not ask, with paused=true")
    records: RecordsConfig = field(default_factory=RecordsConfig)


def tidy(args: Tidying) -> int:
    fix_tracking_uri()
    records = Records.at(args.records.root)
    console = Output(highlight=False, markup=False, soft_wrap=True)
    searches = find_searches(records, args.study)
    if args.paused and args.study is None:
        raise ConfigError("paused", "false without study=<name>, whose trials are meant", True)
    freed = sum(_tidy_search(search, args, console) for search in searches)
    code = entry.FINISHED
    if args.study is None:
        more, code = _tidy_rest(records, args.dry_run, console)
        freed += more
    if not args.dry_run:
        refresh(records, console)
    say_words(console, f"{'would    free ' if args.dry_run else 'freed    '}{in_bytes(freed)}")
    return code


def _tidy_search(search: Search, args: Tidying, console: Console) -> int:
    """Free what nothing needs of a search, say so, and return the bytes."""
    if is_in_use(search.folder):
        if args.study is not None:
            raise ConfigError("study", "one that no process searches", search.name, "stop that first")
        say_words(console, f"search   {search.name}: left alone, it is running")
        return 0
    with search.folder.owned("study") if not args.dry_run else nullcontext():
        every = unneeded_checkpoints(search, search.state == RunState.FINISHED, paused=True)
        unneeded = [each for each in every if each.why != PAUSED or args.paused]
        paused = [each for each in every if each.why == PAUSED]
        counts = Counter(each.why for each in unneeded)
        if unneeded:
            size = in_bytes(sum(each.size for each in unneeded))
            trials = ", ".join(f"{count} {why}" for why, count in counts.items())
            say_words(
                console, f"search   {search.name}: checkpoints of {counted(len(unneeded), 'run')} ({trials}), {size}"
            )
        if paused and not args.paused and args.study is not None:
            size = in_bytes(sum(each.size for each in paused))
            say_words(
                console,
                f"paused   {counted(len(paused), 'trial')} with {size}: a larger budget may promote them; paused=true frees that",
            )
        if args.dry_run:
            return sum(each.size for each in unneeded)
        if paused and args.paused:
            say_words(
                console,
                f"paused   {counted(len(paused), 'trial')}: an extended search that promotes one trains it from its beginning",
            )
            if not agreed(f"free the checkpoints of {counted(len(paused), 'paused trial')}?", args.yes):
                unneeded = [each for each in unneeded if each.why != PAUSED]
        return free(unneeded, "freed by python experiments/runs.py tidy")


def _tidy_rest(records: Records, dry_run: bool, console: Console) -> tuple[int, int]:
    """Remove what killed processes have left, say so, and return the bytes and the exit code."""
    left, begun = list(leftovers(records)), [run.name for run in unfinished(records)]
    size = sum(map(size_of, left)) + size_of(records.removed)
    for path in left:
        say(console, f"left     {shown(path)}: by a process that was killed")
    if begun:
        say(console, f"begun    {', '.join(begun)}: their removal was interrupted")
    if dry_run:
        return size, entry.FINISHED
    for path in left:
        remove_leftover(path)
    code = say_left(finish(records), records, console)
    return size - size_of(records.removed), code
