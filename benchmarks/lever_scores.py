"""What each option of docs/levers.md is worth: the FID proxy after so many updates, over seeds, beside the preset alone.

    python benchmarks/lever_scores.py path=<CIFAR-10> [steps=2500] [seeds=0,1,2] [classes=ship,horse]
        [preset=tutorial] [root=mlruns/levers] [table=docs/results/levers.csv]
        [page=docs/levers.md] [at_once=2]

Trainings that are in the table are not made again; one that was stopped is resumed. So the same command continues,
and a new option below is all that it trains then. Every row was trained with the preset and its option alone. At the end
the page gets the tables, between `<!-- options ship -->` and `<!-- end -->`.
"""

import csv
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

from arguments import arguments
from rich.console import Console

from experiments.hardware.cores import available_cores
from experiments.records import journal
from experiments.records.folders import RunFolder
from experiments.reports.statistics import compare_with_control, mean, mean_and_std
from experiments.training.facts import code_tags
from gan import metric_names
from gan.arrays import write_atomically
from sweeps.reproduction.rows import fill, write_csv

ROOT = Path(__file__).resolve().parents[1]
LOST = "lost"  # the score of a training that its settings ended
NONE = ""  # the option of the preset alone
OPTIONS = (
    NONE,
    "train.d_steps=2",
    "train.loss=relativistic train.r1_gamma=0.1 train.r2_gamma=0.1 model.discriminator.batch_norm=false",
    "train.r1_gamma=0.1 model.discriminator.batch_norm=false",
    "train.r1_gamma=0.1 train.r2_gamma=0.1 model.discriminator.batch_norm=false",
    "train.lecam=0.3",
    "train.consistency=1",
    "train.consistency=10",
    "model.dropout=0",
    "train.consistency=1 model.dropout=0",  # dropout falls on other features of a shifted image
    "train.augment=translation+cutout",
    "train.augment=color+translation+cutout",
    "train.augment=color+translation+cutout train.augment_target=0.6",
    "model.minibatch_stddev=true",
    "model.architecture=resnet model.generator.width=64 model.discriminator.spectral_norm=true"
    " model.discriminator.batch_norm=false train.loss=hinge",
    "optim.beta_1=0",
    "train.batch_size=64",
    "train.ema_decay=0.999",
)
COLUMNS = ("preset", "option", "class", "seed", "steps", "fid_proxy", "seconds", "commit")
Row = dict[str, str]


class Rows:
    """The table of results, on disk after each training."""

    def __init__(self, file: Path) -> None:
        self._file, self._lock = file, threading.Lock()
        self.rows: list[Row] = []
        if file.exists():
            with open(file, encoding="utf-8", newline="") as stream:
                self.rows = list(csv.DictReader(stream))

    def has(self, wanted: Row) -> bool:
        return any(all(row[key] == value for key, value in wanted.items()) for row in self.rows)

    def add(self, row: Row) -> None:
        with self._lock:
            self.rows.append(row)
            write_csv(self._file, COLUMNS, self.rows)


def train(wanted: Row, path: str, root: Path, threads: int) -> Row | None:
    """Train, or resume that; return the row of the table, None for a training that was stopped."""
    words = re.sub(r"[^A-Za-z0-9]+", "-", wanted["option"].replace("model.", "").replace("train.", "")) or "alone"
    name = f"{wanted['preset']}-{words[:60]}-{wanted['class']}-{wanted['steps']}-seed-{wanted['seed']}"
    folder = RunFolder(root / "runs" / name)
    settings = [
        f"experiment={wanted['preset']}", *wanted["option"].split(), "data=cifar10", f"data.path={path}",
        f"data.class_id={wanted['class']}", f"seed={wanted['seed']}", f"train.steps={wanted['steps']}",
        "train.precision=mixed_bfloat16",
    ]  # fmt: skip
    if not finish(folder, settings, threads):
        return None
    scores = journal.curves(folder.journal).get(metric_names.FINAL_FID_PROXY)
    seconds = str(journal.all_tags(folder.journal).get("duration", "")).removesuffix(" s")
    commit = code_tags().get("mlflow.source.git.commit", "")[:7]
    return {**wanted, "fid_proxy": f"{scores[1][-1]:.5g}" if scores else LOST, "seconds": seconds, "commit": commit}


def finish(folder: RunFolder, settings: list[str], threads: int) -> bool:
    """Train a run, or resume it; return whether it is over.

    Args:
        folder: of the run.
        settings: of a run that is new.
        threads: of the training.
    """
    if not journal.has_ended(folder.journal):
        common = [f"records.root={folder.records.root}", f"train.threads={threads}"]
        new_or_resumed = [f"resume={folder.name}"] if folder.config.is_file() else [f"name={folder.name}", *settings]
        command = [sys.executable, str(ROOT / "experiments/run.py"), *new_or_resumed, *common]
        subprocess.run(command, stdout=subprocess.DEVNULL)
    return journal.has_ended(folder.journal)


def options_table(rows: list[Row], of: str, steps: int, preset: str) -> str:
    """Return a Markdown table: mean and standard deviation over seeds, and how much lower an option is than none.

    Args:
        rows: of the table of results.
        of: the class.
        steps: updates of the trainings.
        preset: that the options are added to.
    """
    mine = [row for row in rows if (row["class"], row["steps"], row["preset"]) == (of, str(steps), preset)]
    scores = {
        option: [float(row["fid_proxy"]) for row in mine if row["option"] == option and row["fid_proxy"] != LOST]
        for option in OPTIONS
    }
    trained = [option for option in OPTIONS if scores[option]]
    others = [option for option in trained if option != NONE]
    if not others or not scores[NONE]:
        return ""
    compared = compare_with_control([scores[option] for option in others], scores[NONE])
    differences = dict(zip(others, compared, strict=True))
    lines = ["| option | seeds | FID proxy | lower by | 95 % interval |", "|---|---|---|---|---|"]
    for option in sorted(trained, key=lambda each: mean(scores[each])):
        lower = interval = ""
        if option in differences:
            difference = differences[option]
            lower = f"{-difference.value:.3g}"
            interval = f"{-difference.high:.3g} to {-difference.low:.3g}" if difference.has_interval else ""
        name = f"`{option}`" if option else f"{preset} alone"
        cells = [name, str(len(scores[option])), mean_and_std(scores[option]), lower, interval]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(
    path: str,
    steps: int,
    seeds: tuple[int, ...],
    classes: str,
    preset: str,
    root: str,
    table: str,
    page: str,
    at_once: int,
) -> None:
    console = Console(width=140)
    rows = Rows(ROOT / table)
    left = [
        {"preset": preset, "option": option, "class": of, "seed": str(seed), "steps": str(steps)}
        for of, seed, option in product(classes.split(","), seeds, OPTIONS)
    ]
    left = [wanted for wanted in left if not rows.has(wanted)]
    console.print(f"{len(left)} trainings left")

    def one(wanted: Row) -> None:
        row = train(wanted, path, ROOT / root, max(available_cores() // at_once, 1))
        if row is not None:
            rows.add(row)
            console.print(f"{row['option'] or 'alone'}, {row['class']}, seed {row['seed']}: {row['fid_proxy']}")

    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(one, left))
    tables = {f"options {of}": options_table(rows.rows, of, steps, preset) for of in classes.split(",")}
    for text in tables.values():
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    if page:
        write_atomically(ROOT / page, fill((ROOT / page).read_text(encoding="utf-8"), tables).encode())


if __name__ == "__main__":
    main(
        **arguments(
            path=str, steps=2500, seeds=(0, 1, 2), classes="ship,horse", preset="tutorial", root="mlruns/levers",
            table="docs/results/levers.csv", page="docs/levers.md", at_once=2,
        )
    )  # fmt: skip
