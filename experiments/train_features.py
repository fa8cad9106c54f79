"""Train the feature extractor of the FID proxy, cifar_cnn, on all ten classes of CIFAR-10.

    python experiments/train_features.py data.path=<CIFAR-10>
    python experiments/run.py eval.extractor_weights=mlruns/features/cifar_cnn.npz

The weights that ship with the program were made by the first command with out=gan/weights;
beside them lies a JSON that says from what.
"""

import io
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from experiments.arguments import run_program
from experiments.native_log import native_stderr_to
from experiments.prepare import code_tags, shown
from experiments.records import Records, check_folder, write_json
from gan.arrays import write_atomically
from gan.config import ConfigError, Interval, NotEmpty, RecordsConfig, setting
from gan.data import Dataset, load_dataset, pixel_hash
from gan.weights import CIFAR_CNN_FILE, find_weights

CLASSES = 10


@dataclass
class DataPlace:
    path: str | None = setting(None, "CIFAR-10, if it is not in Keras' cache: folder or .tar.gz", NotEmpty())


@dataclass
class FeatureTraining:
    epochs: int = setting(24, "passes through the training images", Interval(1, 1000))
    seed: int = setting(0, "of weights, order and augmentation", Interval(0))
    out: str | None = setting(None, "folder for the weights; by default features/ under the records", NotEmpty())
    overwrite: bool = setting(False, "replace weights that are there")
    data: DataPlace = field(default_factory=DataPlace)
    records: RecordsConfig = field(default_factory=RecordsConfig)


def main(wanted: FeatureTraining) -> int:
    console = Console(highlight=False, soft_wrap=True, markup=False)
    records = Records.at(wanted.records.root)
    out = Path(wanted.out).expanduser() if wanted.out is not None else records.root / "features"
    file = out / CIFAR_CNN_FILE
    if file.exists() and not wanted.overwrite:
        raise ConfigError("out", f"a folder without {file.name}", str(out), "overwrite=true replaces it")
    records.check_writable()
    check_folder(out, "out")
    dataset = load_dataset("cifar10", wanted.data.path, "all", records.cache)
    begin = time.monotonic()
    with native_stderr_to(Path("/dev/null")):
        weights, accuracy = _train(wanted, dataset, console)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **weights)
    write_atomically(file, buffer.getvalue())
    found = find_weights("cifar_cnn", str(file))
    provenance = {
        "id": found.id,
        "sha256": found.sha256,
        "test_accuracy": accuracy,
        "trained_on": dataset.source,
        "train_images_sha256": dataset.sha256,
        "test_images_sha256": pixel_hash(dataset.test),
        "epochs": wanted.epochs,
        "seed": wanted.seed,
        "minutes": round((time.monotonic() - begin) / 60, 1),
        "code": code_tags(),
    }
    write_json(file.with_suffix(".json"), provenance)
    console.print(f"{found.id}: {accuracy:.1%} of the test images, {provenance['minutes']} minutes")
    console.print(f"weights  {shown(file)} ({len(buffer.getvalue()) / 1e6:.2f} MB)")
    return 0


def _train(wanted: FeatureTraining, dataset: Dataset, console: Console) -> tuple[dict[str, np.ndarray], float]:
    from gan.classifier import accuracy, build_classifier, fit_projection, fold, train_classifier
    from gan.features import LayerMeans
    from gan.weights import DIMENSIONS

    assert dataset.train_labels is not None
    assert dataset.test_labels is not None
    columns = (
        *Progress.get_default_columns()[:3],
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[loss]}"),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("training", total=None, loss="")
        model = build_classifier(CLASSES, wanted.seed)
        train_classifier(
            model, dataset.train, dataset.train_labels, epochs=wanted.epochs, seed=wanted.seed,
            on_step=lambda step, steps, loss: progress.update(task, completed=step, total=steps, loss=f"loss {loss:.3f}"),
        )  # fmt: skip
    weights = {name: array.astype(np.float16) for name, array in fold(model).items()}
    projection = fit_projection(LayerMeans("", weights)(dataset.train), DIMENSIONS)
    weights |= {name: array.astype(np.float32) for name, array in projection.items()}
    return weights, accuracy(weights, dataset.test, dataset.test_labels)


if __name__ == "__main__":
    run_program(FeatureTraining, main, __doc__)
