"""What a study's workers on other hosts need to know, kept in the study itself."""

import functools
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optuna.study import Study

from experiments import ROOT
from experiments.cli.compose import PRECISION
from experiments.records.folders import RunFolder, read_json
from experiments.tracking.address import TRACKING_URI, public
from experiments.tracking.connection import OWN_DATABASE
from experiments.training.facts import code_tags
from sweeps.spec.plan import Plan

# Attributes of the study: what a worker needs beside its name and address.
ARGUMENTS = "arguments"  # of the search, as its command line had them
CODE = "code"  # version of the program
FACTS = "facts"  # of the study's folder: its run.json
TRACKING = "tracking"  # address of the MLflow server, if there is one
STORES = "stores"  # its run there
FILES = ("data.path", "eval.extractor_weights", "--config-dir")  # arguments that name files


@functools.cache
def code_version() -> str:
    """Return commit and a hash of the sources, as this process found them: two hosts with the same one train alike."""
    digest = hashlib.sha256()
    for package in ("gan", "experiments", "sweeps"):
        for file in sorted((ROOT / package).rglob("*.py")):
            digest.update(file.relative_to(ROOT).as_posix().encode() + file.read_bytes())
    commit = code_tags().get("mlflow.source.git.commit", "no commit")
    return f"{commit[:9]} ({digest.hexdigest()[:8]})"


def is_code_of_here(version: str) -> bool:
    """Return whether the sources are those of this process; a commit may be unknown where there is no checkout."""
    return version.rpartition(" ")[2] == code_version().rpartition(" ")[2]


def publish(study: Study, plan: Plan) -> None:
    """Put into the study what its workers need: facts, MLflow's address, the code's version and the arguments.

    Args:
        study: Optuna's study, whose attributes are set.
        plan: of the search; its arguments are stored with absolute paths and without the settings of one host alone.
    """
    of_this_host = ("search.role", "search.storage", "search.dry_run", "records.root")
    arguments = [each for each in plan.command if each.partition("=")[0] not in (*of_this_host, PRECISION)]
    arguments.append(f"{PRECISION}={plan.config.train.precision}")  # `auto` may be another one on other hosts
    study.set_user_attr(FACTS, read_json(plan.folder.facts))
    uri = os.environ.get(TRACKING_URI, "")
    study.set_user_attr(TRACKING, public(uri) if uri.startswith("http") else "")
    study.set_user_attr(CODE, code_version())
    study.set_user_attr(ARGUMENTS, _absolute(arguments))


def _absolute(arguments: list[str]) -> list[str]:
    """Write files by their whole path: workers start elsewhere."""
    absolute = []
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key in FILES and value and (file := Path(value).expanduser()).exists():
            argument = f"{key}={file.resolve()}"
        absolute.append(argument)
    return absolute


def stores_of(folder: RunFolder) -> dict[str, Any] | None:
    """Return a study's run in MLflow, once it has one, for hosts whose records are elsewhere."""
    if not folder.mlflow_run_ids():
        return None
    stores = {uri: state for uri, state in read_json(folder.delivery)["stores"].items() if uri != OWN_DATABASE}
    if not stores:
        return None
    keys = ("run_id", "experiment_id", "described")
    return {
        "stores": {uri: {"offset": 0, "refused": [], **{k: s[k] for k in keys if k in s}} for uri, s in stores.items()}
    }


def merged(arguments: Sequence[str], worker_arguments: Sequence[str]) -> list[str]:
    """Return the search's arguments with a worker's own in their place."""
    keys = {argument.partition("=")[0] for argument in worker_arguments}
    return [*(argument for argument in arguments if argument.partition("=")[0] not in keys), *worker_arguments]
