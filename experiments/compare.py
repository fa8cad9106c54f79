"""Which run is better, and why: one HTML page, and its figures as PNGs.

    python experiments/compare.py run=last run=best:gan
    python experiments/compare.py 'run=20261125-*' run=baseline
    python experiments/compare.py study=gan top=5
    python experiments/compare.py study=gan top=3 run=baseline out=~/pages/gan

The page has the settings that differ, curves of scores and losses, the same latents at
equal steps, real images, and final scores with their standard deviation over seeds. Runs that differ
in nothing but the seed stand together. Scores in different extractors, of different
numbers of images or on different data are refused.
"""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from experiments import ROOT
from experiments.cli import entry
from experiments.cli.arguments import with_arguments
from experiments.cli.paths import shown
from experiments.cli.progress import Output, say, say_words, stage
from experiments.records.folders import Records, check_folder, make_folder, new_folder
from experiments.reports import figures
from experiments.reports.figures import SavedFigure
from experiments.reports.groups import (
    Compared,
    Group,
    check_alike,
    common_steps,
    descent,
    differing,
    find_runs,
    grouped,
    in_words,
    marks,
    read_run,
)
from experiments.reports.page import render
from experiments.reports.statistics import CONFIDENCE, compare_with_control, mean, standard_deviation
from experiments.settings.rules import Interval, NotEmpty, setting
from experiments.settings.schema import DataPlace, RecordsConfig
from experiments.tracking.address import fix_tracking_uri, serve_command
from experiments.tracking.delivery import Delivery
from experiments.training.start import check_same_images, load_data
from gan import metric_names
from gan.arrays import write_atomically
from gan.errors import ConfigError
from gan.images import grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Mark = tuple[int, int]  # indices of a run's colour and line

TEMPLATE = ROOT / "experiments" / "reports" / "compare.html"
MOST_RUNS = 18  # that colours and lines can tell apart
CSS = ("solid", "dashed", "dotted")  # what figures.LINES are there
FIGURES = ("scores", "losses", "latents", "final")  # file names
COLUMNS = 5  # steps whose samples stand side by side
SCORES = {  # by name: title, what is better
    metric_names.FID: ("FID proxy", "lower is better"),
    metric_names.KID: ("KID proxy", "lower is better"),
    metric_names.DENSITY: ("density", "1 is like real images"),
    metric_names.COVERAGE: ("coverage", "higher is better"),
    metric_names.NN_DISTANCE: ("nn_distance", "1 is like held-out images; far less means copies"),
}
IN_RUN = (
    "Some of these runs, as the trials of a search, have no score of their own at the end. So they are compared by "
    f"the score in the run: the mean of its last {metric_names.LAST_SCORES}, which a search minimises too."
)
LOSSES = {
    metric_names.D_LOSS: ("discriminator's loss", "mean"),
    metric_names.G_LOSS: ("generator's loss", "mean"),
    metric_names.D_REAL: ("D's probability for real images", "mean"),
    metric_names.D_FAKE: ("D's probability for generated ones", "mean"),
}


@dataclass
class Comparison:
    run: list[str] = setting([], "runs, one run= each: MLflow id, name, folder, last, best:<study>, or a pattern")
    study: str | None = setting(None, "a search whose best trials are compared", NotEmpty())
    top: int = setting(5, "how many of them", Interval(1, MOST_RUNS))
    out: str | None = setting(None, "folder for page and figures; by default a new one in the records", NotEmpty())
    overwrite: bool = setting(False, "replace a comparison that is at `out`")
    data: DataPlace = field(default_factory=DataPlace)
    records: RecordsConfig = field(default_factory=RecordsConfig)


def main(args: Comparison) -> int:
    console = Output(highlight=False, soft_wrap=True, markup=False)
    fix_tracking_uri()
    records = Records.at(args.records.root)
    folders = find_runs(records, args.run, args.study, args.top)
    if not 2 <= len(folders) <= MOST_RUNS:
        names = ", ".join(folder.name for folder in folders) or "none"
        if len(folders) < len(args.run):
            names += ", more than once"
        raise ConfigError("run", f"given 2 to {MOST_RUNS} times (or study=<name> top=<count>)", names)
    runs = [read_run(folder) for folder in folders]
    check_alike(runs)
    groups = grouped(runs)
    chosen = _out(args, records)

    with stage(console, "drawing"):
        images = real_images(runs[0], args.data.path, records)
        if chosen is not None:
            make_folder(chosen, "out")
        out = chosen or new_folder(records.comparisons)
        runs = [run for group in groups for run in group.runs]
        styles = marks(groups, len(figures.COLOURS["light"]), len(figures.LINES))
        sections = draw(runs, groups, styles, images, out)
        drawn = {
            file
            for section in sections.values()
            if isinstance(section, SavedFigure)
            for file in (section.light, section.dark)
        }
        for file in {out / f"{name}{dark}.png" for name in FIGURES for dark in ("", "_dark")} - drawn:
            file.unlink(missing_ok=True)  # of an earlier comparison
        page = out / "compare.html"
        write_atomically(page, _page(runs, groups, styles, sections).encode())
    console.print(_table(groups), soft_wrap=False)
    if headline(groups) == metric_names.FID_PROXY:
        say_words(console, f"score    {IN_RUN}")
    for line in filter(None, map(descent, runs)):
        say_words(console, f"networks {line}")
    say(console, f"page     {shown(page)}")
    return 0


def _out(args: Comparison, records: Records) -> Path | None:
    """Return the folder that the user chose, None for a new one in the records. Raises ConfigError."""
    if args.out is None:
        check_folder(records.comparisons, "records.root")
        return None
    out = Path(args.out).expanduser()
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
        dataset = load_data(run.config, records, Console(quiet=True), run.facts)
        check_same_images(dataset, run.facts, "data.path")
    except ConfigError as error:
        if path is not None:
            raise
        return f"{error} (data.path=... says where they are now)"
    return dataset.train


def draw(
    runs: Sequence[Compared], groups: Sequence[Group], styles: Sequence[Mark], real: np.ndarray | str, out: Path
) -> dict[str, SavedFigure | str]:
    """Draw the figures of a comparison.

    Args:
        runs: in the order of the groups.
        groups: of these runs.
        styles: colour and line of each run.
        real: images, (N, 32, 32, 3) uint8, or why there are none.
        out: folder of the figures.

    Returns:
        The figures by section, or a sentence that says why one cannot be drawn.
    """
    count = runs[0].config.eval.num_images
    sections: dict[str, SavedFigure | str] = {}
    if any(metric_names.FID_PROXY in run.curves for run in runs):
        panels = {f"eval/{name}": title for name, title in SCORES.items() if name != metric_names.NN_DISTANCE}
        caption = f"Scores of {count:,} images during the runs, always of the same latents."
        sections["Scores"] = figures.save(
            "scores over updates", lambda theme: _curves(theme, runs, styles, panels), out / "scores.png", caption
        )
    else:
        sections["Scores"] = "No run has been scored yet."
    sections["Losses"] = figures.save(
        "losses over updates", lambda theme: _curves(theme, runs, styles, LOSSES), out / "losses.png",
        "Means since the point before.",
    )  # fmt: skip
    sections["The same latents"] = _same_latents(runs, real, out)
    metric = headline(groups)
    if len(groups) > 1 and any(group.values(metric) for group in groups):
        evaluation = runs[0].config.eval
        count = evaluation.final_num_images if metric == metric_names.FINAL_FID_PROXY else evaluation.num_images
        sections["Final scores"] = figures.save(
            "FID proxy", lambda theme: _finals(theme, groups, styles, metric), out / "final.png",
            f"{count:,} images; each dot a seed, the bar mean ± standard deviation.",
        )  # fmt: skip
    return sections


def _curves(
    theme: str, runs: Sequence[Compared], styles: Sequence[Mark], panels: dict[str, tuple[str, str]]
) -> "Figure":
    figure = figures.new_figure(10, 6.6 + 0.22 * math.ceil(len(runs) / 2))
    for axes, (metric, (title, unit)) in zip(figure.subplots(2, 2).flat, panels.items(), strict=True):
        for run, mark in zip(runs, styles, strict=True):
            steps, values = run.curves.get(metric, ([], []))
            marker = "o" if len(steps) < 20 else ""
            axes.plot(steps, values, marker=marker, markersize=3, label=run.name, **figures.style(theme, mark))
        axes.set(title=title, xlabel="updates", ylabel=unit)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        if "lower" in unit:
            axes.set_ylim(bottom=0)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2 if len(runs) > 1 else 1)
    return figure


def _same_latents(runs: Sequence[Compared], real: np.ndarray | str, out: Path) -> SavedFigure | str:
    dims = {run.config.model.latent_dim for run in runs}
    if len(dims) > 1:
        return f"The runs have latents of {' and '.join(map(str, sorted(dims)))} numbers: none are the same."
    steps = common_steps(runs, COLUMNS)
    if not steps:
        return "There is no step at which all runs drew samples."
    caption = "Each row a run, each column a step; the same place in all samples is the same latent."
    caption += f" No real images: {real}" if isinstance(real, str) else " Below, real images."
    return figures.save(
        "the same latents at equal steps", lambda _: _sheet(runs, steps, real), out / "latents.png", caption
    )


def _sheet(runs: Sequence[Compared], steps: Sequence[int], real: np.ndarray | str) -> "Figure":
    """Draw rows of samples, one a run, and one of real images."""
    rows = len(runs) + (not isinstance(real, str))
    figure = figures.new_figure(2.1 * len(steps) + 0.4, 2.25 * rows + 0.3)
    axes = figure.subplots(rows, len(steps), squeeze=False)
    for row, run in zip(axes, runs, strict=False):
        for place, step in zip(row, steps, strict=True):
            with Image.open(run.samples[step]) as image:
                figures.show_pixels(place, np.asarray(image))
        row[0].set_ylabel("\n".join(textwrap.wrap(run.name, 26)))
    for place, step in zip(axes[0], steps, strict=True):
        place.set_title(f"{step:,} updates")
    if not isinstance(real, str):
        tiles = np.resize(np.arange(len(real)), 16 * len(steps)).reshape(len(steps), 16)
        for place, indices in zip(axes[-1], tiles, strict=True):
            figures.show_pixels(place, grid(real[indices], 4, 4))
        axes[-1, 0].set_ylabel("real images")
    return figure


def _finals(theme: str, groups: Sequence[Group], styles: Sequence[Mark], metric: str) -> "Figure":
    figure = figures.new_figure(10, 1.2 + 0.5 * len(groups))
    axes = figure.subplots()
    index = 0
    for place, group in enumerate(groups):
        values = group.values(metric)
        colour = figures.style(theme, styles[index])["color"]
        axes.scatter(values, [place] * len(values), color=colour, s=30, zorder=3)
        if len(values) > 1:
            std = standard_deviation(values)
            axes.errorbar(mean(values), place + 0.2, xerr=std, fmt="|", color=colour, capsize=4, markersize=10)
        index += len(group.runs)
    axes.set_yticks(range(len(groups)), ["\n".join(textwrap.wrap(group.name, 40)) for group in groups])
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.set_xlabel("FID proxy (lower is better)")
    axes.set_xlim(left=0)
    return figure


def headline(groups: Sequence[Group]) -> str:
    """Return the metric that ranks groups: the final score, or where some have none, the one during the runs."""
    return (
        metric_names.FINAL_FID_PROXY
        if all(group.values(metric_names.FINAL_FID_PROXY) for group in groups)
        else metric_names.FID_PROXY
    )


def columns(groups: Sequence[Group]) -> dict[str, tuple[str, str]]:
    """Return title and direction of each score that some group has; the one that ranks them comes first."""
    metrics = {metric: SCORES[metric.partition("/")[2]] for metric in (f"final/{name}" for name in SCORES)}
    metrics[metric_names.FID_PROXY] = ("FID proxy in the run", "lower is better")
    order = sorted(metrics, key=lambda metric: metric != headline(groups))
    return {metric: metrics[metric] for metric in order if any(group.values(metric) for group in groups)}


def _table(groups: Sequence[Group]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("runs", overflow="fold")  # nothing is cut
    scores = [metric for metric in (headline(groups), f"final/{metric_names.COVERAGE}") if metric in columns(groups)]
    for title in (*(columns(groups)[metric][0] for metric in scores), "seeds", "updates"):
        table.add_column(title, justify="right", no_wrap=True)
    for group in groups:
        table.add_row(group.name, *map(group.summary, scores), str(len(group.runs)), _steps(group))
    return table


def _steps(group: Group) -> str:
    return " and ".join(f"{step:,}" for step in sorted({run.step for run in group.runs}))


def _page(
    runs: Sequence[Compared], groups: Sequence[Group], styles: Sequence[Mark], sections: dict[str, SavedFigure | str]
) -> str:
    scores = columns(groups)
    rows = [
        {
            "name": group.name,
            "seeds": len(group.runs),
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
        differing={key: [in_words(value) for value in values] for key, values in differing(runs).items()},
        rows=rows,
        scores=list(scores.values()),
        in_run=IN_RUN if headline(groups) == metric_names.FID_PROXY else "",
        partly=any(not group.values(metric) for metric in scores for group in groups),
        result=_result(groups),
        figures={title: section for title, section in sections.items() if isinstance(section, SavedFigure)},
        missing={title: section for title, section in sections.items() if isinstance(section, str)},
        descents=list(filter(None, map(descent, runs))),
        tags=runs[0].facts["tags"],
        description=runs[0].facts["dataset"]["description"],
        num_images=runs[0].config.eval.num_images,
        final_num_images=runs[0].config.eval.final_num_images,
        unequal=len({run.step for run in runs}) > 1,
        serve=serve_command(runs[0].folder.records),
    )


def _result(groups: Sequence[Group]) -> str:
    """Say which settings have the lowest mean, and whether it is shown to be lower than that of all others.

    The control of Dunnett's intervals is the group with the lowest mean. If the intervals of all others lie above 0,
    it is the best; equal groups are so told apart in at most 5 % of comparisons (Hsu, 1984).
    """
    metric = headline(groups)
    scored = sorted((group for group in groups if group.values(metric)), key=lambda group: mean(group.values(metric)))
    if len(scored) < 2:
        return ""
    first, second, *_ = scored
    words = f"{first.name} has the lowest {columns(groups)[metric][0]}: {first.summary(metric)} against "
    words += f"{second.summary(metric)} of {second.name}"
    differences = compare_with_control([group.values(metric) for group in scored[1:]], first.values(metric))
    if not differences[0].has_interval:
        return f"{words}. One seed of one of them says little: seeds of equal settings differ by units."
    words += (
        f" (difference {differences[0].value:.3g}, {CONFIDENCE:.0%} interval "
        f"{differences[0].low:.3g} to {differences[0].high:.3g})."
    )
    unsure = [group.name for group, other in zip(scored[1:], differences, strict=True) if not other.low > 0]
    return f"{words} It is not shown to be lower than that of {', '.join(unsure)}." if unsure else words


if __name__ == "__main__":
    entry.run(with_arguments(Comparison, main, __doc__))
