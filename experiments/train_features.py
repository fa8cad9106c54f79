"""Train the feature extractor of the FID proxy, cifar_cnn, on all ten classes of CIFAR-10.

    python experiments/train_features.py data.path=<CIFAR-10>
    python experiments/run.py eval.extractor_weights=mlruns/features/cifar_cnn.npz

A JSON file beside the weights says from what they were made, also beside those that ship with
the program, in gan/evaluation/weights.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from experiments.cli import entry
from experiments.cli.arguments import with_arguments
from experiments.cli.overrides import as_text
from experiments.cli.paths import command, shown
from experiments.cli.progress import Output, is_live, stage
from experiments.cli.stderr import native_stderr_to
from experiments.records.folders import Records, check_folder, make_folder, read_json, write_json
from experiments.reports.ending import say_next
from experiments.settings.rules import Interval, NotEmpty, setting
from experiments.settings.schema import Cifar10Place, RecordsConfig
from experiments.training.facts import code_tags
from gan.arrays import Arrays, write_npz
from gan.data.dataset import Dataset, load_dataset, pixel_hash
from gan.errors import ConfigError, first_line
from gan.evaluation.weights import CIFAR_CNN_FILE, DIMENSIONS, Weights, find_weights

CLASSES = 10


@dataclass
class FeatureTraining:
    epochs: int = setting(24, "passes through the training images", Interval(1, 1000))
    seed: int = setting(0, "of weights, order and augmentation", Interval(0))
    out: str | None = setting(None, "folder for the weights; by default features/ under the records", NotEmpty())
    network: str | None = setting(
        None, "weights whose network is kept, so that only the projection is fitted, in a minute", NotEmpty()
    )
    overwrite: bool = setting(False, "replace weights that are there")
    data: Cifar10Place = field(default_factory=Cifar10Place)
    records: RecordsConfig = field(default_factory=RecordsConfig)


def main(args: FeatureTraining) -> int:
    console = Output(highlight=False, soft_wrap=True, markup=False)
    records = Records.at(args.records.root)
    out = Path(args.out).expanduser() if args.out is not None else records.root / "features"
    file = out / CIFAR_CNN_FILE
    if file.exists() and not args.overwrite:
        raise ConfigError("out", f"a folder without {file.name}", str(out), "overwrite=true replaces it")
    kept = find_weights("cifar_cnn", args.network, "network") if args.network is not None else None
    records.check_writable()
    check_folder(out, "out")
    dataset = load_dataset("cifar10", args.data.path, "all", records.cache)
    make_folder(out, "out")
    begin, code = time.monotonic(), code_tags()  # before the weights, which git knows, are written
    with native_stderr_to():
        if kept is None:
            network = _train(args, dataset, console)
            minutes = round((time.monotonic() - begin) / 60, 1)
            made = {"epochs": args.epochs, "seed": args.seed, "minutes": minutes, "network_code": code}
        else:
            network, made = kept.arrays, _provenance(kept)
        with stage(console, "fitting the projection, measuring the accuracy on the test images"):
            weights = _project(network, dataset)
            accuracy = _accuracy(weights, dataset)
    write_npz(file, weights)
    extractor = find_weights("cifar_cnn", str(file))
    provenance = {
        **made,
        "id": extractor.id,
        "sha256": extractor.sha256,
        "test_accuracy": accuracy,
        "trained_on": dataset.source,
        "train_images_sha256": dataset.sha256,
        "test_images_sha256": pixel_hash(dataset.test),
        "projection_code": code,
    }
    write_json(file.with_suffix(".json"), provenance)
    console.print(f"{extractor.id}: {accuracy:.1%} of the test images; trained in {provenance['minutes']} minutes")
    console.print(f"weights  {shown(file)} ({file.stat().st_size / 1e6:.2f} MB)")
    say_next(console, command(records, "experiments/run.py", as_text(f"eval.extractor_weights={shown(file)}")))
    return 0


def _provenance(weights: Weights) -> dict[str, Any]:
    """Return how the network of some weights was trained, from the JSON beside them."""
    assert weights.file is not None
    file = weights.file.with_suffix(".json")
    try:
        provenance = read_json(file)
        if provenance["sha256"] != weights.sha256:
            raise ValueError("it belongs to other weights")
        return {key: provenance[key] for key in ("epochs", "seed", "minutes", "network_code")}
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(
            "network", f"weights with {file.name} beside them", str(weights.file), first_line(error)
        ) from error


def _train(args: FeatureTraining, dataset: Dataset, console: Console) -> Arrays:
    """Train the network and return its weights, float16."""
    from gan.evaluation.classifier import build_classifier, fold, train_classifier

    assert dataset.train_labels is not None
    times = (TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[loss]}"))
    columns = (*Progress.get_default_columns()[:3], *times)
    with Progress(*columns, console=console, disable=not is_live(console)) as progress:
        task = progress.add_task("training", total=None, loss="")

        def show_progress(step: int, steps: int, loss: float) -> None:
            progress.update(task, completed=step, total=steps, loss=f"loss {loss:.3f}")
            if not is_live(console) and step % (steps // args.epochs) == 0:
                console.print(f"epoch {step * args.epochs // steps}/{args.epochs}  loss {loss:.3f}")

        model = build_classifier(CLASSES, args.seed)
        train_classifier(
            model, dataset.train, dataset.train_labels, epochs=args.epochs, seed=args.seed, on_step=show_progress
        )
    return {name: array.astype(np.float16) for name, array in fold(model).items()}


def _project(network: Arrays, dataset: Dataset) -> Arrays:
    """Add the projection of the network's layers' means, fitted on all training images, to its weights; float32."""
    from gan.evaluation.classifier import IMPORTANCE, fit_projection
    from gan.evaluation.extractors import LayerMeans

    fitted = fit_projection(LayerMeans("", network)(dataset.train), DIMENSIONS, IMPORTANCE)
    return {**network, **{name: array.astype(np.float32) for name, array in fitted.items()}}


def _accuracy(weights: Arrays, dataset: Dataset) -> float:
    from gan.evaluation.classifier import accuracy

    assert dataset.test_labels is not None
    return accuracy(weights, dataset.test, dataset.test_labels)


if __name__ == "__main__":
    entry.run(with_arguments(FeatureTraining, main, __doc__))
