"""What a start from another run's networks is worth: `train.init_from` against a start from nothing.

    python benchmarks/init_from.py path=<CIFAR-10> [steps=1000,2500] [seeds=0,1,2] [root=mlruns/init_from] [at_once=2]

Horses start from ships, and 200 ships from images of all ten classes. Every ancestor was trained for the last of the
steps with the seed of its descendant, all with the tutorial's settings. Scores are the FID proxy of 5,000 images against
all images of the class: the 200 ships' generators are asked for ships, not for those 200. Trainings that are over are
not made again; one that was stopped is resumed.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from arguments import arguments
from lever_scores import finish
from rich.console import Console
from rich.table import Table

from experiments.cli.stderr import native_stderr_to
from experiments.hardware.cores import available_cores
from experiments.records.folders import Records, RunFolder
from experiments.reports.statistics import compare_with_control, mean_and_std
from experiments.training.facts import read_records
from experiments.training.generator import load_generator
from gan import metric_names
from gan.data.dataset import load_dataset
from gan.evaluation.extractors import load_extractor
from gan.evaluation.scorer import Reference, Scorer, sample
from gan.evaluation.weights import find_weights

ROOT = Path(__file__).resolve().parents[1]
IMAGES = 5000  # a score
FEW = 200  # ships of someone who has no more


@dataclass(frozen=True)
class Pair:
    """What is trained from nothing and from an ancestor."""

    title: str
    name: str
    judged_as: str  # the class whose images it is scored against
    ancestor: str  # class of the ancestor's images


PAIRS = (Pair("horses from ships", "horse", "horse", "ship"), Pair("200 ships from all classes", "few", "ship", "all"))


def main(path: str, steps: tuple[int, ...], seeds: tuple[int, ...], root: str, at_once: int) -> None:
    console = Console(width=120)
    records = Records.at(str(ROOT / root))
    few = records.root / "few_ships.npz"
    ships = load_dataset("cifar10", path, "ship", records.cache)
    if not few.exists():
        records.root.mkdir(parents=True, exist_ok=True)
        np.savez(few, images=ships.train[np.random.default_rng(0).permutation(len(ships.train))[:FEW]])
    at_steps = sorted(steps)
    every = int(np.gcd.reduce(at_steps))
    common = [
        "experiment=tutorial", "train.precision=mixed_bfloat16", f"train.steps={at_steps[-1]}",
        f"train.checkpoint_every_steps={every}", "train.keep_checkpoints=1000", "eval.every_steps=1000000",
        "eval.final_num_images=200",
    ]  # fmt: skip
    threads = max(available_cores() // at_once, 1)
    sources = {"few": ["data=npz", f"data.path={few}", "data.class_id=all"]}
    sources |= {of: ["data=cifar10", f"data.path={path}", f"data.class_id={of}"] for of in ("ship", "horse", "all")}

    def train(name: str, source: str, seed: int, ancestor: str | None) -> bool:
        start = [f"train.init_from={records.runs / ancestor}"] if ancestor else []
        return finish(RunFolder(records.runs / name), [*common, *sources[source], f"seed={seed}", *start], threads)

    ancestors = [(f"{pair.ancestor}-{seed}", pair.ancestor, seed, None) for pair in PAIRS for seed in seeds]
    descendants = [
        (f"{pair.name}{kind}-{seed}", pair.name, seed, f"{pair.ancestor}-{seed}" if kind else None)
        for pair in PAIRS
        for kind in ("", "-started")
        for seed in seeds
    ]
    for trainings in (ancestors, descendants):
        with ThreadPoolExecutor(at_once) as pool:
            list(pool.map(lambda training: train(*training), trainings))

    with native_stderr_to():
        table = compare(records, path, at_steps, seeds)
    console.print(table)


def compare(records: Records, path: str, at_steps: list[int], seeds: tuple[int, ...]) -> Table:
    """Score all trainings, and compare the two starts of each pair."""
    extractor = load_extractor(find_weights("cifar_cnn"))
    table = Table("", "updates", "from nothing", "from the ancestor", "lower by", "95 % interval")
    for pair in PAIRS:
        real = load_dataset("cifar10", path, pair.judged_as, records.cache)
        scorer = Scorer(extractor, Reference.of(extractor, real, records.cache))
        for step in at_steps:
            plain, started = (
                [score(records, f"{pair.name}{kind}-{seed}", step, scorer) for seed in seeds]
                for kind in ("", "-started")
            )
            (difference,) = compare_with_control([started], plain)
            interval = f"{-difference.high:.3g} to {-difference.low:.3g}" if difference.has_interval else ""
            row = [mean_and_std(plain), mean_and_std(started), f"{-difference.value:.3g}", interval]
            table.add_row(pair.title, f"{step:,}", *row)
    return table


def score(records: Records, name: str, step: int, scorer: Scorer) -> float:
    folder = RunFolder(records.runs / name)
    config, _ = read_records(folder, "the run")
    images = sample(load_generator(config, folder.checkpoints.find(str(step))), IMAGES)
    return scorer.of_images(images)[metric_names.FID]


if __name__ == "__main__":
    main(**arguments(path=str, steps=(1000, 2500), seeds=(0, 1, 2), root="mlruns/init_from", at_once=2))
