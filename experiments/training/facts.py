"""What is recorded of a run beside its settings: images, extractor, code, command."""

import functools
import getpass
import hashlib
import json
import os
import subprocess
import time
from collections.abc import Mapping
from typing import Any

from experiments import ROOT
from experiments.cli.config_file import from_yaml
from experiments.cli.progress import short_names
from experiments.records.folders import RunFolder, read_json
from experiments.settings.schema import FOLLOWS, FREE_KEYS, Config, effective, flatten, in_brief
from experiments.settings.text import brief
from experiments.tracking.experiment import NOTE
from experiments.training.description import description
from gan.data.classes import CIFAR10_CLASSES
from gan.data.dataset import Dataset
from gan.errors import ConfigError, first_line
from gan.evaluation.weights import Weights

GROUP = "settings_group"  # the tag of runs that differ in the seed alone
NAMED = 3  # settings in it, at most
MOST_CHANGES = 1_000_000  # bytes of them that a run keeps
NOT_SETTINGS = ("name", "resume", "notify", "note", "records.root")  # where a run is kept, not what it is


def read_records(folder: RunFolder, key: str = "resume") -> tuple[Config, dict[str, Any]]:
    """Read the settings of a run and the facts about it.

    Args:
        folder: the run's folder.
        key: the setting in whose name ConfigError is raised.

    Raises:
        ConfigError: if a file is missing or damaged.
    """
    try:
        config = from_yaml(folder.config.read_text(encoding="utf-8"))
        facts = read_json(folder.facts)
        if not {"dataset", "tags"} <= facts.keys():
            raise ValueError("run.json lacks the data set or the tags")
        return config, facts
    except (OSError, ValueError) as error:
        remedy = f"in {folder.path}: {first_line(error)}"
        raise ConfigError(key, "a run with undamaged records", folder.name, remedy) from error


def settings(config: Config) -> dict[str, object]:
    """Return the settings that a run was trained with, by key."""
    return {key: value for key, value in flatten(config).items() if key not in NOT_SETTINGS}


def shown_settings(config: Config) -> dict[str, object]:
    """Return what MLflow shows as params: the settings, shared ones as they are in effect (0.78/0.82/0.8)."""
    return settings(config) | {key: in_brief(effective(config, key)) for key in set(FOLLOWS.values())}


@functools.cache
def code_tags() -> Mapping[str, str]:
    """Return the commit of the checkout and whether files differ from it, as tags; none outside a checkout.

    They are those of the code that this process runs: whoever asks first should do it early.
    """

    commit, changes = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--untracked-files=no")
    if commit is None or changes is None:
        return {}
    return {"mlflow.source.git.commit": commit.decode().strip(), "git_dirty": str(bool(changes)).lower()}


@functools.cache
def code_changes() -> bytes:
    """Return how files of the checkout differ from its commit, as `git apply` takes it; nothing if they do not.

    It is empty, too, outside a checkout and for differences longer than MOST_CHANGES.
    """
    if code_tags().get("git_dirty") != "true":
        return b""
    changes = _git("diff", "--binary", "HEAD") or b""
    return changes if len(changes) <= MOST_CHANGES else b""


def _git(*arguments: str) -> bytes | None:
    """Return what git says of the checkout; None where there is none."""
    try:
        return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None


def run_facts(config: Config, dataset: Dataset, weights: Weights, folder: RunFolder, command: str) -> dict[str, Any]:
    """Return what run.json records of a run, for MLflow and for a later resume.

    Args:
        config: the run's settings.
        dataset: the images that it is trained on.
        weights: of the extractor that scores it.
        folder: the run's folder.
        command: the command line that made the run, beginning with `python <program>`.

    Returns:
        The time of creation in milliseconds since 1970, the command, the user's note, MLflow's params and tags, and a
        description of the data set.
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
        **code_tags(),
    }
    facts: dict[str, Any] = {
        "created": time.time_ns() // 1_000_000,
        "command": command,
        "note": config.note,
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
    facts["tags"][NOTE] = description("No score yet.", facts)
    return facts


def settings_of_result(config: Config, ancestor: str = "") -> dict[str, object]:
    """Return the settings that a run's result depends on, without the seed.

    Args:
        config: the run's settings.
        ancestor: the run and step that its networks come from, as `first (step 2500)`; empty for none.
    """
    chosen = {key: value for key, value in settings(config).items() if key not in FREE_KEYS}
    return chosen | ({"train.init_from": ancestor} if ancestor else {})  # whose file may have been moved since


def ancestor_of(facts: Mapping[str, Any]) -> str:
    """Return whose networks a run started from, as `first (step 2500)`; empty for a run that started from nothing."""
    name = facts["tags"].get("init_from")
    return f"{name} (step {facts['tags'].get('init_from.step', 'unknown')})" if name else ""


def group_of(config: Config, facts: Mapping[str, Any]) -> str:
    """Return what runs have in common that differ in the seed alone: settings that are no default, and a hash of all.

    MLflow's list can group runs by it, and shows the means over the seeds.

    Args:
        config: the run's settings.
        facts: of the run, with its data set and extractor.
    """
    ancestor = ancestor_of(facts)
    chosen = settings_of_result(config, ancestor)
    images = {key: facts["tags"].get(key) for key in ("dataset_sha256", "fid_proxy_id")}
    digest = hashlib.sha256(json.dumps([chosen, images], sort_keys=True).encode()).hexdigest()
    defaults = shown_settings(Config())
    values = {key: value for key, value in shown_settings(config).items() if key in chosen and value != defaults[key]}
    if ancestor:
        values["train.init_from"] = ancestor  # not its file, which lies elsewhere on another host
    named = [key for key in values if key not in FOLLOWS and not key.startswith(("data.", "eval."))]
    named.sort(key=lambda key: "/" in str(values[key]))  # values of layers are long, and come last
    names = short_names(named)
    words = [f"{name} {brief(values[key])}" for key, name in names.items()]
    more = [f"{len(words) - NAMED} more"] if len(words) > NAMED else []
    return f"{', '.join([*words[:NAMED], *more]) or 'defaults'} ({digest[:6]})"


def _place(folder: RunFolder) -> str:
    """Return where a run is within the records, which may be moved."""
    return folder.path.relative_to(folder.records.root).as_posix()


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
