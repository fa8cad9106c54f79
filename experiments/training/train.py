"""One run from its first update to its last record."""

import contextlib
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console

from experiments.cli.paths import command, shown
from experiments.cli.progress import LABEL, LOSSES_AND_SCORE, TrainingDisplay, say, say_words, stage
from experiments.cli.stderr import native_stderr_to
from experiments.hardware.device import Hardware, use_hardware, versions
from experiments.hardware.gpus import GpuMetrics, is_refused_by_full_gpu
from experiments.hardware.process_metrics import ProcessMetrics
from experiments.records.folders import RunFolder, read_json
from experiments.records.journal import Journal, all_tags, curve, curves, step_of_model
from experiments.records.status import FailureKind, RunStatus
from experiments.settings.schema import HALF, OptimConfig
from experiments.settings.text import brief
from experiments.tracking.address import serve_command
from experiments.tracking.experiment import NOTE
from experiments.tracking.feeder import Feeder
from experiments.training.build import build_update
from experiments.training.description import FIGURES, NOISE_BASELINE, REAL_BASELINE, description, headline
from experiments.training.facts import code_changes, code_tags
from experiments.training.generator import write_generator
from experiments.training.start import Run, warn
from gan import metric_names
from gan.arrays import write_atomically
from gan.errors import explained, first_line

if TYPE_CHECKING:
    from gan.tracker import Tracker
    from gan.trainer import Trainer
    from gan.update import Update

DELIVERY_SECONDS = 120.0  # that a finished run waits for MLflow
STOPPED_SECONDS = 5.0  # the same, for a run that the user stopped
FEW_IMAGES = 500  # fewer than that D soon knows by heart
MOST_FRAMES = 200  # of samples.gif
FINAL_GRID = (5, 8)  # rows and columns of the tutorial's last figure
TRAINING_GRID = (5, 8)  # rows and columns of the figure of training images


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    status: RunStatus
    step: int
    scores: dict[str, float] = field(default_factory=dict)  # the final ones, by the names in gan.metric_names
    real_baseline: float = 0.0  # FID proxy of two halves of the real images
    noise_baseline: float = 0.0  # FID proxy of noise
    failure: str = ""
    failure_kind: FailureKind | None = None


def train(
    run: Run,
    console: Console,
    *,
    trackers: Sequence["Tracker"] = (),
    should_stop: Callable[[], bool] = lambda: False,
    final: bool = True,
    closing_tags: Callable[[Outcome], Mapping[str, str]] = lambda outcome: {},
) -> Outcome:
    """Train a run, record it, and print where its records are.

    The caller holds `run.folder.owned()`.

    Args:
        run: what to train, new or resumed.
        console: where progress and results are printed.
        trackers: get every event of the training, besides the run's records.
        should_stop: called after every compiled call of the update; True saves the state and stops.
        final: whether the final scores, the figures and the saved generator are made.
        closing_tags: returns tags for the run's records, from its outcome.

    Returns:
        The outcome, with the failure in it if the training diverged, memory ran out or the disk failed. Any other
        exception is raised, after the run was recorded as failed, or as killed for KeyboardInterrupt.
    """
    with native_stderr_to(run.folder.path / "tensorflow.log"):
        outcome, feeder, delivered = _train(run, console, trackers, should_stop, final, closing_tags)
    if outcome.status == RunStatus.FAILED:
        Console(stderr=True, markup=False).print(f"error: {outcome.failure}", style="red", soft_wrap=True)
    elif outcome.status == RunStatus.KILLED:
        at = f"step {outcome.step} of {run.config.train.steps}"
        say(console, f"stopped  at {at}")
    elif outcome.scores:
        _say_scores(run, outcome, console)
    _say_where(run, feeder, delivered, console)
    return outcome


def _train(
    run: Run,
    console: Console,
    trackers: Sequence["Tracker"],
    should_stop: Callable[[], bool],
    final: bool,
    closing_tags: Callable[[Outcome], Mapping[str, str]],
) -> tuple[Outcome, Feeder, bool]:
    hardware = use_hardware(run.config.train, run.folder.records.cache)
    start = run.checkpoint.step if run.checkpoint is not None else 0
    _announce(run, hardware, start, console)
    begin, before_seconds = time.monotonic(), _seconds_before(run)
    journal = _open_journal(run, hardware, start)
    feeder = Feeder(run.folder)
    feeder.start()
    with TrainingDisplay(
        console, run.config.train.steps, start, last_values(run.folder, start), should_stop
    ) as display:
        system = [ProcessMetrics(journal)] if run.config.tracking.system_metrics else []
        listeners: list[Tracker] = [journal, display, GpuMetrics(journal, hardware.gpus), *system, *trackers]
        try:
            outcome = _train_to_the_end(run, hardware, journal, display, listeners, console, should_stop, final)
        except BaseException as error:
            failed = _failure(run, error, display.step)
            if failed is None:
                stopped = isinstance(error, KeyboardInterrupt)  # as of a second Ctrl-C in a notebook
                _close(journal, RunStatus.KILLED if stopped else RunStatus.FAILED, {})
                feeder.finish(STOPPED_SECONDS if stopped else DELIVERY_SECONDS)
                raise
            outcome = failed
    if outcome.failure_kind is not None:
        with contextlib.suppress(OSError):  # a full disk was the failure itself, and is reported
            journal.failure(outcome.failure_kind, outcome.failure, outcome.step)
    tags = {"duration": f"{before_seconds + time.monotonic() - begin:.0f} s", **closing_tags(outcome)}
    with contextlib.suppress(OSError):  # records that cannot be read were the failure itself
        tags[NOTE] = _description(run, outcome)
    _close(journal, outcome.status, tags)
    # A search delivers at its end what a trial could not; the next one does not wait for a server that is gone.
    is_brief = outcome.status == RunStatus.KILLED or (not final and feeder.problem is not None)
    with stage(console, "bringing MLflow up to date"):
        delivered = feeder.finish(STOPPED_SECONDS if is_brief else DELIVERY_SECONDS)
    return outcome, feeder, delivered


def _announce(run: Run, hardware: Hardware, start: int, console: Console) -> None:
    """Print what is trained, on what, and from where."""
    train = run.config.train
    say(console, f"run      {run.folder.name}" + (f", resumed from step {start:,}" if run.resumed else ""))
    say_words(console, f"data     {run.dataset.description}")
    if len(run.dataset.train) < FEW_IMAGES and train.augment == "none" and train.init_from is None:
        hint = "for so few images see docs/data.md: train.augment and train.init_from are made for them"
        say_words(console, f"hint     {hint}")
    computes_in = ", bfloat16" if train.precision == HALF else ""
    say_words(console, f"device   {hardware.words}{computes_in}")
    if train.init_from is not None:
        say(console, f"from     {shown(Path(train.init_from))}")
    for warning in hardware.warnings:
        warn(console, warning)
    before = all_tags(run.folder.journal) if run.resumed else {}
    for name, version in versions().items():
        if (former := before.get(name, version)) != version:
            warn(console, f"the run has trained with {name} {former}, and goes on with {version}: results may differ")
    if start >= train.steps:
        say_words(console, f"trained  all of its {start:,} updates already; train.steps=<more> continues")


def _open_journal(run: Run, hardware: Hardware, start: int) -> Journal:
    """Open the run's journal, and record on what it trains and from which step it resumes."""
    journal = Journal(run.folder, run.weights.id)
    if run.resumed:
        journal.status(RunStatus.RUNNING)
        changes = {f"resumed.{key}": value for key, value in code_tags().items()}
        journal.tags({"resumed_from_step": str(start), "train.steps": str(run.config.train.steps), **changes})
    journal.tags(hardware.tags)
    if diff := code_changes():
        write_atomically(run.folder.code_diff, diff)
        journal.artifact(run.folder.code_diff)
    return journal


def _train_to_the_end(
    run: Run,
    hardware: Hardware,
    journal: Journal,
    display: TrainingDisplay,
    trackers: Sequence["Tracker"],
    console: Console,
    should_stop: Callable[[], bool],
    final: bool,
) -> Outcome:
    """Build the networks, train them and make the final records, unless the run is stopped before.

    Args:
        run: what to train.
        hardware: on what.
        journal: of the run.
        display: of its progress, which ends with the training.
        trackers: get every event of the training.
        console: where the scale of the score and the last stage are printed.
        should_stop: called after every compiled call of the update.
        final: whether the final records are made.

    Raises:
        Diverged: for a training that cannot recover.
        OSError: where records cannot be written.
    """
    trainer = _build(run, hardware, trackers, final)
    journal.tags({"devices": str(trainer.update.strategy.num_replicas_in_sync)})
    _draw_training_images(run, trainer.update, journal, console)
    reference = trainer.scorer.reference
    real, noise = brief(reference.real_baseline), brief(reference.noise_baseline)
    say_words(
        console, f"scale    FID proxy {real} for two halves of the real images, {noise} for noise; lower is better"
    )
    journal.tags({REAL_BASELINE: real, NOISE_BASELINE: noise})
    finished = trainer.run(should_stop)
    if finished and not final:
        return Outcome(RunStatus.FINISHED, trainer.step)
    if not finished or should_stop():
        return Outcome(RunStatus.KILLED, trainer.step)
    display.close()
    with stage(console, f"scoring {run.config.eval.final_num_images:,} images, drawing the last samples"):
        scores = trainer.final_scores()
        if not should_stop():
            _final_records(run, trainer, journal)
    status = RunStatus.KILLED if should_stop() else RunStatus.FINISHED  # a resume makes what is missing
    return Outcome(status, trainer.step, scores, reference.real_baseline, reference.noise_baseline)


def _failure(run: Run, error: BaseException, step: int) -> Outcome | None:
    """Return the outcome of a training that an error ended; None for an error that no user can mend.

    Args:
        run: that was trained.
        error: what ended it.
        step: the last update.
    """
    from gan.devices import is_out_of_memory
    from gan.trainer import Diverged

    if isinstance(error, Diverged):
        words = f"{error}. Try a lower learning rate (it was {_rates(run.config.optim)})"
        return Outcome(RunStatus.FAILED, error.step, failure=words, failure_kind=FailureKind.DIVERGED)
    if isinstance(error, OSError):
        last = run.folder.checkpoints.files()
        kept = f"the last checkpoint is {last[-1]}" if last else "there is no checkpoint yet"
        words = f"records cannot be written ({explained(error)}); {kept}"
        return Outcome(RunStatus.FAILED, step, failure=words, failure_kind=FailureKind.RECORDS)
    if is_out_of_memory(error) or is_refused_by_full_gpu(error):
        advice = "Try a smaller train.batch_size or model.latent_dim, or fewer runs at a time"
        words = f"out of memory: {first_line(error)[:200]}. {advice}"
        return Outcome(RunStatus.FAILED, step, failure=words, failure_kind=FailureKind.OUT_OF_MEMORY)
    return None


def _rates(optim: OptimConfig) -> str:
    """Return the learning rates in words: one number where both networks have the same."""
    generator, discriminator = optim.generator_learning_rate, optim.discriminator_learning_rate
    if generator == discriminator:
        return f"{generator:g}"
    return f"generator {generator:g}, discriminator {discriminator:g}"


def _description(run: Run, outcome: Outcome) -> str:
    figures = FIGURES if outcome.status == RunStatus.FINISHED and outcome.scores else {}
    return description(headline(run.folder, run.config, outcome.status), read_json(run.folder.facts), figures)


def last_values(folder: RunFolder, step: int) -> dict[str, float]:
    """Return the last losses and score of a run at a step or before, by the names in `gan.metric_names`.

    Args:
        folder: the run's folder.
        step: the last update that counts.
    """
    last = {}
    for key, (steps, values) in curves(folder.journal).items():
        if key in LOSSES_AND_SCORE.values() and (
            before := [v for s, v in zip(steps, values, strict=True) if s <= step]
        ):
            last[key] = before[-1]
    return last


def _close(journal: Journal, status: RunStatus, tags: Mapping[str, str]) -> None:
    with contextlib.suppress(OSError):  # a full disk was the failure itself, and is reported
        journal.tags(tags)
        journal.status(status)
    with contextlib.suppress(OSError):
        journal.close()


def _build(run: Run, hardware: Hardware, trackers: Sequence["Tracker"], final: bool) -> "Trainer":
    """Build the update, the scorer and the training loop from the settings."""
    from gan import checkpoint
    from gan.evaluation.extractors import load_extractor
    from gan.evaluation.scorer import Reference, Scorer
    from gan.tracker import Trackers
    from gan.trainer import Schedule, Trainer

    c = run.config
    update = build_update(c, run.dataset.train, hardware.jit_compile)
    schedule = Schedule(
        steps=c.train.steps,
        steps_per_call=c.train.steps_per_call,
        log_every_steps=c.train.log_every_steps,
        grid_every_steps=c.train.grid_every_steps,
        score_every_steps=c.eval.every_steps,
        checkpoint_every_steps=c.train.checkpoint_every_steps,
        keep_checkpoints=c.train.keep_checkpoints,
        num_images=c.eval.num_images,
        final_num_images=c.eval.final_num_images if final else 0,
    )
    extractor = load_extractor(run.weights)
    scorer = Scorer(extractor, Reference.of(extractor, run.dataset, run.folder.records.cache))
    trainer = Trainer(
        update, scorer, run.folder.checkpoints, Trackers(trackers), schedule, recalibrate=c.eval.recalibrate_batch_norm
    )
    if run.checkpoint is not None:
        try:
            trainer.restore(run.checkpoint)
        except (ValueError, KeyError) as error:  # of a state that `resumed_run` could not tell from the run's own
            raise checkpoint.CheckpointError(f"the checkpoint does not fit the run's config.yaml: {error}") from error
        return trainer
    run.folder.checkpoints.best_file.unlink(missing_ok=True)  # left by a kill before the first checkpoint
    if c.train.init_from is not None:
        # Read again where a kill came before step 0.
        ancestor = run.ancestor or checkpoint.read(Path(c.train.init_from))
        update.start_from(ancestor.arrays)
        trainer.save()  # a resume does not need the ancestor, which may be gone by then
    return trainer


def _draw_training_images(run: Run, update: "Update", journal: Journal, console: Console) -> None:
    """Draw the first real images as the discriminator sees them, to be looked at while the run trains."""
    from gan import images
    from gan.images import unscale

    file = run.folder.plots / "training_images.png"
    if not file.exists():  # a resumed run has it
        file.parent.mkdir(exist_ok=True)
        count = TRAINING_GRID[0] * TRAINING_GRID[1]
        steps = range(1, 1 + math.ceil(count / update.batch_size))
        real = np.concatenate([update.real_images(step) for step in steps])
        images.save_png(file, images.grid(unscale(real[:count]), *TRAINING_GRID))
        journal.artifact(file)
    say(console, f"images   {shown(file)}")


def _final_records(run: Run, trainer: "Trainer", journal: Journal) -> None:
    """Write the final figures and the generator."""
    from gan import images
    from gan.evaluation.scorer import sample

    folder, generator = run.folder, trainer.eval_generator()
    folder.plots.mkdir(exist_ok=True)
    count = FINAL_GRID[0] * FINAL_GRID[1]
    pair = folder.plots / "real_vs_generated.png"
    images.save_real_vs_generated(pair, run.dataset.train[:count], sample(generator, count, purpose="final figure"))

    curves = folder.plots / "losses.png"
    losses = {
        "discriminator": curve(folder.journal, metric_names.D_LOSS),
        "generator": curve(folder.journal, metric_names.G_LOSS),
    }
    label = f"FID proxy, {run.config.eval.num_images:,} images"
    images.save_curves(
        curves, losses, curve(folder.journal, metric_names.FID_PROXY), label, trainer.scorer.reference.real_baseline
    )

    animation = folder.path / "samples.gif"
    frames = folder.sample_files
    steps = images.evenly(list(frames), MOST_FRAMES)
    if steps:  # none where the run was trained elsewhere
        images.save_animation(animation, [frames[step] for step in steps], [f"step {step:,}" for step in steps])

    write_generator(folder.generator, generator)  # to be opened where this project is not
    for file in (pair, curves, *([animation] if steps else []), folder.config):
        journal.artifact(file)
    if step_of_model(folder.journal) != trainer.step:  # else a finished run was resumed, and trained no more
        journal.model(folder.generator)


def _say_scores(run: Run, outcome: Outcome, console: Console) -> None:
    scores = {name.partition("/")[2]: value for name, value in outcome.scores.items()}
    fid = scores.pop(metric_names.FID)
    say_words(
        console,
        f"score    FID proxy {brief(fid)} (two halves of the real images {brief(outcome.real_baseline)}, "
        f"noise {brief(outcome.noise_baseline)}; {run.config.eval.final_num_images:,} images, {run.weights.id}; lower is better)",
    )
    say_words(console, " " * LABEL + ", ".join(f"{name} {value:.3g}" for name, value in scores.items()))


def _seconds_before(run: Run) -> float:
    """Return how long earlier sessions trained a run that resumes from a checkpoint."""
    words = str(all_tags(run.folder.journal).get("duration", "")) if run.checkpoint is not None else ""
    return float(words.removesuffix(" s")) if re.fullmatch(r"[\d.]+ s", words) else 0.0


def _say_where(run: Run, feeder: Feeder, delivered: bool, console: Console) -> None:
    lines = [f"folder   {shown(run.folder.path)}"]
    images = [run.folder.path / "samples.gif", run.folder.plots / "real_vs_generated.png"]
    lines += [f"         {shown(image)}" for image in images if image.exists()]
    serve = serve_command(run.folder.records)
    if serve is not None:
        lines.append(f"browse   {serve}, then")
    if feeder.delivery.url is not None:
        lines.append(f"{'browse ' if serve is None else '       '}  {feeder.delivery.url}")
    if not delivered:
        sync = command(run.folder.records, "experiments/sync.py", run.folder.name)
        lines.append(f"MLflow is behind ({feeder.problem}); nothing is lost, deliver the records with\n         {sync}")
    say(console, "\n".join(lines))
