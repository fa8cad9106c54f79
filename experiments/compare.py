"""Which run is better, and why: one HTML page.

    python experiments/compare.py last best:gan
    python experiments/compare.py 'quick-lr*' quick
    python experiments/compare.py study=gan top=5
    python experiments/compare.py study=gan top=3 run=tuned out=~/pages/gan

The page says first which settings are better and by how much, with an interval from two
seeds on, and shows the same latents drawn by each. Then come final scores with their
standard deviation over seeds, the settings that differ, curves of scores and losses, and
real images. Runs that differ in nothing but the seed stand together, and a group is named
by its settings. Scores in different extractors, of different numbers of images at the end
or on different data are refused.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from experiments import ROOT
from experiments.cli import entry
from experiments.cli.arguments import with_arguments
from experiments.cli.paths import command, shown
from experiments.cli.progress import Output, say, say_words, stage
from experiments.records.folders import Records, check_folder, make_folder, new_folder
from experiments.reports.comparison_figures import LINES, Mark, Sections, Sheet, counts, draw
from experiments.reports.ending import say_next
from experiments.reports.figures import COLOURS
from experiments.reports.groups import (
    MOST_RUNS,
    Compared,
    Group,
    best_trials,
    comparable,
    differing,
    grouped,
    lineage,
    marks,
    read_compared,
)
from experiments.reports.index import refresh
from experiments.reports.page import render
from experiments.reports.result import by_in_run_score, columns, heading, ranking, result
from experiments.reports.slider import Slider, as_jpeg, make_slider
from experiments.settings.rules import Interval, NotEmpty, setting
from experiments.settings.schema import DataPlace, RecordsConfig
from experiments.settings.text import brief
from experiments.tracking.address import fix_tracking_uri, serve_command
from experiments.tracking.delivery import Delivery
from experiments.training.start import check_same_images, load_data
from gan import metric_names
from gan.arrays import write_atomically
from gan.errors import ConfigError

TEMPLATE = ROOT / "experiments" / "reports" / "compare.html"
CSS = ("solid", "dashed", "dotted")  # what comparison_figures.LINES are there
TOP = 5  # trials of a search
NAMED = 3  # runs in an error
MOST_SHOWN = 6  # groups whose samples stand first
IN_RUN = (
    "Some of these runs, as the trials of a search, have no score of their own at the end. So they are compared by "
    f"the score in the run: the mean of its last {metric_names.LAST_SCORES}, which a search minimises too."
)


@dataclass
class Comparison:
    run: list[str] = setting(
        [], "runs: MLflow id, name, folder, last, best:<study>, or a pattern; run= may be left out"
    )
    study: str | None = setting(None, "a search whose best trials are compared", NotEmpty())
    top: int | None = setting(None, f"how many of them; by default {TOP}", Interval(1, MOST_RUNS))
    out: str | None = setting(None, "folder for page and figures; by default a new one in the records", NotEmpty())
    overwrite: bool = setting(False, "replace a comparison that is at `out`")
    data: DataPlace = field(default_factory=DataPlace)
    records: RecordsConfig = field(default_factory=RecordsConfig)


def main(args: Comparison) -> int:
    console = Output(highlight=False, soft_wrap=True, markup=False)
    fix_tracking_uri()
    records = Records.at(args.records.root)
    if args.top is not None and args.study is None:
        raise ConfigError("top", "absent without study=", args.top)
    trials = best_trials(records, args.study, args.top or TOP) if args.study is not None else []
    folders = list({folder.path: folder for folder in [*records.find_runs(args.run), *trials]}.values())
    if not 2 <= len(folders) <= MOST_RUNS:
        names = ", ".join(folder.name for folder in folders[:NAMED]) or "none"
        if len(folders) > NAMED:
            names += f" and {len(folders) - NAMED:,} more"
        if len(folders) < len(args.run):
            names += ", more than once"
        remedy = "compare.py <run> <run>, or study=<name> top=<count>"
        raise ConfigError("run", f"2 to {MOST_RUNS} different runs", names, remedy)
    runs = [read_compared(folder) for folder in folders]
    runs = comparable(runs)
    groups = grouped(runs)
    chosen = _out(args, records)

    with stage(console, "drawing"):
        images = real_images(runs[0], args.data.path, records)
        runs = [run for group in groups for run in group.runs]
        styles = marks(groups, len(COLOURS["light"]), len(LINES))
        sections = draw(runs, groups, styles, images)
        text = _page(runs, groups, styles, sections)
        if chosen is not None:
            make_folder(chosen, "out")
        page = (chosen or new_folder(records.comparisons)) / "compare.html"
        write_atomically(page, text.encode())
    if words := result(groups):
        say_words(console, f"result   {words}")
    console.print(_table(groups), soft_wrap=False)
    if by_in_run_score(groups):
        say_words(console, f"score    {IN_RUN}")
    for line in filter(None, map(lineage, runs)):
        say_words(console, f"networks {line}")
    say(console, f"page     {shown(page)}")
    refresh(records, console)
    lowest = min(runs, key=lambda run: _or_infinite(run.value(ranking(groups))))
    say_next(console, command(lowest.folder.records, "experiments/generate.py", lowest.name))
    return 0


def _or_infinite(score: float | None) -> float:
    return math.inf if score is None else score


def _out(args: Comparison, records: Records) -> Path | None:
    """Return the folder that the user chose, None for a new one in the records. Raises ConfigError."""
    if args.out is None:
        check_folder(records.comparisons, "records.root")
        return None
    out = Path(args.out).expanduser()
    if out.suffix.lower() == ".html":
        raise ConfigError("out", "a folder, which gets compare.html and its figures", args.out)
    if out.is_dir() and any(out.iterdir()):
        if not args.overwrite:
            raise ConfigError("out", "an empty folder or a new one", args.out, "overwrite=true replaces it")
        if not (out / "compare.html").is_file():
            raise ConfigError("out", "a comparison, where it is replaced", args.out, "it has no compare.html")
    check_folder(out, "out")
    return out


def real_images(run: Compared, path: str | None, records: Records) -> np.ndarray | str:
    """Load the real images of a run's data set.

    Args:
        run: whose images are loaded.
        path: where they are now; None for the run's own path.
        records: with the cache.

    Returns:
        The images, (N, 32, 32, 3) uint8, or a sentence that says why there are none.

    Raises:
        ConfigError: if there are none at `path`, or others.
    """
    if path is not None:
        run.config.data.path = path
    try:
        dataset = load_data(run.config, records, Console(quiet=True))
        check_same_images(dataset, run.facts, "data.path")
    except ConfigError as error:
        if path is not None:
            raise
        return f"{error} (data.path=... says where they are now)"
    return dataset.train


def _samples(groups: Sequence[Group]) -> tuple[Slider | None, dict[str, str], str]:
    """Return what shows the same latents by each group: a slider, the last samples where no step is common, and words.

    Of each group it is one run, of a seed that all groups have, if there is one.
    """
    seeds = set.intersection(*({run.config.seed for run in group.runs} for group in groups))
    seed = min(seeds, default=None)
    shown_runs = {
        group.name: next((run for run in group.runs if run.config.seed == seed), group.runs[0])
        for group in groups[:MOST_SHOWN]
    }
    last = {name: run.last_samples for name, run in shown_runs.items()}
    if not any(last.values()):
        return None, {}, "No run has samples."
    words = "The same latents by each"
    if len({run.config.model.latent_dim for run in shown_runs.values()}) > 1:
        words = "Latents of other lengths are other latents"
    words += f", seed {seed}" if seed is not None else ""
    words += f"; the first {MOST_SHOWN} of {len(groups)}" if len(groups) > MOST_SHOWN else ""
    slider = make_slider({name: run.samples for name, run in shown_runs.items()})
    steps = {each[0] for each in last.values() if each is not None}
    if slider is not None and steps == {slider.steps[-1]}:
        return slider, {}, f"{words}."
    ends = {f"{name}, {each[0]:,} updates": as_jpeg(each[1]) for name, each in last.items() if each is not None}
    missing = [name for name, each in last.items() if each is None]
    words += f"; no samples of {', '.join(missing)}" if missing else ""
    return slider, ends, f"{words}."


def _table(groups: Sequence[Group]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("runs", overflow="fold")  # nothing is cut
    scores = [metric for metric in (ranking(groups), f"final/{metric_names.COVERAGE}") if metric in columns(groups)]
    for title in (*(columns(groups)[metric][0] for metric in scores), "seeds", "updates"):
        table.add_column(title, justify="right", no_wrap=True)
    for group in groups:
        table.add_row(group.name, *map(group.summary, scores), group.seeds_in_words(ranking(groups)), _steps(group))
    return table


def _steps(group: Group) -> str:
    return " and ".join(f"{step:,}" for step in sorted({run.step for run in group.runs}))


def _notes(runs: Sequence[Compared]) -> dict[str, list[str]]:
    """Return a row with what the user wants to remember of each run; none where no run has a note."""
    notes = [str(run.facts.get("note") or "") for run in runs]
    return {"note": notes} if any(notes) else {}


def _page(runs: Sequence[Compared], groups: Sequence[Group], styles: Sequence[Mark], sections: Sections) -> str:
    scores = columns(groups)
    slider, ends, shown_words = _samples(groups)
    rows = [
        {
            "name": group.name,
            "seeds": group.seeds_in_words(ranking(groups)),
            "steps": _steps(group),
            "scores": [group.summary(metric) for metric in scores],
        }
        for group in groups
    ]
    return render(
        TEMPLATE,
        runs=[
            (run, f"--c{colour}", CSS[line], Delivery(run.folder).url)
            for run, (colour, line) in zip(runs, styles, strict=True)
        ],
        differing={key: [brief(value) for value in values] for key, values in differing(runs).items()} | _notes(runs),
        rows=rows,
        scores=list(scores.values()),
        in_run=IN_RUN if by_in_run_score(groups) else "",
        partly=any(not group.values(metric) for metric in scores for group in groups),
        title=heading(groups),
        result=result(groups),
        samples=slider,
        ends=ends,
        shown=shown_words,
        names=[group.name_of(run) for group in groups for run in group.runs],
        sheet=next((section for section in sections.values() if isinstance(section, Sheet)), None),
        charts={title: section for title, section in sections.items() if isinstance(section, list)},
        missing={title: section for title, section in sections.items() if isinstance(section, str)},
        lineages=list(filter(None, map(lineage, runs))),
        extractor=runs[0].facts["tags"].get("fid_proxy_id", "an unknown extractor"),
        description=runs[0].facts["dataset"]["description"],
        num_images=counts(runs),
        final_num_images=runs[0].config.eval.final_num_images,
        unequal=len({run.step for run in runs}) > 1,
        serve=serve_command(runs[0].folder.records),
    )


if __name__ == "__main__":
    entry.run(with_arguments(Comparison, main, __doc__))
