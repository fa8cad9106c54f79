"""From settings to a run that can start: its images and its folder."""

import shlex
import warnings
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from experiments.cli.config_file import to_yaml
from experiments.cli.paths import command
from experiments.cli.progress import counted
from experiments.cli.stderr import native_stderr_to
from experiments.hardware.cores import use_threads
from experiments.hardware.device import keep_compiled
from experiments.records.differences import differences, run_name
from experiments.records.folders import Records, RunFolder, write_json
from experiments.records.overview import read_run
from experiments.settings.rules import get, put
from experiments.settings.schema import RESUME_MAY_CHANGE, Config, flatten
from experiments.training.ancestor import find_ancestor, settings_of, starting_from
from experiments.training.facts import GROUP, NOT_SETTINGS, group_of, read_records, run_facts
from gan.arrays import write_atomically
from gan.checkpoint import Checkpoint, CheckpointError, CheckpointWarning
from gan.data.classes import class_index
from gan.data.contract import DataWarning
from gan.data.dataset import Dataset, composed, load_dataset
from gan.errors import ConfigError, InputError, check_shares
from gan.evaluation.weights import KEY, Weights, find_weights

STATE_OF = {  # settings that add variables to a state, by the owner that begins their names
    "ema_generator/": "train.ema_decay",
    "lecam/": "train.lecam",
    "augment/": "train.augment_target",
}


@dataclass(frozen=True)
class Run:
    """Everything that a training needs, checked."""

    config: Config
    folder: RunFolder
    dataset: Dataset
    weights: Weights  # of the extractor that scores it
    resumed: bool
    checkpoint: Checkpoint | None  # to resume from; None to start at step 0
    ancestor: Checkpoint | None = None  # to start from, of a new run with train.init_from

    @property
    def resume_command(self) -> str:
        """Return the command that resumes the run."""
        return command(self.folder.records, "experiments/run.py", f"resume={self.folder.name}")


@dataclass(frozen=True)
class Membership:
    """The records of a run of a study that a run by itself does not have."""

    study: RunFolder  # whose run in MLflow is the parent of this one
    title: str  # the run's name in MLflow
    params: dict[str, object]
    tags: dict[str, str]


def load_data(config: Config, records: Records, console: Console) -> Dataset:
    """Load the images of a run, and print what the user should know about them.

    Args:
        config: the run's settings.
        records: whose cache keeps decoded images.
        console: where progress and warnings are printed.

    Raises:
        ConfigError: if the images cannot be used.
    """
    data = config.data
    caught: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as caught, native_stderr_to():
            warnings.simplefilter("always", DataWarning)
            with counted(console, "reading images") as progress:
                dataset = load_dataset(data.source, data.path, data.class_id, records.cache, progress)
    finally:  # also where the images of a warning cannot be used
        for warning in caught:
            if issubclass(warning.category, DataWarning):
                warn(console, str(warning.message))
            else:
                warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    if config.train.batch_size > len(dataset.train):
        warn(
            console,
            f"train.batch_size={config.train.batch_size} is more than the {len(dataset.train):,} images: "
            "a batch is drawn with replacement, and holds some of them several times",
        )
    return dataset


def find_extractor(name: str, file: str | None, key: str = KEY) -> Weights:
    """Find the weights of a feature extractor, with native libraries' messages kept off the terminal.

    Args:
        name: of the extractor: cifar_cnn, random_cnn or inception.
        file: the user's file of weights; None for the default one.
        key: the setting in whose name InputError is raised.

    Raises:
        InputError: if the weights are not there, cannot be read or cannot be downloaded.
    """
    with native_stderr_to():
        return find_weights(name, file, key)


def new_run(
    config: Config,
    preset: str | None,
    overrides: list[str],
    console: Console,
    member: Membership | None = None,
) -> Run:
    """Load the images, and make the folder of a new run with its settings and facts.

    Args:
        config: the run's settings; the source, path and class that the data came to, and the absolute path of the
            extractor's file, are written into it.
        preset: that the folder is named by, with what the overrides change of it, where `config.name` is None.
        overrides: the arguments of the command line, for the run's records.
        console: where progress and warnings are printed.
        member: what a run of a study has in its records besides; None for a run by itself.

    Raises:
        ConfigError: if a setting cannot be used on this host, or the name is taken.
    """
    records = Records.at(config.records.root)
    _check_devices(config, records)
    records.check_writable()
    records.check_new(config.name)  # reading the data may take long
    weights = find_extractor(config.eval.extractor, config.eval.extractor_weights)
    ancestor = find_ancestor(config.train.init_from, records, config) if config.train.init_from is not None else None
    dataset = load_data(config, records, console)
    folder = records.new_run(config.name, run_name(preset, differences(overrides)))
    # Resolved, as a resume may start in another folder.
    config.data.source, config.data.path, config.data.class_id = dataset.source, dataset.path, dataset.class_id
    _keep_place(config, weights)
    if ancestor is not None and ancestor.lasting_name is not None:
        overrides = starting_from(overrides, ancestor.lasting_name)
        config.train.init_from = ancestor.lasting_name
    facts = run_facts(config, dataset, weights, folder, shlex.join(["python", "experiments/run.py", *overrides]))
    if ancestor is not None:
        config.train.init_from = str(ancestor.file)
        facts["tags"] |= ancestor.tags
    facts["tags"][GROUP] = group_of(config, facts)
    if member is not None:
        facts["params"] |= member.params
        facts["tags"] |= member.tags
        facts |= {"title": member.title, "parent": member.study.path.relative_to(records.root).as_posix()}
    write_json(folder.facts, facts)
    write_atomically(folder.config, to_yaml(config).encode())  # last: it makes the folder a run
    start_from = ancestor.checkpoint if ancestor is not None else None
    return Run(config, folder, dataset, weights, resumed=False, checkpoint=None, ancestor=start_from)


def resumed_run(folder: RunFolder, new: Config, keys: set[str], console: Console) -> Run:
    """Prepare a run to resume from its newest checkpoint; without one it starts at step 0.

    Args:
        folder: the run's folder, whose settings are rewritten.
        new: the settings of the command line.
        keys: the settings that the command line names. Their values in `new` go before those of the run.
        console: where progress and warnings are printed.

    Raises:
        ConfigError: if the records are damaged, a named setting may not change in a resume, or the images or the
            extractor are not the run's.
        CheckpointError: if all checkpoints are damaged, or the newest is not of the run's settings.
    """
    folder.records.check_writable()
    config, facts = read_records(folder)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CheckpointWarning)
        checkpoint = folder.checkpoints.latest() if folder.checkpoints.files() else None
    for warning in caught:
        warn(console, str(warning.message))
    if checkpoint is None and (step := read_run(folder).step):
        warn(console, f"no checkpoint is left of its {step:,} updates: it trains from the beginning")

    if "note" in keys:
        config.note = new.note
    new_values, old_values = flatten(new), flatten(config)
    new_values["data.class_id"] = _recorded_class(new.data.class_id, config)
    keys = {key for key in keys if new_values[key] != old_values[key] and key not in NOT_SETTINGS}
    if refused := sorted(keys - set(RESUME_MAY_CHANGE)):
        differences = ", ".join(f"{key}: {old_values[key]!r} in the run, {new_values[key]!r} now" for key in refused)
        raise ConfigError("resume", "without settings that change the result", new.resume, differences)
    if "train.steps" in keys and config.optim.decay != "constant":
        remedy = f"the learning rates of its updates depend on it: optim.decay={config.optim.decay}"
        raise ConfigError("train.steps", f"{config.train.steps}, as in the run", new.train.steps, remedy)
    for key in keys:
        put(config, key, new_values[key])
    # What was recorded may be beyond the checkpoint where the run was killed.
    reached = max(checkpoint.step, read_run(folder).step) if checkpoint is not None else 0
    if config.train.steps < reached:
        raise ConfigError("train.steps", f"at least {reached}, the step that the run has reached", config.train.steps)
    _check_devices(config, folder.records)

    weights = find_extractor(config.eval.extractor, config.eval.extractor_weights)
    if weights.id != (scored_in := facts["tags"].get("fid_proxy_id", "another one")):
        remedy = f"the run's scores are in {scored_in}, and cannot be compared with others"
        raise InputError("resume", "a run with scores of the same extractor", f"the extractor {weights.id}", remedy)
    if checkpoint is not None and (why := _misfit(checkpoint, config, weights)):
        raise CheckpointError(
            f"the checkpoint of step {checkpoint.step} in {folder.checkpoints.folder} does not fit the run's"
            f" config.yaml: {why}"
        )
    dataset = load_data(config, folder.records, console)
    check_same_images(dataset, facts, "resume")
    config.data.source, config.data.path = dataset.source, dataset.path
    _keep_place(config, weights)
    if config.note != facts.get("note"):
        write_json(folder.facts, {**facts, "note": config.note})
    write_atomically(folder.config, to_yaml(config).encode())
    return Run(config, folder, dataset, weights, resumed=True, checkpoint=checkpoint)


def _misfit(checkpoint: Checkpoint, config: Config, weights: Weights) -> str:
    """Return why a checkpoint is not of a run, as after its settings were edited; empty where nothing says so.

    Args:
        checkpoint: in the run's folder.
        config: the run's settings.
        weights: of the extractor that scores it.
    """
    try:
        described = settings_of(checkpoint.arrays)
    except ValueError:  # `Trainer.restore` says what is missing
        return ""
    for key, value in described.items():
        if get(config, key) != value:
            return f"its {key} is {value}, not {get(config, key)}"
    for owner, key in STATE_OF.items():
        has = any(name.startswith(owner) for name in checkpoint.arrays)
        if has != bool(get(config, key)):
            return f"it is of a run {'with' if has else 'without'} {key}"
    if (scored_in := checkpoint.meta.get("fid_proxy_id")) != weights.id:
        return f"its best score is in {scored_in}, not {weights.id}"
    return ""


def _recorded_class(class_id: int | str, config: Config) -> int | str:
    """Return a class as the records of a run have it: a sub-folder by its name, all others by index."""
    if config.data.source == "folder" and isinstance(config.data.class_id, str):
        named = str(class_id)
        return config.data.class_id if composed(named) == composed(config.data.class_id) else named
    index = class_index(class_id)
    return "all" if index is None else index


def _check_devices(config: Config, records: Records) -> None:
    """Raise ConfigError for devices that do not exist or cannot share a batch; TensorFlow is asked if necessary."""
    train = config.train
    if isinstance(train.devices, int):
        check_shares(train.batch_size, train.devices)
    if train.devices != 1:
        use_threads(train.threads)  # before TensorFlow fixes the number
        with native_stderr_to():
            from gan.devices import count_devices

            if (records.cache / "xla").is_dir():  # it is not made before all else is checked
                keep_compiled(train, records.cache)  # as `auto` may be one device
            count = count_devices(train.devices, train.batch_size)
            if count > 1 and train.jit_compile is True:
                rule = f"auto or false on {count} devices, where XLA does not work"
                raise ConfigError("train.jit_compile", rule, train.jit_compile)
            # A branch cannot wait for other devices.
            if count > 1 and (train.r1_gamma or train.r2_gamma) and train.r1_every_steps > 1:
                raise ConfigError("train.r1_every_steps", f"1 on {count} devices", train.r1_every_steps)


def _keep_place(config: Config, weights: Weights) -> None:
    if config.eval.extractor_weights is not None:  # relative to the present working directory
        config.eval.extractor_weights = str(weights.file)


def check_same_images(dataset: Dataset, facts: dict[str, Any], key: str) -> None:
    """Check that a run was trained on these images.

    Args:
        dataset: the images.
        facts: of the run.
        key: the setting in whose name InputError is raised.

    Raises:
        InputError: if the SHA-256 of the images is not the run's.
    """
    trained_on = facts["dataset"]
    if dataset.sha256 != trained_on["sha256"]:
        raise InputError(
            key, "on the run's own images", f"{dataset.description} ({dataset.sha256[:8]})",
            f"the run has {trained_on['description']} ({trained_on['sha256'][:8]})",
        )  # fmt: skip


def warn(console: Console, message: str) -> None:
    """Print a warning in a frame."""
    console.print(Panel(Text(message), title="warning", style="yellow"), soft_wrap=False)
