"""One run from its settings to its last record."""

import contextlib
import dataclasses
import getpass
import os
import shlex
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf
from rich.console import Console
from rich.panel import Panel

from experiments.journal import Journal, curve
from experiments.native_log import native_stderr_to
from experiments.progress import TrainingDisplay
from experiments.records import Records, RunFolder, default_root, read_json, write_json
from experiments.tracking import Feeder, public, tracking_uri
from gan import metrics
from gan.checkpoint import Checkpoint
from gan.config import Config, ConfigError, flatten, put
from gan.data import Dataset, DataWarning, load_dataset

if TYPE_CHECKING:
    from gan.trainer import Trainer

# What a resumed run may change: nothing that its weights or scores depend on.
RESUME_MAY_CHANGE = (
    "train.steps",
    "train.log_every_steps",
    "train.grid_every_steps",
    "train.checkpoint_every_steps",
    "eval.every_steps",
    "records.root",
    "name",
    "resume",
)
NOT_PARAMS = ("name", "resume", "records.root")  # where a run is kept, not what it is
DELIVERY_SECONDS = 120.0  # how long a finished run waits for MLflow
SIGNALS = (signal.SIGINT, signal.SIGTERM)
FINAL_GRID = (5, 8)  # rows and columns of the tutorial's last figure


@dataclass(frozen=True)
class Run:
    """Everything that a training needs, checked; nothing of it written yet but the folder."""

    config: Config
    records: Records
    folder: RunFolder
    dataset: Dataset
    resumed: bool
    checkpoint: Checkpoint | None  # to go on from; None to start at step 0
    overrides: list[str]

    @property
    def resume_command(self) -> str:
        extra = [f"records.root={self.records.root}"] if self.records.root != default_root() else []
        return shlex.join(["python", _shown(Path(sys.argv[0])), f"resume={self.folder.name}", *extra])


def load_data(config: Config, records: Records, console: Console) -> Dataset:
    """The run's images; says what the user should know about them."""
    with warnings.catch_warnings(record=True) as caught, native_stderr_to(Path(os.devnull)):
        warnings.simplefilter("always", DataWarning)
        dataset = load_dataset(config.data.source, config.data.path, config.data.class_id, records.cache)
    for warning in caught:
        if issubclass(warning.category, DataWarning):
            warn(console, str(warning.message))
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    if config.train.batch_size > len(dataset.train):
        warn(
            console,
            f"train.batch_size={config.train.batch_size} is more than the {len(dataset.train):,} images: "
            "drawn with replacement, a batch holds some of them several times",
        )
    return dataset


def warn(console: Console, message: str) -> None:
    console.print(Panel(message, title="warning", style="yellow", highlight=False))


def new_run(config: Config, dataset: Dataset, preset: str | None, overrides: list[str]) -> Run:
    """Make the run's folder, with its settings in it. Raises ConfigError."""
    records = Records.at(config.records.root)
    folder = records.new_run(config.name, preset)
    if config.data.path is not None:  # a resume may start from another folder
        config.data.path = str(Path(config.data.path).expanduser().resolve())
    OmegaConf.save(OmegaConf.create(dataclasses.asdict(config)), folder.config)
    return Run(config, records, folder, dataset, False, None, overrides)


def resumed_run(given: Config, overridden: set[str], overrides: list[str], console: Console) -> Run:
    """The run that `resume` names, with those of the given settings that may change.

    One that never came to a checkpoint starts at step 0. Raises ConfigError for a run
    that does not exist, CheckpointError for one with none but damaged checkpoints.
    """
    assert given.resume is not None
    folder = Records.at(given.records.root).find_run(given.resume)
    records = folder.records  # also of a folder under another root
    checkpoint = folder.checkpoints.latest() if folder.checkpoints.files() else None

    saved = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), OmegaConf.load(folder.config)))
    assert isinstance(saved, Config)
    wanted, had = flatten(given), flatten(saved)
    changed = [key for key in sorted(overridden) if wanted[key] != had[key] and key not in RESUME_MAY_CHANGE]
    if changed:
        differences = ", ".join(f"{key}: {had[key]!r} in the run, {wanted[key]!r} now" for key in changed)
        raise ConfigError("resume", "without settings that change the result", given.resume, differences)
    steps = given.train.steps if "train.steps" in overridden else saved.train.steps
    if checkpoint is not None and steps < checkpoint.step:
        raise ConfigError("train.steps", f"at least {checkpoint.step}, where the run is", steps)
    for key in overridden & set(RESUME_MAY_CHANGE):
        put(saved, key, wanted[key])

    dataset = load_data(saved, records, console)
    trained_on = read_json(folder.facts)["dataset"] if folder.facts.exists() else None
    if trained_on is not None and dataset.sha256 != trained_on["sha256"]:
        raise ConfigError(
            "resume", "on the run's own images", f"{dataset.description} ({dataset.sha256[:8]})",
            f"the run has {trained_on['description']} ({trained_on['sha256'][:8]})",
        )  # fmt: skip
    return Run(saved, records, folder, dataset, True, checkpoint, overrides)


def train(run: Run, console: Console) -> int:
    """Train, record, say where everything is. Returns the exit code.

    0: finished; 1: diverged; 128 + n: stopped by signal n, to be resumed.
    """
    with native_stderr_to(run.folder.path / "tensorflow.log"):
        return _train(run, console)


def _train(run: Run, console: Console) -> int:
    config, folder = run.config, run.folder
    begin = time.monotonic()
    console.print(f"run      {folder.name}\ndata     {run.dataset.description}", highlight=False, soft_wrap=True)

    with _signals() as caught:
        from gan.trainer import Diverged  # TensorFlow is imported only now

        extractor_id, trainer_parts = _build(run)
        start = run.checkpoint.step if run.checkpoint is not None else 0
        if not folder.facts.exists():
            _write_facts(run, extractor_id)
        journal = Journal(folder)
        if run.resumed:
            journal.status("RUNNING")
            journal.tags({"resumed_from_step": str(start)})
        feeder = Feeder(run.records, folder)
        feeder.start()

        score: float | None = None
        with TrainingDisplay(console, config.train.steps, start) as display:
            trainer = trainer_parts(journal, display)
            try:
                finished = trainer.run(should_stop=lambda: bool(caught))
                if finished and not caught:
                    display.close()
                    with console.status(f"scoring {metrics.FINAL_NUM_IMAGES:,} images, drawing the last pictures"):
                        score = trainer.final_score()
                        _final_records(run, trainer, journal)
                status, code = ("FINISHED", 0) if score is not None else ("KILLED", 128 + caught[0])
            except Diverged as error:
                status, code = "FAILED", 1
                journal.tags({"failure": str(error), "failed_step": str(error.step)})
                message = f"{error}. Try a lower optim.learning_rate (it was {config.optim.learning_rate:g})"
            except BaseException:
                journal.status("FAILED")
                feeder.finish(DELIVERY_SECONDS)
                raise
        if status != "KILLED":
            journal.tags({"duration": f"{time.monotonic() - begin:.0f} s"})
        journal.status(status)
        journal.close()
        delivered = feeder.finish(DELIVERY_SECONDS if not caught else 5.0)

    if status == "FAILED":
        Console(stderr=True).print(f"error: {message}", style="red", highlight=False, soft_wrap=True)
    elif status == "KILLED":
        console.print(
            f"stopped  at step {trainer.step} of {config.train.steps}; go on with\n         {run.resume_command}",
            highlight=False,
            soft_wrap=True,
        )
    else:
        console.print(
            f"score    FID proxy {score:.3f} ({metrics.FINAL_NUM_IMAGES:,} images, {extractor_id}; lower is better)",
            highlight=False,
            soft_wrap=True,
        )
    _say_where(run, feeder, delivered, console)
    return code


def _build(run: Run) -> tuple[str, Any]:
    """Networks, optimisers, update and scorer; the trainer itself needs its trackers."""
    import keras

    from gan.features import RandomCNN
    from gan.models import build_discriminator, build_generator
    from gan.scoring import Scorer
    from gan.step import Labels, Update
    from gan.tracker import Trackers
    from gan.trainer import Schedule, Trainer

    c = run.config
    update = Update(
        build_generator(c.model.latent_dim, c.model.generator.bn_momentum, precision=c.train.precision, seed=c.seed),
        build_discriminator(
            c.model.discriminator.bn_momentum,
            c.model.discriminator.leaky_relu_alpha,
            c.model.dropout,
            precision=c.train.precision,
            seed=c.seed,
        ),
        keras.optimizers.Adam(c.optim.generator_learning_rate, beta_1=c.optim.beta_1),
        keras.optimizers.Adam(c.optim.discriminator_learning_rate, beta_1=c.optim.beta_1),
        run.dataset.train,
        recipe=c.train.batch_norm,
        batch_size=c.train.batch_size,
        labels=Labels(c.train.label_noise, c.train.label_noise_mode == "fresh", c.train.label_noise_side == "inward"),
        seed=c.seed,
    )
    scorer = Scorer.of(RandomCNN(), run.dataset.train)
    schedule = Schedule(
        c.train.steps,
        c.train.log_every_steps,
        c.train.grid_every_steps,
        c.eval.every_steps,
        c.train.checkpoint_every_steps,
        c.eval.num_images,
    )

    def trainer(*trackers: Any) -> Trainer:
        trainer = Trainer(update, scorer, run.folder.checkpoints, Trackers(trackers), schedule)
        if run.checkpoint is not None:
            trainer.restore(run.checkpoint)
        return trainer

    return scorer.extractor.id, trainer


def _final_records(run: Run, trainer: "Trainer", journal: Journal) -> None:
    """The last pictures and the generator itself."""
    from gan import images
    from gan.scoring import sample

    folder, generator = run.folder, trainer.update.generator
    folder.plots.mkdir(exist_ok=True)
    count = FINAL_GRID[0] * FINAL_GRID[1]
    pair = folder.plots / "real_vs_generated.png"
    images.save_real_vs_generated(pair, run.dataset.train[:count], sample(generator, count, purpose="final figure"))

    curves = folder.plots / "losses.png"
    losses = {
        "discriminator": curve(folder.journal, metrics.D_LOSS),
        "generator": curve(folder.journal, metrics.G_LOSS),
    }
    images.save_curves(curves, losses, curve(folder.journal, metrics.FID_PROXY), "FID proxy")

    animation = folder.path / "samples.gif"
    frames = sorted(folder.samples.glob(f"{metrics.SAMPLES}_*.png"))
    images.save_animation(animation, frames, [f"step {int(f.stem.rpartition('_')[2]):,}" for f in frames])

    generator.save(folder.generator)
    for file in (pair, curves, animation, folder.config):
        journal.artifact(file)
    journal.model(folder.generator)


def _write_facts(run: Run, extractor_id: str) -> None:
    """What the run is, for MLflow and for a later resume."""
    config, dataset, folder = run.config, run.dataset, run.folder
    command = shlex.join(["python", "experiments/run.py", *run.overrides])
    tags = {
        "dataset": dataset.source,
        "dataset_sha256": dataset.sha256,
        "fid_proxy_id": extractor_id,
        "fid_proxy_images": f"{config.eval.num_images} in the run, {metrics.FINAL_NUM_IMAGES} at the end",
        "run_folder": str(folder.path),
        "mlflow.user": _user(),
        "mlflow.source.name": "experiments/run.py",
        "mlflow.source.type": "LOCAL",
        "mlflow.note.content": f"`{command}`\n\nTrained on {dataset.description}. Folder: `{folder.path}`",
        **_git_tags(),
    }
    write_json(
        folder.facts,
        {
            "created": time.time_ns() // 1_000_000,
            "command": command,
            "params": {key: value for key, value in flatten(config).items() if key not in NOT_PARAMS},
            "tags": tags,
            "dataset": {
                "name": dataset.source,
                "description": dataset.description,
                "sha256": dataset.sha256,
                "shape": list(dataset.train.shape),
                "dtype": str(dataset.train.dtype),
            },
        },
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return str(os.getuid())


def _git_tags() -> dict[str, str]:
    """Commit and whether files differ from it; nothing outside a checkout."""
    root = Path(__file__).resolve().parents[1]

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10, check=True
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    commit, changes = git("rev-parse", "HEAD"), git("status", "--porcelain", "--untracked-files=no")
    if commit is None or changes is None:
        return {}
    return {"mlflow.source.git.commit": commit, "git_dirty": str(bool(changes)).lower()}


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Collects Ctrl-C and SIGTERM, so that training can stop between two updates; a second one ends at once."""
    caught: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL)

    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say_where(run: Run, feeder: Feeder, delivered: bool, console: Console) -> None:
    uri = tracking_uri(run.records)
    lines = [f"folder   {_shown(run.folder.path)}"]
    if uri.startswith("sqlite"):
        mlflow = shlex.quote(_shown(Path(sys.executable).with_name("mlflow")))
        lines.append(f"browse   {mlflow} ui --backend-store-uri {shlex.quote(uri)} --port 5000")
        server = "http://127.0.0.1:5000"
    else:
        server = public(uri)
    if feeder.delivery.url is not None:
        lines.append(f"         {server}{feeder.delivery.url}")
    if not delivered:
        lines.append(
            f"MLflow is behind ({feeder.problem}); nothing is lost, the records are in the folder. Deliver them with\n"
            f"         python experiments/sync.py {run.folder.name}"
        )
    console.print("\n".join(lines), highlight=False, soft_wrap=True)


def _shown(path: Path) -> str:
    """Relative to where the user stands, if that is shorter."""
    absolute = Path(os.path.abspath(path))
    return str(absolute.relative_to(Path.cwd())) if absolute.is_relative_to(Path.cwd()) else str(absolute)
