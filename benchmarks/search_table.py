"""Many short trainings of settings from the space of search=levers: what benchmarks/search_efficiency.py searches in.

    python benchmarks/search_table.py path=<CIFAR-10> [settings=400] [steps=1000] [table=docs/results/search_table.csv]
        [at_once=2]

Settings are drawn by a Sobol sequence (scrambled, seed 0) from conf/search/levers.yaml with narrow networks, so that two
cores make the table in a few hours. The first is the tutorial's; every tenth is trained on three seeds, the others on
one. Scores are the FID proxy of 1,000 images. Trainings that are in the table are not made again: the same command
continues.
"""

import csv
import json
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np
import optuna
from arguments import arguments

from experiments.cli.compose import compose_config
from experiments.cli.stderr import native_stderr_to
from experiments.hardware.cores import use_threads
from experiments.training.build import build_update
from gan.data.dataset import load_dataset
from gan.evaluation.extractors import load_extractor
from gan.evaluation.metrics import frechet_distance, statistics
from gan.evaluation.scorer import Reference, Scorer
from gan.evaluation.weights import find_weights
from sweeps.reproduction.rows import write_csv
from sweeps.spec.plan import Plan
from sweeps.spec.read_plan import read_plan
from sweeps.spec.space import Value, active

ROOT = Path(__file__).resolve().parents[1]
NARROW = ["model.generator.width=choice(8,16)", "model.discriminator.width=choice(4,8)"]
SPACE = ["search=levers", "experiment=tutorial", *NARROW]
BASELINE_WIDTHS = {"model.generator.width": 16, "model.discriminator.width": 8}
SCORED = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0)  # fractions of the steps
IMAGES = 1000  # a score
REPEATED, SEEDS = 10, 3  # one setting of so many is trained on so many seeds
CALL = 10  # updates
DIVERGED = "diverged"
COLUMNS = ("setting", "seed", "seconds", "params", "scores")  # scores: by step, as JSON like the parameters
MODULES = ["tensorflow", "keras", "gan.update", "gan.evaluation.extractors"]  # imported once for all trainings


def draw_settings(plan: Plan, count: int) -> list[dict[str, Value]]:
    """Return the baseline and points of a Sobol sequence, each without dimensions that mean nothing there."""
    baseline = active(plan.space, {**plan.baseline, **BASELINE_WIDTHS})
    sampler = optuna.samplers.QMCSampler(
        scramble=True, seed=0, independent_sampler=optuna.samplers.RandomSampler(0), warn_independent_sampling=False,
        warn_asynchronous_seeding=False,
    )  # fmt: skip
    study = optuna.create_study(sampler=sampler)
    # All dimensions at once, conditions or not, so that every one is of the sequence.
    unconditional: dict[str, optuna.distributions.BaseDistribution] = {
        dimension.key: dimension.distribution for dimension in plan.space
    }
    points = []
    for _ in range(count - 1):
        trial = study.ask(fixed_distributions=unconditional)
        points.append(active(plan.space, trial.params))
        study.tell(trial, 0.0)
    return [baseline, *points]


def train(
    number: int, seed: int, params: dict[str, Value], overrides: list[str], path: str, steps: int
) -> dict[str, str]:
    """Train one setting, and return its row of the table."""
    use_threads(1)
    begin = time.perf_counter()
    with native_stderr_to():
        config = compose_config([*overrides, f"seed={seed}", f"train.steps={steps}"])
        cache = ROOT / "mlruns" / "cache"
        dataset = load_dataset("cifar10", path, "ship", cache)
        extractor = load_extractor(find_weights("cifar_cnn"))
        scorer = Scorer(extractor, Reference.of(extractor, dataset, cache))
        update = build_update(config, dataset.train)
        scores: dict[str, float | str] = {}
        before = 0
        for step in (round(fraction * steps) for fraction in SCORED):
            for first in range(before + 1, step + 1, CALL):
                values = update.run(first, min(CALL, step + 1 - first)).numpy()
            before = step
            features = scorer.features(update.eval_generator, IMAGES)
            score = frechet_distance(scorer.reference.real, statistics(features))
            if not (np.isfinite(values).all() and np.isfinite(score)):
                scores[str(step)] = DIVERGED
                break
            scores[str(step)] = float(f"{score:.5g}")
    seconds = f"{time.perf_counter() - begin:.0f}"
    return {
        "setting": str(number), "seed": str(seed), "seconds": seconds,
        "params": json.dumps(params), "scores": json.dumps(scores),
    }  # fmt: skip


def main(path: str, settings: int, steps: int, table: str, at_once: int) -> None:
    file, plan = ROOT / table, read_plan(SPACE)
    rows: list[dict[str, str]] = []
    if file.exists():
        with open(file, encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
    done = {(row["setting"], row["seed"]) for row in rows}
    wanted = [
        (number, seed, params)
        for number, params in enumerate(draw_settings(plan, settings))
        for seed in range(SEEDS if number % REPEATED == 0 else 1)
        if (str(number), str(seed)) not in done
    ]
    print(f"{len(wanted)} trainings left", flush=True)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(MODULES)
    with ProcessPoolExecutor(at_once, mp_context=context, max_tasks_per_child=1) as pool:
        futures = [
            pool.submit(train, number, seed, params, plan.trial_overrides(params), path, steps)
            for number, seed, params in wanted
        ]
        for count, future in enumerate(as_completed(futures), 1):
            rows.append(future.result())
            rows.sort(key=lambda row: (int(row["setting"]), int(row["seed"])))
            write_csv(file, COLUMNS, rows)
            print(f"{count} of {len(wanted)}", flush=True)


if __name__ == "__main__":
    main(**arguments(path=str, settings=400, steps=1000, table="docs/results/search_table.csv", at_once=2))
