"""The measurements of the FID proxy, as plain numbers for the report."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.cluster.vq import kmeans2
from scipy.stats import rankdata, spearmanr

from experiments.fid_proxy.disturbances import all_disturbances
from experiments.fid_proxy.references import NETWORKS, sliced_wasserstein
from experiments.records.folders import RunFolder
from experiments.training.facts import read_records
from experiments.training.generator import load_generator
from gan import metric_names
from gan.arrays import Arrays
from gan.cache import prepared
from gan.checkpoint import read
from gan.data.dataset import pixel_hash
from gan.evaluation.classifier import IMPORTANCE, fit_projection
from gan.evaluation.extractors import FeatureExtractor
from gan.evaluation.metrics import Statistics, frechet_distance, statistics
from gan.evaluation.scorer import VERSION as SCORES_VERSION
from gan.evaluation.scorer import Scorer, sample

CLUSTERS = 10
REPEATED = 100  # images, over and over
VERSION = 1  # of what is kept of a checkpoint

LAYERS = "layers"  # the reference that gives the proxy's own layer means, for other readings of them

Numbers = dict[str, Any]  # JSON
References = dict[str, FeatureExtractor]


def disturbances(scorer: Scorer, real: np.ndarray, others: np.ndarray, seeds: int) -> Iterator[tuple[str, Numbers]]:
    """Score each kind of disturbance at each level.

    Each seed takes another four fifths of the real images, and other random numbers.

    Args:
        scorer: of the proxy.
        real: (N, 32, 32, 3) uint8.
        others: images of other classes, (M, 32, 32, 3) uint8.
        seeds: how many.

    Returns:
        Name, and unit, levels and scores (levels, seeds) of each kind.
    """
    for name, disturbance in all_disturbances(others).items():
        scores = []
        for level in disturbance.levels:
            row = []
            for seed in range(seeds):
                rng = np.random.default_rng(seed)
                some = real[rng.choice(len(real), len(real) * 4 // 5, replace=False)]
                row.append(
                    frechet_distance(
                        scorer.reference.real, statistics(scorer.extractor(disturbance.apply(some, level, rng)))
                    )
                )
            scores.append(row)
        yield name, {"unit": disturbance.unit, "levels": list(disturbance.levels), "scores": scores}


def mode_dropping(
    scorer: Scorer, real: np.ndarray, reference: FeatureExtractor, seeds: int
) -> Iterator[tuple[str, Numbers]]:
    """Score real images when 0 to 9 of 10 clusters of them are removed, and 100 images repeated.

    The clusters are k-means in the features of another network. From the images that are left as many as there
    were are drawn with replacement.

    Args:
        scorer: of the proxy.
        real: (N, 32, 32, 3) uint8.
        reference: the other network.
        seeds: how many.

    Returns:
        What was removed, and each score as a list over seeds.
    """
    features = reference(real)
    _, cluster = kmeans2(
        (features - features.mean(0)) / features.std(0), CLUSTERS, minit="++", seed=np.random.default_rng(0)
    )
    for removed in range(CLUSTERS):
        rows = []
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            kept = np.flatnonzero(np.isin(cluster, rng.permutation(CLUSTERS)[removed:]))
            rows.append(scorer.of_images(real[rng.choice(kept, len(real))]))
        yield f"{removed} of {CLUSTERS} clusters removed", _columns(rows)
    rows = []
    for seed in range(seeds):
        chosen = np.random.default_rng(seed).choice(len(real), min(REPEATED, len(real)), replace=False)
        rows.append(scorer.of_images(np.resize(real[chosen], real.shape)))
    yield f"{REPEATED} images repeated", _columns(rows)


def sample_sizes(scorer: Scorer, generator: Any, counts: list[int], seeds: int) -> Numbers:
    """Score one generator by several numbers of images.

    Args:
        scorer: of the proxy.
        generator: a Keras model.
        counts: numbers of images.
        seeds: how many banks of latents.

    Returns:
        By count, each score as a list over seeds.
    """
    rows: dict[int, list[dict[str, float]]] = {count: [] for count in counts}
    for seed in range(seeds):
        images = sample(generator, max(counts), seed=seed)
        for count in counts:
            rows[count].append(scorer.of_images(images[:count]))
    return {
        str(count): {**_columns(rows[count]), "expected_excess": scorer.reference.excess(count)} for count in counts
    }


def _columns(rows: list[dict[str, float]]) -> dict[str, list[float]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


@dataclass(frozen=True)
class ScoredCheckpoint:
    """What is kept of the images of one checkpoint."""

    run: str
    step: int
    spaces: dict[str, Statistics]  # of its features, by reference
    scores: dict[str, float]  # of the proxy itself
    sliced_wasserstein: float


def score_checkpoints(
    folder: RunFolder, scorer: Scorer, references: References, real: np.ndarray, num_images: int, cache: Path
) -> Iterator[ScoredCheckpoint]:
    """Score each checkpoint of a run in all feature spaces, once; it is then read from the cache.

    Args:
        folder: of the run.
        scorer: of the proxy.
        references: feature extractors by name.
        real: (N, 32, 32, 3) uint8.
        num_images: of each checkpoint.
        cache: folder of the cache.
    """
    config, _ = read_records(folder, "the run")
    for step, file in folder.checkpoints.by_step().items():

        def measured(file: Path = file) -> Arrays:
            images = sample(load_generator(config, read(file)), num_images)
            count = min(len(real), num_images)
            arrays = {"sliced_wasserstein": np.array(sliced_wasserstein(real[:count], images[:count]))}
            for name, value in scorer.of_images(images).items():
                arrays[f"score/{name}"] = np.array(value)
            for name, extract in references.items():
                moments = statistics(extract(images))
                arrays[f"mean/{name}"], arrays[f"covariance/{name}"] = moments.mean, moments.covariance
            return arrays

        scored_by = [
            VERSION,
            SCORES_VERSION,
            scorer.extractor.id,
            *(f"{name}={references[name].id}" for name in sorted(references)),
        ]
        key = f"{scored_by} {pixel_hash(real)} {folder.path} {file.name} {file.stat().st_mtime_ns} {num_images}"
        arrays = prepared(cache, "judged", key, measured)
        yield ScoredCheckpoint(
            folder.name,
            step,
            {name: Statistics(arrays[f"mean/{name}"], arrays[f"covariance/{name}"], num_images) for name in references},
            {key.partition("/")[2]: float(value) for key, value in arrays.items() if key.startswith("score/")},
            float(arrays["sliced_wasserstein"]),
        )


def agreement(
    scored: list[ScoredCheckpoint], steps: int, references: References, real: np.ndarray, everything: np.ndarray
) -> Numbers:
    """Correlate the ranks of checkpoints by the proxy, and by other readings of it, with those by the references.

    Args:
        scored: the checkpoints.
        steps: updates of each training; checkpoints after half of them are late.
        references: feature extractors by name.
        real: (N, 32, 32, 3) uint8.
        everything: images of all classes, which the readings are fitted on.
    """
    real_spaces = {name: statistics(reference(real)) for name, reference in references.items()}
    columns: dict[str, list[float]] = {"proxy": [checkpoint.scores[metric_names.FID] for checkpoint in scored]}
    for name in references:
        if name != LAYERS:
            columns[name] = [frechet_distance(real_spaces[name], checkpoint.spaces[name]) for checkpoint in scored]
    columns["sliced Wasserstein"] = [checkpoint.sliced_wasserstein for checkpoint in scored]

    readings = {}
    for name, (offset, projection) in _readings(references[LAYERS](everything)).items():
        target = mapped(real_spaces[LAYERS], offset, projection)
        readings[name] = [
            frechet_distance(target, mapped(checkpoint.spaces[LAYERS], offset, projection)) for checkpoint in scored
        ]

    late = np.array([checkpoint.step > steps / 2 for checkpoint in scored])
    columns["both networks"] = list(np.mean([rankdata(columns[name]) for name in NETWORKS], axis=0))
    others = [name for name in columns if name != "proxy"]
    return {
        "rows": [
            {
                "run": checkpoint.run,
                "step": checkpoint.step,
                "scores": checkpoint.scores,
                **{name: columns[name][k] for name in others},
            }
            for k, checkpoint in enumerate(scored)
        ],
        "proxy": {name: _ranks(columns["proxy"], columns[name], late) for name in others},
        "among_references": {
            f"{a}, {b}": _ranks(columns[a], columns[b], late) for a, b in itertools.combinations(others, 2)
        },
        "readings": {
            reading: {name: _ranks(values, columns[name], late) for name in others}
            for reading, values in readings.items()
        },
    }


def _readings(means: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the affine maps of the layers' means that were considered for the proxy: offset and projection."""
    count = means.shape[1]
    sizes = {"16x16": slice(0, 64), "8x8": slice(64, 192), "4x4": slice(192, 448)}
    readings = {}
    for part, columns in {**sizes, "8x8 and 4x4": slice(64, 448)}.items():
        importance = np.zeros(count)
        importance[columns] = 1.0
        readings[f"{part} alone, 64 dimensions"] = _reading(means, 64, importance)
    for dimensions in (16, 32, 64, 128, count):
        readings[f"three sizes alike, {dimensions} dimensions"] = _reading(means, dimensions, np.ones(count))
    offset, projection = readings["three sizes alike, 64 dimensions"]
    whitening = ((means - offset) @ projection).std(axis=0)
    readings["three sizes alike, 64 dimensions, whitened"] = offset, projection / whitening
    readings["not standardised, 64 dimensions"] = _reading(means, 64, means.std(axis=0))
    readings["4x4 counts double, 64 dimensions (the proxy)"] = _reading(means, 64, IMPORTANCE)
    return readings


def _reading(means: np.ndarray, dimensions: int, importance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit a projection of the features of some importance; the others map to 0."""
    used = importance > 0
    fitted = fit_projection(means[:, used], dimensions, importance[used])
    projection = np.zeros((means.shape[1], dimensions))
    projection[used] = fitted["projection"]
    return means.mean(axis=0, dtype=np.float64), projection


def _ranks(a: list[float], b: list[float], late: np.ndarray) -> dict[str, float]:
    """Return Spearman's rank correlation of all, of the late ones, and of the better half of those by b."""
    x, y = np.array(a), np.array(b)
    best = late & (y <= np.median(y[late]))
    return {
        when: _spearman(x[chosen], y[chosen])
        for when, chosen in (("all", np.ones(len(x), bool)), ("late", late), ("late, better half", best))
    }


def _spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Return Spearman's rank correlation, NaN where there is nothing to rank."""
    return float(spearmanr(x, y).statistic) if np.ptp(x) > 0 and np.ptp(y) > 0 else float("nan")


def mapped(moments: Statistics, offset: np.ndarray, projection: np.ndarray) -> Statistics:
    """Return the statistics of (features - offset) @ projection.

    Args:
        moments: statistics of D features.
        offset: (D,).
        projection: (D, d).
    """
    return Statistics(
        (moments.mean - offset) @ projection, projection.T @ moments.covariance @ projection, moments.count
    )
