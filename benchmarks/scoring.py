"""How long a score takes, generation included, and where the time goes.

    python benchmarks/scoring.py

Medians of several repetitions; the first of each, which compiles, is shown by itself.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from experiments.cli.stderr import native_stderr_to
from gan.data.dataset import load_dataset
from gan.evaluation.weights import find_weights

if TYPE_CHECKING:
    import keras

    from gan.evaluation.scorer import Scorer

REPETITIONS = 5


def main() -> None:
    table = Table("what", "first, s", "median, s")
    with tempfile.TemporaryDirectory() as folder, native_stderr_to():
        from gan.evaluation.extractors import load_extractor
        from gan.evaluation.scorer import Reference, Scorer
        from gan.models import build_generator

        cache = Path(folder)
        dataset = load_dataset("embedded", None, 8, cache)
        _time(table, "load the weights", lambda: load_extractor(find_weights("cifar_cnn")))
        extractor = load_extractor(find_weights("cifar_cnn"))
        start = time.perf_counter()
        scorer = Scorer(extractor, Reference.of(extractor, dataset, cache))
        table.add_row("reference of 5,000 images, computed", f"{time.perf_counter() - start:.2f}", "")
        _time(table, "reference, from the cache", lambda: Reference.of(extractor, dataset, cache))
        for count in (2000, 5000):
            _time_score(table, scorer, build_generator(seed=0), count)
    Console(soft_wrap=True).print(table)


def _time_score(table: Table, scorer: "Scorer", generator: "keras.Model", count: int) -> None:
    from gan.evaluation.metrics import (
        density_and_coverage,
        frechet_distance,
        kernel_distance,
        nearest_distance,
        statistics,
    )
    from gan.evaluation.scorer import sample

    images = sample(generator, count)
    fake, reference = scorer.extractor(images), scorer.reference
    _time(table, f"score of {count:,} images", lambda: scorer(generator, count))
    _time(table, "  generation", lambda: sample(generator, count))
    _time(table, "  features", lambda: scorer.extractor(images))
    _time(table, "  Fréchet distance", lambda: frechet_distance(reference.real, statistics(fake)))
    _time(table, "  KID", lambda: kernel_distance(reference.neighbours, fake))
    _time(table, "  density, coverage", lambda: density_and_coverage(reference.neighbours, fake, reference.radii))
    _time(table, "  nearest", lambda: nearest_distance(fake, reference.features))


def _time(table: Table, title: str, call: Callable[[], object]) -> None:
    times = []
    for _ in range(REPETITIONS + 1):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    table.add_row(title, f"{times[0]:.2f}", f"{median(times[1:]):.2f}")


if __name__ == "__main__":
    main()
