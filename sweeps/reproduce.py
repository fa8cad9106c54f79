"""Train the presets against each other, and make the numbers and figures of docs/results.md anew, beside ours.

    python sweeps/reproduce.py data.path=<CIFAR-10>               (make reproduce-results)
    python sweeps/reproduce.py data.path=<CIFAR-10> dry_run=true
    python sweeps/reproduce.py quick=true data.source=embedded    (make reproduce-quick)

First the searches, then each preset on fresh seeds, on classes that no search saw, in one
long run, and in short ones that show how often it fails. What is done stands in
results/*.csv under `out` and is not done again, unless the preset has changed since; a
training that was interrupted resumes from its checkpoint.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

import psutil
from rich.console import Console

from experiments.cli import entry
from experiments.cli.arguments import with_arguments
from experiments.cli.compose import compose_config
from experiments.cli.entry import stopped_by
from experiments.cli.paths import shown
from experiments.cli.progress import Output, stage
from experiments.cli.signals import handled
from experiments.hardware.cores import available_cores
from experiments.processes.process import fork_server
from experiments.records.folders import Records, make_folder
from experiments.reports import figures
from experiments.reports.groups import read_compared
from experiments.training.start import load_data
from gan.arrays import write_atomically
from gan.errors import ConfigError, first_line, nearest
from sweeps.reproduction.figures import curves_figure, latents_figure
from sweeps.reproduction.rows import CURVES, RUNS, Row, Rows, fill
from sweeps.reproduction.searches import FORMER_SEARCHES, SEARCHES, is_made, results, search
from sweeps.reproduction.settings import PRECISION, PRESETS, Reproduction, data_arguments
from sweeps.reproduction.tables import (
    best_table,
    importances_table,
    lead_table,
    look_table,
    mean_scores_table,
    race_table,
    ranks_table,
    robustness_table,
    scores_table,
    searches_table,
)
from sweeps.reproduction.trainings import CLASSES, SCORED, SEEDS, Trainer, Training, digests, folder_of, trainings
from sweeps.search import throughput
from sweeps.search.start import PRELOAD_WORKERS
from sweeps.spec.read_plan import read_plan
from sweeps.study import rungs

PAGES = ("results.md", "how_found.md")


def main(args: Reproduction) -> int:
    if unknown := sorted(set(args.presets) - set(PRESETS)):
        raise ConfigError("presets", f"some of {', '.join(PRESETS)}", ", ".join(unknown), nearest(unknown[0], PRESETS))
    console = Output(highlight=False, soft_wrap=True, markup=False)
    usual = Records.at(args.records.root).root / ("reproduce-quick" if args.quick else "reproduce")
    out = usual if args.out is None else Path(args.out).expanduser()
    every = trainings(args.quick)
    known = digests(every, args)
    runs, curves = Rows(out / "results" / "runs.csv", RUNS), Rows(out / "results" / "curves.csv", CURVES)
    _check(runs, known, args, console)
    runs.keep(lambda row: row["settings"] == known.get(row["run"]))
    done = {row["run"] for row in runs.all}
    curves.keep(lambda row: row["run"] in done)
    left = [each for each in every if each.name not in done and each.preset in args.presets]
    console.print(f"trainings {len(left)} of {len(every)} are left, {sum(each.steps for each in left):,} updates")
    searches = [name for name in list(SEARCHES)[: 1 if args.quick else None] if args.searches]
    searches = [name for name in searches if not is_made(name, args, out)]
    if searches:
        console.print(f"searches  {', '.join(searches)} are left")
    workers = args.workers or available_cores()
    if not args.quick:
        _estimate(args, workers, left, searches, console)
    if args.dry_run:
        return 0
    for folder in (out / "results", out / "images"):
        make_folder(folder, "out")
    begin = time.monotonic()
    with fork_server([PRELOAD_WORKERS]), _handed_on() as caught:

        def may_begin() -> bool:
            return not caught and (args.hours is None or time.monotonic() - begin < 3600 * args.hours)

        for name in searches:
            if may_begin() and (code := search(name, args, out)):
                return stopped_by(caught[0]) if caught else code
        failed = Trainer(args, known, runs, curves, console).train(left, workers, may_begin)
        if caught:
            console.print("stopped   the same command resumes")
            return stopped_by(caught[0])
        with stage(console, "drawing"):
            _draw(out, runs.all, curves.all, every)
            _same_latents(out, every, args, console)
    console.print(f"page      {shown(out / PAGES[0])}\nnumbers   {shown(runs.file)}, {shown(curves.file)}")
    return 1 if failed else 0


def _check(runs: Rows, known: dict[str, str], args: Reproduction, console: Console) -> None:
    """Raise ConfigError for missing images, or numbers of other images or trainings at `out`."""
    if others := [row["run"] for row in runs.all if row["run"] not in known]:
        raise ConfigError("out", "a folder of these trainings alone", str(runs.file.parent.parent), f"has {others[0]}")
    for of in dict.fromkeys([CLASSES[0], *(row["class"] for row in runs.all)]):
        config = compose_config([f"data.class_id={of}", *data_arguments(args)])
        images = load_data(config, Records.at(args.records.root), console)
        if unlike := [r["run"] for r in runs.all if r["class"] == of and r["dataset"] != images.sha256[:8]]:
            raise ConfigError("data", "the images of the numbers at out", images.description, f"{unlike[0]} had others")


def _draw(out: Path, runs: Sequence[Row], curves: Sequence[Row], every: Sequence[Training]) -> None:
    """Write the tables of the pages and draw the curves; words are left as they are."""
    steps = sorted({each.steps for each in every})
    usual = SCORED[-1] if SCORED[-1] in steps else steps[-1]
    tables = {f"{of} {count}": scores_table(runs, of, count) for of in CLASSES for count in steps}
    tables[f"way {usual}"] = mean_scores_table(curves, CLASSES[0], usual)
    tables["lead"] = lead_table(runs, PRESETS[0])
    tables["robustness"] = robustness_table(runs, steps[0])
    tables["searches"] = searches_table(results(out))
    tables |= {f"race {name}": race_table(found.get("race", {})) for name, found in results(out).items()}
    for name in (*FORMER_SEARCHES, *SEARCHES):
        if (trials := out / "results" / f"search_{name}.csv").exists():
            tables |= {f"search {name}": best_table(trials), f"ranks {name}": ranks_table(trials)}
        if (importances := out / "results" / f"importances_{name}.csv").exists():
            tables[f"importances {name}"] = importances_table(importances)
    tables |= {file.stem: look_table(file) for file in sorted((out / "results").glob("*_look.csv"))}
    pages = [out / name for name in PAGES if (out / name).exists()]
    for page in pages:
        write_atomically(page, fill(page.read_text(encoding="utf-8"), tables).encode())
    if not pages:
        text = "".join(f"## {name}\n\n<!-- {name} -->\n{table}<!-- end -->\n\n" for name, table in tables.items())
        write_atomically(out / PAGES[0], f"# Results\n\n{text}".encode())
    if curves:
        figures.save_png(lambda: curves_figure(curves, "ship", usual), out / "images" / "results_curves.png")


def _same_latents(out: Path, every: Sequence[Training], args: Reproduction, console: Console) -> None:
    """Draw one seed of each preset side by side, where their runs are on this machine."""
    shown_steps = SCORED[-1] if not args.quick else every[0].steps
    chosen = [e for e in every if (e.of, e.seed, e.steps) == (CLASSES[0], SEEDS[0], shown_steps)]
    if not all(folder_of(each, args).config.is_file() for each in chosen):
        console.print("figures   as they were: the runs are not among the records here")
        return
    runs = {each.preset: read_compared(folder_of(each, args)) for each in chosen}
    config = compose_config([f"data.class_id={CLASSES[0]}", *data_arguments(args)])
    real = load_data(config, Records.at(args.records.root), Console(quiet=True)).train
    figures.save_png(lambda: latents_figure(runs, real), out / "images" / "results_latents.png")


def _estimate(
    args: Reproduction, workers: int, left: Sequence[Training], searches: Sequence[str], console: Console
) -> None:
    hours = 0.0
    for preset in PRESETS:
        updates = sum(each.steps for each in left if each.preset == preset)
        if preset == "tutorial":  # where searches begin; trials that are pruned make it less
            plans = [read_plan(SEARCHES[name]) for name in searches]
            updates += sum(rungs.expected_updates(plan) + rungs.race_updates(plan) for plan in plans)
        if updates:
            with stage(console, f"measuring the throughput of {preset}, {workers} side by side"):
                plan = read_plan(
                    [f"experiment={preset}", PRECISION, *data_arguments(args), f"search.workers={workers}"]
                )
                hours += throughput.OVERHEAD_FACTOR * updates * throughput.measure(plan).update_seconds / workers / 3600
    if hours:
        console.print(f"time      at most about {hours:.1f} h, {workers} trainings at a time")


@contextlib.contextmanager
def _handed_on() -> Iterator[list[int]]:
    """Collect signals, and let the programs below this one save their state and end, as Ctrl-C in a terminal does."""
    caught: list[int] = []

    def hand_on(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                if os.getsid(process.pid) == os.getsid(0):  # those of other sessions are told by their searches
                    process.send_signal(signal.SIGINT)

    with handled(hand_on):
        yield caught


if __name__ == "__main__":
    entry.run(with_arguments(Reproduction, main, __doc__), failures={throughput.CannotMeasure: first_line})
