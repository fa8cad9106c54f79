"""What is recorded of a run beside its settings: images, extractor, code, command."""

import functools
import getpass
import os
import shlex
import subprocess
import time
from collections.abc import Mapping
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments import ROOT
from experiments.records.folders import RunFolder, read_json
from experiments.settings.renamed import rename_sections
from experiments.settings.rules import describe
from experiments.settings.schema import Config, effective, flatten, in_brief
from gan import metric_names
from gan.data.classes import CIFAR10_CLASSES
from gan.data.dataset import Dataset
from gan.errors import ConfigError, first_line
from gan.evaluation.weights import Weights

COMMAND_WIDTH = 80  # characters
NOT_SETTINGS = ("name", "resume", "notify", "records.root")  # where a run is kept, not what it is


def read_records(folder: RunFolder, key: str = "resume") -> tuple[Config, dict[str, Any]]:
    """Read the settings of a run and the facts about it.

    Args:
        folder: the run's folder.
        key: the setting in whose name ConfigError is raised.

    Raises:
        ConfigError: if a file is missing or damaged.
    """
    try:
        node = OmegaConf.load(folder.config)
        if not node:
            raise ValueError("config.yaml is empty")
        rename_sections(node)
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
    """Return the settings that a run was trained with, by key."""
    return {key: value for key, value in flatten(config).items() if key not in NOT_SETTINGS}


def shown_settings(config: Config) -> dict[str, object]:
    """Return what MLflow shows as params: the settings, shared ones as they are in effect (0.78/0.82/0.8)."""
    shared = {spec["same_as"] for spec in describe(Config).values() if spec["same_as"]}
    return settings(config) | {key: in_brief(effective(config, key)) for key in shared}


@functools.cache
def code_tags() -> Mapping[str, str]:
    """Return the commit of the checkout and whether files differ from it, as tags; none outside a checkout.

    They are those of the code that this process runs: whoever asks first should do it early.
    """

    def git(*arguments: str) -> str | None:
        command = ["git", "-C", str(ROOT), *arguments]
        try:
            return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
        except (OSError, subprocess.SubprocessError):
            return None

    commit, changes = git("rev-parse", "HEAD"), git("status", "--porcelain", "--untracked-files=no")
    if commit is None or changes is None:
        return {}
    return {"mlflow.source.git.commit": commit, "git_dirty": str(bool(changes)).lower()}


def run_facts(config: Config, dataset: Dataset, weights: Weights, folder: RunFolder, command: str) -> dict[str, Any]:
    """Return what run.json records of a run, for MLflow and for a later resume.

    Args:
        config: the run's settings.
        dataset: the images that it is trained on.
        weights: of the extractor that scores it.
        folder: the run's folder.
        command: the command line that made the run, beginning with `python <program>`.

    Returns:
        The time of creation in milliseconds since 1970, the command, MLflow's params and tags, and a description of the
        data set.
    """
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


def described(command: str, sentence: str, folder: RunFolder) -> str:
    """Return MLflow's description of a run or a study, in Markdown: what it is, its score, its command.

    Args:
        command: the command line that made it.
        sentence: a sentence on what it is.
        folder: its folder, shown relative to the records' root.
    """
    score = f"The score is `{metric_names.FID_PROXY}`, and `{metric_names.FINAL_FID_PROXY}` of more images at the end; lower is better."
    return f"{sentence} {score}\n\n    {_wrapped(command)}\n\nFolder: `{_place(folder)}` of the records"


def _place(folder: RunFolder) -> str:
    """Return where a run is within the records, which may be moved."""
    return folder.path.relative_to(folder.records.root).as_posix()


def _wrapped(command: str) -> str:
    """Break a command into lines as a shell takes them: MLflow's page grows as wide as its longest line."""
    lines: list[str] = []
    for word in map(shlex.quote, shlex.split(command)):
        if lines and len(lines[-1]) + len(word) < COMMAND_WIDTH:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return " \\\n        ".join(lines)


def _class_names(dataset: Dataset) -> list[str]:
    """Return the names of the classes that are trained on; empty where classes have no names."""
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
