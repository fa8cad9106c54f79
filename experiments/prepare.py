"""From settings to a run that can start: its images, its folder, the facts about it."""

import contextlib
import dataclasses
import getpass
import os
import shlex
import subprocess
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from experiments.errors import first_line
from experiments.native_log import native_stderr_to
from experiments.overrides import as_text
from experiments.progress import counted
from experiments.records import Records, RunFolder, default_root, read_json, write_json
from experiments.settings.rules import describe, put
from experiments.settings.schema import Config, effective, flatten, in_brief
from experiments.threads import use_threads
from gan import metric_names
from gan.arrays import write_atomically
from gan.checkpoint import Checkpoint, CheckpointWarning
from gan.data.classes import CIFAR10_CLASSES, class_index
from gan.data.contract import DataWarning
from gan.data.dataset import Dataset, load_dataset
from gan.errors import ConfigError, check_shares
from gan.evaluation.weights import KEY, Weights, find_weights

# What a resumed run may change: nothing that its weights or scores depend on. Where the
# images and the extractor's weights lie is free, as pixels and weights are compared.
RESUME_MAY_CHANGE = (
    "train.steps",
    "train.steps_per_call",
    "train.threads",  # moves results by rounding alone
    "train.devices",  # likewise
    "train.log_every_steps",
    "train.grid_every_steps",
    "train.checkpoint_every_steps",
    "train.keep_checkpoints",
    "eval.every_steps",
    "data.source",
    "data.path",
    "eval.extractor_weights",
)
COMMAND_WIDTH = 80  # characters
NOT_SETTINGS = ("name", "resume", "records.root")  # where a run is kept, not what it is


@dataclass(frozen=True)
class Run:
    """Everything that a training needs, checked."""

    config: Config
    folder: RunFolder
    dataset: Dataset
    weights: Weights  # of the extractor that scores it
    resumed: bool
    checkpoint: Checkpoint | None  # to go on from; None to start at step 0

    @property
    def resume_command(self) -> str:
        root = self.folder.records.root
        extra = [as_text(f"records.root={root}")] if root != default_root() else []
        return shlex.join(["python", shown(Path(__file__).with_name("run.py")), f"resume={self.folder.name}", *extra])


@dataclass(frozen=True)
class Membership:
    """What a run that is part of a study has in its records beyond its own."""

    study: RunFolder  # whose run in MLflow is the parent of this one
    title: str  # its name in MLflow
    params: dict[str, object]
    tags: dict[str, str]


def load_data(config: Config, records: Records, console: Console, facts: dict[str, Any] | None = None) -> Dataset:
    """The run's images; says what the user should know about them. Raises ConfigError.

    facts: of a run that was trained already, whose pixels are wanted as they were read then.
    """
    trained_on = facts["dataset"].get("sha256") if facts is not None else None
    with warnings.catch_warnings(record=True) as caught, native_stderr_to(Path(os.devnull)):
        warnings.simplefilter("always", DataWarning)
        data = config.data
        with counted(console, "reading pictures") as progress:
            dataset = load_dataset(data.source, data.path, data.class_id, records.cache, progress, trained_on)
    for warning in caught:
        if issubclass(warning.category, DataWarning):
            _warn(console, str(warning.message))
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    if config.train.batch_size > len(dataset.train):
        _warn(
            console,
            f"train.batch_size={config.train.batch_size} is more than the {len(dataset.train):,} images: "
            "drawn with replacement, a batch holds some of them several times",
        )
    return dataset


def find_extractor(name: str, given: str | None, key: str = KEY) -> Weights:
    """`find_weights` with the terminal kept clean. Raises ConfigError, in the name of the setting `key`."""
    with native_stderr_to(Path(os.devnull)):
        return find_weights(name, given, key)


def new_run(
    config: Config,
    preset: str | None,
    overrides: list[str],
    console: Console,
    member: Membership | None = None,
) -> Run:
    """Load the images and make the run's folder, settings and facts in it. Raises ConfigError."""
    _check_devices(config)
    records = Records.at(config.records.root)
    records.check_writable()
    records.check_new(config.name)  # reading the data may take long
    weights = find_extractor(config.eval.extractor, config.eval.extractor_weights)
    dataset = load_data(config, records, console)
    folder = records.new_run(config.name, preset)
    # What `auto` and a relative path came to: a resume may start elsewhere.
    config.data.source, config.data.path, config.data.class_id = dataset.source, dataset.path, dataset.class_id
    _keep_place(config, weights)
    facts = run_facts(config, dataset, weights, folder, shlex.join(["python", "experiments/run.py", *overrides]))
    if member is not None:
        facts["params"] |= member.params
        facts["tags"] |= member.tags
        facts |= {"title": member.title, "parent": member.study.path.relative_to(records.root).as_posix()}
    write_json(folder.facts, facts)
    _write_config(config, folder)  # last: it makes the folder a run
    return Run(config, folder, dataset, weights, resumed=False, checkpoint=None)


def resumed_run(folder: RunFolder, given: Config, keys: set[str], console: Console) -> Run:
    """A run to go on with, and those of the settings `keys` of `given` that may change.

    One that never came to a checkpoint starts at step 0. Raises ConfigError, and
    CheckpointError for a run with none but damaged checkpoints.
    """
    folder.records.check_writable()
    config, facts = read_records(folder)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CheckpointWarning)
        checkpoint = folder.checkpoints.latest() if folder.checkpoints.files() else None
    for warning in caught:
        _warn(console, str(warning.message))

    wanted, had = flatten(given), flatten(config)
    wanted["data.class_id"] = _recorded_class(given.data.class_id, config)
    keys = {key for key in keys if wanted[key] != had[key] and key not in NOT_SETTINGS}
    if refused := sorted(keys - set(RESUME_MAY_CHANGE)):
        differences = ", ".join(f"{key}: {had[key]!r} in the run, {wanted[key]!r} now" for key in refused)
        raise ConfigError("resume", "without settings that change the result", given.resume, differences)
    if "train.steps" in keys and config.optim.decay != "constant":
        remedy = f"the learning rates of its updates depend on it: optim.decay={config.optim.decay}"
        raise ConfigError("train.steps", f"{config.train.steps}, as in the run", given.train.steps, remedy)
    for key in keys:
        put(config, key, wanted[key])
    if checkpoint is not None and config.train.steps < checkpoint.step:
        raise ConfigError("train.steps", f"at least {checkpoint.step}, where the run is", config.train.steps)
    _check_devices(config)

    weights = find_extractor(config.eval.extractor, config.eval.extractor_weights)
    if weights.id != (scored_in := facts["tags"].get("fid_proxy_id", "another one")):
        remedy = f"the run's scores are in {scored_in}, and cannot be compared with others"
        raise ConfigError("resume", "a run whose scores can go on", f"the extractor {weights.id}", remedy)
    dataset = load_data(config, folder.records, console, facts)
    check_same_images(dataset, facts, "resume")
    config.data.source, config.data.path = dataset.source, dataset.path
    _keep_place(config, weights)
    _write_config(config, folder)
    return Run(config, folder, dataset, weights, resumed=True, checkpoint=checkpoint)


def _recorded_class(given: int | str, config: Config) -> int | str:
    """A class as the records of a run have it: a sub-folder by its name, all others by index."""
    if config.data.source == "folder" and isinstance(config.data.class_id, str):
        return str(given)
    index = class_index(given)
    return "all" if index is None else index


def _check_devices(config: Config) -> None:
    """Raises ConfigError for devices that are not there or cannot share a batch; TensorFlow is asked if there is need."""
    train = config.train
    if isinstance(train.devices, int):
        check_shares(train.batch_size, train.devices)
    if train.devices != 1:
        use_threads(train.threads)  # or TensorFlow would fix the number now
        # TensorFlow's logger keeps the stream that it finds now: the one that lasts.
        with native_stderr_to(Path(os.devnull)), contextlib.redirect_stderr(sys.__stderr__):
            from gan.devices import count_devices

            count = count_devices(train.devices, train.batch_size)
            if count > 1 and train.r1_gamma and train.r1_every_steps > 1:  # a branch cannot wait for other devices
                raise ConfigError("train.r1_every_steps", f"1 on {count} devices", train.r1_every_steps)


def _keep_place(config: Config, weights: Weights) -> None:
    if config.eval.extractor_weights is not None:  # relative to where the user stands now
        config.eval.extractor_weights = str(weights.file)


def check_same_images(dataset: Dataset, facts: dict[str, Any], key: str) -> None:
    """Raises ConfigError, in the name of a setting, unless a run was trained on these images."""
    trained_on = facts["dataset"]
    if dataset.sha256 != trained_on["sha256"]:
        raise ConfigError(
            key, "on the run's own images", f"{dataset.description} ({dataset.sha256[:8]})",
            f"the run has {trained_on['description']} ({trained_on['sha256'][:8]})",
        )  # fmt: skip


def read_records(folder: RunFolder, key: str = "resume") -> tuple[Config, dict[str, Any]]:
    """The settings of a run, and the facts about it. Raises ConfigError, in the name of a setting, for damaged files."""
    try:
        node = OmegaConf.load(folder.config)
        if not node:
            raise ValueError("config.yaml is empty")
        config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), node))
        assert isinstance(config, Config)
        facts = read_json(folder.facts)
        if not {"dataset", "tags"} <= facts.keys():
            raise ValueError("run.json lacks the data set or the tags")
        return config, facts
    except (OSError, ValueError, KeyError, RecursionError, yaml.YAMLError, OmegaConfBaseException) as error:
        remedy = f"in {folder.path}: {first_line(error)}"
        raise ConfigError(key, "a run with undamaged records", folder.name, remedy) from error


def settings(config: Config) -> dict[str, object]:
    """What a run was trained with, key by key."""
    return {key: value for key, value in flatten(config).items() if key not in NOT_SETTINGS}


def shown_settings(config: Config) -> dict[str, object]:
    """Return what MLflow shows as params: the settings, shared ones as they are in effect (0.78/0.82/0.8)."""
    shared = {spec["same_as"] for spec in describe(Config).values() if spec["same_as"]}
    return settings(config) | {key: in_brief(effective(config, key)) for key in shared}


def code_tags() -> dict[str, str]:
    """Commit, and whether files differ from it; nothing outside a checkout."""
    root = Path(__file__).resolve().parents[1]

    def git(*arguments: str) -> str | None:
        command = ["git", "-C", str(root), *arguments]
        try:
            return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
        except (OSError, subprocess.SubprocessError):
            return None

    commit, changes = git("rev-parse", "HEAD"), git("status", "--porcelain", "--untracked-files=no")
    if commit is None or changes is None:
        return {}
    return {"mlflow.source.git.commit": commit, "git_dirty": str(bool(changes)).lower()}


def shown(path: Path) -> str:
    """A path relative to where the user stands, if it is below."""
    try:
        here = Path.cwd()
    except FileNotFoundError:  # it was deleted meanwhile
        return str(path)
    absolute = Path(os.path.abspath(path))
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else str(absolute)


def _warn(console: Console, message: str) -> None:
    console.print(Panel(Text(message), title="warning", style="yellow"), soft_wrap=False)


def _write_config(config: Config, folder: RunFolder) -> None:
    text = OmegaConf.to_yaml(OmegaConf.create(dataclasses.asdict(config)))
    write_atomically(folder.config, text.encode())


def run_facts(config: Config, dataset: Dataset, weights: Weights, folder: RunFolder, command: str) -> dict[str, Any]:
    """What a run is, for MLflow and for a later resume."""
    program = command.split()[1]
    tags = {
        "dataset": dataset.source,
        "dataset_sha256": dataset.sha256,
        "fid_proxy_id": weights.id,
        "fid_proxy_images": f"{config.eval.num_images} in the run, {config.eval.final_num_images} at the end",
        "run_folder": _place(folder),
        "mlflow.user": _user(),
        "mlflow.source.name": program,
        "mlflow.source.type": "LOCAL",
        "mlflow.note.content": described(command, f"Trained on {dataset.description}.", folder),
        **code_tags(),
    }
    return {
        "created": time.time_ns() // 1_000_000,
        "command": command,
        "params": shown_settings(config),
        "tags": tags,
        "dataset": {
            "name": dataset.source,
            "description": dataset.description,
            "sha256": dataset.sha256,
            "shape": list(dataset.train.shape),
            "dtype": str(dataset.train.dtype),
            "class_names": _class_names(dataset),
        },
    }


def described(command: str, what: str, folder: RunFolder) -> str:
    """The description of a run or a study in MLflow, Markdown: how it was made, what it is, how to read its score."""
    score = f"The score is `{metric_names.FID_PROXY}`, and `{metric_names.FINAL_FID_PROXY}` of more images at the end; lower is better."
    return f"{what} {score}\n\n    {_wrapped(command)}\n\nFolder: `{_place(folder)}` of the records"


def _place(folder: RunFolder) -> str:
    """Where a run is in the records, which may be moved."""
    return folder.path.relative_to(folder.records.root).as_posix()


def _wrapped(command: str) -> str:
    """In lines of a code block, as a shell takes them: MLflow's page grows as wide as its longest line."""
    lines: list[str] = []
    for word in map(shlex.quote, shlex.split(command)):
        if lines and len(lines[-1]) + len(word) < COMMAND_WIDTH:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return " \\\n        ".join(lines)


def _class_names(dataset: Dataset) -> list[str]:
    """Of the classes that are trained on; none where classes have numbers alone, or there are none."""
    names = dataset.class_names or (CIFAR10_CLASSES if dataset.source in ("cifar10", "embedded") else ())
    if isinstance(dataset.class_id, int):
        return list(names[dataset.class_id : dataset.class_id + 1])
    if dataset.class_id != "all":
        return [dataset.class_id]
    return [] if dataset.source == "embedded" else list(names)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return str(os.getuid())
