"""Score the generator of a run anew: all metrics, printed and logged to the run.

    python experiments/evaluate.py last
    python experiments/evaluate.py <MLflow id, name or folder> extractor=random_cnn
    python experiments/evaluate.py last step=best num_images=10000

The run gets them as evaluate/<extractor id>/<number of images>/..., so that scores which
cannot be compared never stand under one name.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from experiments.cli import entry
from experiments.cli.arguments import with_arguments
from experiments.cli.entry import FAILED, FINISHED
from experiments.cli.progress import Output, stage
from experiments.cli.stderr import native_stderr_to
from experiments.records.folders import InUse, Records, RunFolder, check_folder
from experiments.records.journal import Journal
from experiments.reports.ending import end_of_run
from experiments.settings.rules import Choice, Interval, NotEmpty, setting
from experiments.settings.schema import Config, DataPlace, RecordsConfig
from experiments.settings.text import brief
from experiments.tracking.address import fix_tracking_uri
from experiments.tracking.sync import deliver
from experiments.training.description import NOISE_BASELINE, REAL_BASELINE
from experiments.training.facts import read_records
from experiments.training.generator import find_checkpoint, load_generator
from experiments.training.start import check_same_images, find_extractor, load_data
from gan import metric_names
from gan.checkpoint import Checkpoint
from gan.errors import ConfigError
from gan.evaluation.weights import EXTRACTORS, Weights

if TYPE_CHECKING:
    from gan.evaluation.scorer import Scorer


@dataclass
class Evaluation:
    run: str | None = setting(None, "run to score: MLflow id, name, folder, last or best:<study>", NotEmpty())
    step: str = setting("last", "checkpoint to score: last, best (by in-run score) or a step", NotEmpty())
    extractor: str = setting(
        "own", "network in whose features images are compared; own: the run's", Choice(("own", *EXTRACTORS))
    )
    extractor_weights: str | None = setting(None, "file of its weights, instead of its own", NotEmpty())
    num_images: int | None = setting(
        None, "generated images; by default as many as the run takes at its end", Interval(2, 10**6)
    )
    seed: int = setting(0, "seed of the latents; 0 gives those that runs are scored with", Interval(0))
    data: DataPlace = field(default_factory=DataPlace)
    records: RecordsConfig = field(default_factory=RecordsConfig)


def main(args: Evaluation) -> int:
    if args.run is None:
        raise ConfigError("run", "given", None, "an MLflow run id, a name, a folder or last")
    fix_tracking_uri()
    console = Output(highlight=False, soft_wrap=True, markup=False)
    folder = Records.at(args.records.root).find_run(args.run, "run")
    config, facts = read_records(folder, "run")
    checkpoint = find_checkpoint(folder, args.step, console)
    weights = _extractor(args, config)
    folder.records.check_writable()
    check_folder(folder.path, "run")  # before minutes of scoring
    count = args.num_images or config.eval.final_num_images
    if args.data.path is not None:
        config.data.path = args.data.path
    dataset = load_data(config, folder.records, console)
    check_same_images(dataset, facts, "data.path")

    with native_stderr_to(), stage(console, f"scoring {count:,} images"):
        from gan.evaluation.extractors import load_extractor
        from gan.evaluation.scorer import Reference, Scorer

        extractor = load_extractor(weights)
        scorer = Scorer(extractor, Reference.of(extractor, dataset, folder.records.cache))
        scores = scorer(load_generator(config, checkpoint), count, seed=args.seed)

    console.print(_table(folder, checkpoint, count, scorer, scores))
    if weights.id != (trained_with := facts["tags"].get("fid_proxy_id", "another extractor")):
        console.print(f"the run's own scores are in {trained_with} and cannot be compared with these")
    bank = f"/seed_{args.seed}" if args.seed else ""
    prefix = f"evaluate/{extractor.id}/{count}{bank}"
    scale = {
        REAL_BASELINE: scorer.reference.real_baseline,
        NOISE_BASELINE: scorer.reference.noise_baseline,
    }
    return _log(folder, checkpoint.step, {f"{prefix}/{k}": v for k, v in {**scores, **scale}.items()}, console)


def _extractor(args: Evaluation, config: Config) -> Weights:
    """Return the weights of the extractor that was asked for, or of the run's own."""
    file = args.extractor_weights
    if args.extractor == "own" and file is None:
        file = config.eval.extractor_weights
    name = config.eval.extractor if args.extractor == "own" else args.extractor
    return find_extractor(name, file, "extractor_weights")


def _table(
    folder: RunFolder, checkpoint: Checkpoint, num_images: int, scorer: "Scorer", scores: dict[str, float]
) -> Table:
    real_baseline, noise_baseline = scorer.reference.real_baseline, scorer.reference.noise_baseline
    excess = scorer.reference.excess(num_images)
    meanings = {
        metric_names.FID: f"lower is better; two halves of the real images {brief(real_baseline)}, noise {brief(noise_baseline)}, "
        f"perfect images about {excess:.2g}, for this number of images",
        metric_names.KID: "lower is better; 0 for real images",
        metric_names.DENSITY: "1 for real images, less for odd ones, more for a crowd of typical ones",
        metric_names.COVERAGE: "fraction of the real images with a generated one near; higher is better, 0.97 for as many real ones",
        metric_names.NN_DISTANCE: "distance to the nearest training image; 1 for held-out images, far less for copies",
    }
    title = f"{folder.name}, step {checkpoint.step:,}: {num_images:,} images, {scorer.extractor.id}"
    table = Table("metric", "value", "", title=title, title_justify="left", title_style="bold")
    table.columns[1].justify = "right"
    for name, value in scores.items():
        table.add_row(name, brief(value), meanings[name])
    return table


def _log(folder: RunFolder, step: int, scores: dict[str, float], console: Console) -> int:
    try:
        with folder.owned():
            journal = Journal(folder)
            journal.late_scalars(step, scores)
            journal.close()
    except InUse:
        console.print("not logged: the run is still training, and only its own process writes its records")
        return FAILED
    is_delivered = deliver(folder, console)
    end_of_run(folder.records, console, folder.name)
    return FINISHED if is_delivered else FAILED


if __name__ == "__main__":
    entry.run(with_arguments(Evaluation, main, __doc__))
