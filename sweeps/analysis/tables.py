"""The rows of results/runs.csv and results/curves.csv, and the page that is made from them."""

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.reports import figures
from experiments.reports.groups import Compared, common_steps
from experiments.reports.statistics import compare_with_control, mean, mean_and_std
from gan import metric_names
from gan.arrays import write_atomically
from gan.errors import ConfigError
from gan.images import grid, read_pixels
from sweeps.study.states import State

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = dict[str, str]

COLUMNS = 5  # steps whose samples stand side by side

SCORES = (metric_names.FID, metric_names.KID, metric_names.DENSITY, metric_names.COVERAGE, metric_names.NN_DISTANCE)
RUNS = (
    "run", "preset", "class", "seed", "steps", "step", "outcome", *SCORES, "steps_per_second", "seconds",
    "settings", "fid_proxy_id", "dataset", "commit",
)  # fmt: skip
CURVES = ("run", "preset", "class", "seed", "steps", "step", metric_names.FID)


class Rows:
    """A small CSV file that holds what is done; each change is written at once, whole."""

    def __init__(self, file: Path, columns: Sequence[str]) -> None:
        self.file, self._columns = file, columns
        self.all: list[Row] = []
        if file.exists():
            with open(file, encoding="utf-8", newline="") as stream:
                reader = csv.DictReader(stream)
                if tuple(reader.fieldnames or ()) != tuple(columns):
                    raise ConfigError("out", f"a folder whose {file.name} has this program's columns", str(file))
                self.all = list(reader)

    def keep(self, is_kept: Callable[[Row], bool]) -> None:
        """Forget the other rows; the next `add` removes them from the file."""
        self.all = [row for row in self.all if is_kept(row)]

    def add(self, rows: Iterable[Row]) -> None:
        self.all += rows
        write_csv(self.file, self._columns, sorted(self.all, key=lambda row: (row["run"], int(row["step"]))))


def write_csv(file: Path, columns: Sequence[str], rows: Iterable[Row]) -> None:
    """Write a CSV file, whole or not at all.

    Args:
        file: to write; its folder is made.
        columns: in order.
        rows: a value by column; columns that a row lacks are empty.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, text.getvalue().encode())


def fill(page: str, tables: dict[str, str]) -> str:
    """Return a Markdown page with new tables between `<!-- name -->` and `<!-- end -->`."""
    for name, table in tables.items():
        marked = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        page = marked.sub(lambda match, table=table: f"{match[1]}{table}{match[2]}", page)  # type: ignore[misc]
    return page


FEW = 5  # different numbers, up to which a setting's values are taken for choices
SMALLEST_P_VALUE = 1e-4  # that is printed
NOTHING = "(Still to be made.)\n"


def scores_table(rows: Sequence[Row], of: str, steps: int) -> str:
    """Return mean ± standard deviation over the seeds of each preset, at each scored step.

    Args:
        rows: of runs.csv.
        of: the class.
        steps: updates of the trainings.
    """
    lines = ["| updates | preset | seeds | FID proxy | KID | density | coverage | nn_distance | updates/s | minutes |"]
    lines.append("|---" * 10 + "|")
    selected = [row for row in rows if row["class"] == of and row["steps"] == str(steps)]
    for step in sorted({int(row["step"]) for row in selected if row["outcome"] != "diverged"}):
        for preset in _presets(selected):
            ran = [row for row in selected if row["outcome"] != "diverged"]  # others have no scores
            group = [row for row in ran if row["preset"] == preset and row["step"] == str(step)]
            if group:
                cells = [mean_and_std(_numbers(group, name)) for name in SCORES]
                minutes = (
                    mean_and_std([seconds / 60 for seconds in _numbers(group, "seconds")]) if step == steps else ""
                )
                speed = mean_and_std(_numbers(group, "steps_per_second")) if step == steps else ""
                lines.append(f"| {step:,} | `{preset}` | {len(group)} | {' | '.join(cells)} | {speed} | {minutes} |")
    return "\n".join(lines) + "\n" if selected else NOTHING


def lead_table(rows: Sequence[Row], baseline: str) -> str:
    """Return how far the mean FID proxy of each preset lies below the baseline's, by Dunnett's test over the seeds.

    At each length of training, and for each class, all other presets are compared with the baseline together.
    """
    lines = [f"| class | updates | preset | seeds | lower than `{baseline}` by | 95 % | p-value |", "|---" * 7 + "|"]
    scored = [row for row in rows if row["outcome"] != "diverged"]
    for step, of in sorted({(int(row["step"]), row["class"]) for row in scored}):
        at_step = [row for row in scored if row["class"] == of and row["step"] == str(step)]
        groups = {p: [float(row[metric_names.FID]) for row in at_step if row["preset"] == p] for p in _presets(at_step)}
        control = groups.pop(baseline, [])
        differences = compare_with_control(list(groups.values()), control) if groups and control else []
        for (preset, scores), difference in zip(groups.items(), differences, strict=False):
            if difference.has_interval:
                lines.append(
                    f"| {of} | {step:,} | `{preset}` | {len(scores)} and {len(control)} | "
                    f"{-difference.value:.3g} | {-difference.high:.3g} to {-difference.low:.3g} | "
                    f"{_p_value(difference.p_value)} |"
                )
    return "\n".join(lines) + "\n" if len(lines) > 2 else NOTHING


def _p_value(value: float) -> str:
    """Return a p-value as text; Dunnett's are integrated with random numbers, to some five digits."""
    return f"{value:.2g}" if value >= SMALLEST_P_VALUE else f"< {SMALLEST_P_VALUE:g}"


def _numbers(rows: Sequence[Row], column: str) -> list[float]:
    """Return a column of a table as numbers."""
    return [float(row[column]) for row in rows]


def _presets(rows: Sequence[Row]) -> list[str]:
    """Return the presets in the order of the rows."""
    return list(dict.fromkeys(row["preset"] for row in rows))


def mean_scores_table(curves: Sequence[Row], of: str, steps: int) -> str:
    """Average the scores of each training, and return mean ± standard deviation of that over the seeds of each preset.

    Args:
        curves: rows of curves.csv.
        of: the class.
        steps: updates of the trainings.
    """
    selected = [row for row in curves if row["class"] == of and row["steps"] == str(steps)]
    ways: dict[str, dict[str, list[float]]] = {}  # by preset and seed
    for row in selected:
        ways.setdefault(row["preset"], {}).setdefault(row["seed"], []).append(float(row[metric_names.FID]))
    lines = ["| preset | seeds | scores on the way | their mean |", "|---" * 4 + "|"]
    for preset, seeds in ways.items():
        counts = sorted({len(scores) for scores in seeds.values()})
        means = mean_and_std([mean(scores) for scores in seeds.values()])
        lines.append(f"| `{preset}` | {len(seeds)} | {' to '.join(map(str, counts))} | {means} |")
    return "\n".join(lines) + "\n" if selected else NOTHING


def robustness_table(rows: Sequence[Row], steps: int) -> str:
    """Return how many of the short runs of each preset failed."""
    lines = ["| preset | runs | diverged | collapsed | FID proxy of the others |", "|---" * 5 + "|"]
    selected = [row for row in rows if row["steps"] == str(steps)]
    for preset in _presets(selected):
        group = [row for row in selected if row["preset"] == preset]
        counts = [sum(row["outcome"] == outcome for row in group) for outcome in ("diverged", "collapsed")]
        score = mean_and_std(_numbers([row for row in group if row["outcome"] == "finished"], metric_names.FID))
        lines.append(f"| `{preset}` | {len(group)} | {counts[0]} | {counts[1]} | {score} |")
    return "\n".join(lines) + "\n" if selected else NOTHING


def best_table(trials: Path, count: int = 8) -> str:
    """Return the best trials of a search, and the tutorial's settings, from its trials.csv."""
    rows, keys = _read_search(trials)
    done = sorted((row for row in rows if row["state"] == State.COMPLETE), key=lambda row: float(row["score"]))
    best = done[:count] + [row for row in done[count:] if row["trial"] == "0"]
    lines = ["| trial | score | " + " | ".join(f"`{key}`" for key in keys) + " |", "|---" * (2 + len(keys)) + "|"]
    for row in best:
        name = "0, the tutorial's" if row["trial"] == "0" else row["trial"]
        lines.append(f"| {name} | {float(row['score']):.3g} | " + " | ".join(_short(row[key]) for key in keys) + " |")
    words = {State.COMPLETE: "trials completed", State.PAUSED: "paused", State.PRUNED: "pruned", State.FAIL: "failed"}
    states = {word: sum(row["state"] == state for row in rows) for state, word in words.items()}
    counts = ", ".join(f"{count} {word}" for word, count in states.items() if count or word != "paused")
    updates = sum(int(row["steps"]) for row in rows)
    lines += ["", f"{counts}; {updates:,} updates in all."]
    return "\n".join(lines) + "\n"


def searches_table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return how each search was called, and what it found.

    Args:
        results: by the name of the search: its `arguments`, its `result` in words, and the `settings` of its winner.
    """
    lines = ["| search | arguments | result | settings |", "|---" * 4 + "|"]
    for name, found in results.items():
        arguments, settings = (" ".join(f"`{word}`" for word in found[key]) for key in ("arguments", "settings"))
        lines.append(f"| {name} | {arguments} | {found['result']} | {settings} |")
    return "\n".join(lines) + "\n" if results else NOTHING


def importances_table(importances: Path) -> str:
    """Return what the score of a search's trials depends on, from its importances.csv."""
    with open(importances, encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    if not rows:
        return "(Too few trials of one length have a score.)\n"
    lines = ["| setting | fraction of the score's variance |", "|---" * 2 + "|"]
    lines += [f"| `{row['setting']}` | {float(row['fraction']):.2f} |" for row in rows]
    return "\n".join(lines) + "\n"


def ranks_table(trials: Path) -> str:
    """Return how the place of the trials of a search depends on each setting, the best first.

    The longer trained rank before the shorter, those of one length by their scores. A setting is tested over the trials
    that it means something in. Numbers: Spearman's rank correlation. Choices: the mean place of each, tested by Kruskal
    and Wallis (1952). The p-values are those of each setting by itself.
    """
    from scipy import stats  # slow to import

    rows, keys = _read_search(trials)
    order = {goodness: place for place, goodness in enumerate(sorted({_goodness(row) for row in rows}))}
    if len(order) < 2:
        return "(No trial was better than another.)\n"
    ranked = []
    for key in keys:
        active = [row for row in rows if row[key] != ""]
        values = np.array([row[key] for row in active])
        place = stats.rankdata([order[_goodness(row)] for row in active])
        choices = sorted(set(values))
        p_value = np.nan
        if len(choices) > FEW and all(isinstance(_value(choice), float) for choice in choices):
            correlation, p_value = stats.spearmanr(values.astype(float), place)
            words = f"{'lower' if correlation > 0 else 'higher'} is better, correlation {correlation:.2f}"
        else:
            groups = [place[values == choice] for choice in choices]
            if len(groups) > 1 and len(set(place)) > 1:
                p_value = stats.kruskal(*groups).pvalue
            means = sorted((group.mean(), choice) for group, choice in zip(groups, choices, strict=True))
            words = ", ".join(f"{choice} {mean:.3g}" for mean, choice in means)
        if len(active) < len(rows):
            words += f" ({len(active)} of {len(rows)} trials)"
        ranked.append((float(p_value), f"| `{key}` | {words} | {p_value:.2g} |"))
    lines = ["| setting | place in the search, first is best | p-value |", "|---" * 3 + "|"]
    lines += [line for _, line in sorted(ranked)]
    return "\n".join(lines) + "\n"


def look_table(file: Path) -> str:
    """Return the settings and scores by step of trainings that were looked at by hand, from a CSV file."""
    with open(file, encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    steps = [name for name in rows[0] if name.isdigit()]
    lines = ["| settings | " + " | ".join(f"{int(step):,}" for step in steps) + " | coverage |"]
    lines.append("|---" * (2 + len(steps)) + "|")
    for row in rows:
        scores = [f"{float(row[step]):.3g}" if row[step] else "" for step in steps]
        lines.append(f"| `{row['settings']}` | {' | '.join(scores)} | {row['coverage']} |")
    return "\n".join(lines) + "\n"


def _goodness(row: Row) -> tuple[bool, int, float]:
    """Return what trials are sorted by, the best first: as in a search's report, by length and then by score."""
    length = 0 if row["state"] == State.COMPLETE else -int(row["steps"])
    return row["state"] != State.COMPLETE, length, float(row["score"] or "inf")


def _read_search(file: Path) -> tuple[list[Row], list[str]]:
    """Return the rows of a trials.csv and the keys of the searched settings."""
    with open(file, encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream)
        rows = list(reader)
    names = list(reader.fieldnames or ())
    return rows, names[names.index("seconds") + 1 : names.index("outcome")]


def _value(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _short(text: str) -> str:
    return f"{value:.3g}" if isinstance(value := _value(text), float) else value


def curves_figure(rows: Sequence[Row], of: str, steps: int) -> "Figure":
    """Draw in-run scores over updates: a colour for each preset, a line for each seed.

    Args:
        rows: of curves.csv.
        of: the class.
        steps: updates of the trainings.
    """
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    figure = figures.new_figure(9, 4.5)
    axes = figure.subplots()
    selected = [row for row in rows if row["class"] == of and row["steps"] == str(steps)]
    for colour, preset in enumerate(_presets(selected)):
        group = [row for row in selected if row["preset"] == preset]
        for line, seed in enumerate(sorted({row["seed"] for row in group})):
            points = sorted((int(row["step"]), float(row[metric_names.FID])) for row in group if row["seed"] == seed)
            steps_of, scores = zip(*points, strict=True)
            look = figures.style((colour, line % len(figures.LINES)))
            axes.plot(steps_of, scores, color=look["color"], linestyle=look["linestyle"], label="" if line else preset)
    axes.set(xlabel="updates", ylabel="FID proxy during the run (lower is better)", yscale="log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.legend(title="a line a seed")
    return figure


def latents_figure(runs: Mapping[str, Compared], real: np.ndarray) -> "Figure":
    """Draw the same latents by several runs at equal steps, and real images below.

    Args:
        runs: by the title of their row.
        real: images, (N, 32, 32, 3) uint8.
    """
    steps = common_steps(list(runs.values()), COLUMNS)
    figure = figures.new_figure(2.1 * len(steps) + 0.4, 2.25 * (len(runs) + 1) + 0.3)
    axes = figure.subplots(len(runs) + 1, len(steps), squeeze=False)
    for row, (title, run) in zip(axes, runs.items(), strict=False):
        for place, step in zip(row, steps, strict=True):
            figures.show_pixels(place, read_pixels(run.samples[step]))
        row[0].set_ylabel(title)
    for place, step in zip(axes[0], steps, strict=True):
        place.set_title(f"{step:,} updates")
    tiles = np.resize(np.arange(len(real)), 16 * len(steps)).reshape(len(steps), 16)
    for place, indices in zip(axes[-1], tiles, strict=True):
        figures.show_pixels(place, grid(real[indices], 4, 4))
    axes[-1, 0].set_ylabel("real images")
    return figure
