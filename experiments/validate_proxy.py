"""Measure how good the FID proxy is, and write docs/fid_proxy.md with its figures anew.

    python experiments/validate_proxy.py data.path=<CIFAR-10> out=docs

Trains nine GANs of seven kinds for each class, and two reference networks, which takes hours on two cores. All
of it is kept under validation/ in the records: the next call continues what was interrupted.
"""

import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress, TaskID

from experiments.cli import entry
from experiments.cli.arguments import with_arguments
from experiments.cli.paths import shown
from experiments.cli.progress import Output
from experiments.cli.stderr import native_stderr_to
from experiments.fid_proxy.runs import train_all
from experiments.records.folders import Records, RunFolder, check_folder, make_folder, read_json, write_json
from experiments.settings.rules import Interval, NotEmpty, describe, get, setting
from experiments.settings.schema import Cifar10Place, RecordsConfig
from experiments.training.facts import code_tags
from experiments.training.start import find_extractor
from gan.data.classes import CIFAR10_CLASSES
from gan.data.dataset import Dataset, load_dataset
from gan.errors import ConfigError, check_name
from gan.evaluation.weights import FOLDER, Weights

if TYPE_CHECKING:
    from experiments.fid_proxy.measure import Numbers


@dataclass
class Validation:
    steps: int = setting(2500, "updates of each GAN", Interval(4))
    checkpoints: int = setting(10, "of each GAN that are scored, evenly spaced", Interval(4))
    epochs: int = setting(10, "of the reference networks", Interval(1))
    classes: list[str] = setting(
        ["ship", "horse", "automobile"],
        "of CIFAR-10: generators of all are ranked, everything else is measured on the first",
    )
    num_images: int = setting(5000, "images a score", Interval(200))
    seeds: int = setting(5, "repetitions with other images or latents", Interval(2))
    inception: bool = setting(False, "compare with InceptionV3, too: minutes for each checkpoint")
    out: str | None = setting(
        None, "folder for the page and its images/; by default validation/ in the records", NotEmpty()
    )
    data: Cifar10Place = field(default_factory=Cifar10Place)
    records: RecordsConfig = field(default_factory=RecordsConfig)


def main(args: Validation) -> int:
    console = Output(highlight=False, soft_wrap=True, markup=False)
    if args.steps % args.checkpoints:
        raise ConfigError("checkpoints", f"a divisor of steps={args.steps}", args.checkpoints)
    for name in args.classes:
        check_name("classes", name, CIFAR10_CLASSES)
    if len(set(args.classes)) < max(len(args.classes), 1):
        raise ConfigError("classes", "one or more classes, each once", args.classes)
    records = Records(Records.at(args.records.root).root / "validation")
    records.check_writable()
    out = Path(args.out).expanduser() if args.out is not None else records.root
    check_folder(out, "out")
    weights = {name: find_extractor(name, None) for name in ("cifar_cnn", "random_cnn")}
    if args.inception:
        weights["inception"] = find_extractor("inception", None)
    datasets = {
        name: load_dataset("cifar10", args.data.path, CIFAR10_CLASSES.index(name), records.cache)
        for name in args.classes
    }
    everything = load_dataset("cifar10", args.data.path, "all", records.cache)
    make_folder(records.root, "records.root")
    make_folder(out, "out")
    begin = time.monotonic()

    with _part(console, f"{args.steps} updates of each GAN, two at a time (logs in {shown(records.root)})"):
        folders = train_all(records, datasets, args.steps, args.steps // args.checkpoints)
    with native_stderr_to(records.root / "tensorflow.log"):
        results = _measure(args, records, weights, datasets, everything, folders, console)

    from experiments.fid_proxy.report import write_report

    minutes = (time.monotonic() - begin) / 60
    results["about"] = {
        **asdict(args), **code_tags(), "minutes_of_this_call": round(minutes, 1), "command": _command(args),
        "trained_at": sorted({_commit(folder) for of_class in folders.values() for folder in of_class}),
    }  # fmt: skip
    write_json(records.root / "results.json", results)
    console.print(
        f"wrote {shown(write_report(results, out))}; the numbers are in {shown(records.root / 'results.json')}"
    )
    return 0


def _measure(
    args: Validation,
    records: Records,
    weights: dict[str, Weights],
    datasets: dict[str, Dataset],
    everything: Dataset,
    folders: dict[str, list[RunFolder]],
    console: Console,
) -> "Numbers":
    from experiments.fid_proxy import measure
    from experiments.fid_proxy.references import NETWORKS, reference_network
    from experiments.training.facts import read_records
    from experiments.training.generator import load_generator
    from gan.evaluation.extractors import LayerMeans, load_extractor
    from gan.evaluation.scorer import Reference, Scorer

    assert everything.train_labels is not None
    references: measure.References = {}
    for name in NETWORKS:
        with Progress(console=console) as progress:
            task = progress.add_task(f"reference network {name}", total=None)
            update = partial(_advance, progress, task)
            references[name] = reference_network(
                name, everything.train, everything.train_labels, args.epochs, records.cache, update
            )
    references |= {name: load_extractor(extractor) for name, extractor in weights.items() if name != "cifar_cnn"}
    references[measure.LAYERS] = LayerMeans(weights["cifar_cnn"].id, weights["cifar_cnn"].arrays)
    proxy = load_extractor(weights["cifar_cnn"])
    scorers = {name: Scorer(proxy, Reference.of(proxy, dataset, records.cache)) for name, dataset in datasets.items()}
    first = args.classes[0]
    scorer, real = scorers[first], datasets[first].train
    others = everything.train[everything.train_labels != CIFAR10_CLASSES.index(first)]
    provenance = read_json(FOLDER / "cifar_cnn.json")
    assert provenance["id"] == proxy.id, "the weights and their provenance disagree"
    results: Numbers = {
        "proxy": {
            **provenance,
            "real_baseline": scorer.reference.real_baseline,
            "noise_baseline": scorer.reference.noise_baseline,
        }
    }
    with _part(console, "disturbances"):
        results["disturbances"] = dict(measure.disturbances(scorer, real, others, args.seeds))
    with _part(console, "missing modes"):
        results["modes"] = dict(measure.mode_dropping(scorer, real, references["resnet"], args.seeds))
    with _part(console, "numbers of images"):
        config, _ = read_records(folders[first][0], "the run")
        generator = load_generator(config, folders[first][0].checkpoints.latest())
        counts = [round(args.num_images * part) for part in (0.1, 0.2, 0.4, 0.6, 1.0)]
        results["sample_sizes"] = measure.sample_sizes(scorer, generator, counts, args.seeds)
    results["agreement"] = {}
    for name, dataset in datasets.items():
        scored = []
        with Progress(console=console) as progress:
            task = progress.add_task(
                f"checkpoints, {name}", total=sum(len(f.checkpoints.files()) for f in folders[name])
            )
            for folder in folders[name]:
                for checkpoint in measure.score_checkpoints(
                    folder, scorers[name], references, dataset.train, args.num_images, records.cache
                ):
                    scored.append(checkpoint)
                    progress.advance(task)
        results["agreement"][name] = measure.agreement(scored, args.steps, references, dataset.train, everything.train)
    return results


def _commit(folder: RunFolder) -> str:
    return str(read_json(folder.facts)["tags"].get("mlflow.source.git.commit", "unknown"))[:10]


def _command(args: Validation) -> str:
    """Return the command of this call, without this machine's paths."""
    values = {key: get(args, key) for key, spec in describe(Validation).items()
              if get(args, key) != spec["default"] and key not in ("out", "data.path", "records.root")}  # fmt: skip
    changed = [
        f"{key}=[{','.join(map(str, value))}]" if isinstance(value, list) else f"{key}={value}"
        for key, value in values.items()
    ]
    return "python experiments/validate_proxy.py data.path=<CIFAR-10> out=docs" + "".join(
        f" {shlex.quote(each)}" for each in changed
    )


def _advance(progress: Progress, task: TaskID, step: int, steps: int, loss: float) -> None:
    progress.update(task, completed=step, total=steps)


@contextmanager
def _part(console: Console, title: str) -> Iterator[None]:
    begin = time.monotonic()
    console.print(title)
    yield
    console.print(f"  {(time.monotonic() - begin) / 60:.1f} minutes")


if __name__ == "__main__":
    entry.run(with_arguments(Validation, main, __doc__))
