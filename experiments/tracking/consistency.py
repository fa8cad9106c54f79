"""Whether the records and MLflow say the same: runs that one of them lacks, and places that are gone."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from experiments.records.folders import Records, RunFolder, read_json
from experiments.records.overview import is_in_use, read_best
from experiments.tracking.address import sqlite_file, tracking_uri
from experiments.tracking.connection import ROOT_TAG, connect, get_run, is_gone, own_experiments
from experiments.tracking.delivery import Delivery
from experiments.tracking.relocation import relocate
from gan.errors import ConfigError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

PAGE = 1000  # runs a request


@dataclass
class Findings:
    """What is not as it should be.

    Attributes:
        behind: runs of which MLflow lacks some records, or all.
        deleted: runs that are in MLflow's trash.
        without_folder: MLflow's runs whose folders are gone: names by id.
        broken: sentences on what names something that is gone.
    """

    behind: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    without_folder: dict[str, str] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)


def correct_places(records: Records) -> list[Path]:
    """Correct the places of files in MLflow's database after a move, and return the former folders.

    Every program that uses MLflow does the same when it connects.
    """
    file = sqlite_file(tracking_uri(records))
    if file is None or is_gone(file):
        return []
    return relocate(file, copies=file == records.database)


def check(records: Records) -> Findings:
    """Compare the records with MLflow.

    Raises:
        Exception: what MLflow, its database or the network raise if MLflow cannot be reached.
    """
    found = Findings()
    uri = tracking_uri(records)
    folders = [*records.all_studies(), *records.all_runs()]
    deliveries = {folder: Delivery(folder) for folder in folders}
    client = None if is_gone(sqlite_file(uri)) else connect(records, uri)
    ids = [delivery.run_id for delivery in deliveries.values() if delivery.run_id]
    known = _runs_of(client, ids) if client is not None else {}
    for folder, delivery in deliveries.items():
        run = known.get(delivery.run_id or "")
        if run is not None and run.info.lifecycle_stage == "deleted":
            found.deleted.append(folder.name)
        elif folder.journal.exists() and not is_in_use(folder):
            try:
                if client is None or run is None or not delivery.is_whole(client, run):
                    found.behind.append(folder.name)
            except ConfigError as error:  # its journal is damaged
                found.broken.append(f"{folder.name}: {error}")
    if sqlite_file(uri) == records.database:
        mine = {run_id for folder in folders for run_id in folder.mlflow_run_ids()}
        for run_id, run in known.items():
            place = run.data.tags.get("run_folder")
            is_mine = run.data.tags.get(ROOT_TAG) == str(records.root)  # other records may deliver to it, too
            if place and is_mine and run_id not in mine and not (records.root / place / "run.json").is_file():
                found.without_folder[run_id] = f"{run.info.run_name} ({place})"
    found.broken += [*_broken_studies(records), *_broken_runs(records)]
    return found


def _runs_of(client: "MlflowClient", ids: Iterable[str]) -> dict[str, "Run"]:
    """Return all runs of our experiments, and runs of other experiments by their ids.

    Those in the trash are among them.
    """
    experiments = own_experiments(client)
    runs = _runs_in(client, experiments) if experiments else {}
    elsewhere = [get_run(client, run_id) for run_id in ids if run_id not in runs]
    return runs | {run.info.run_id: run for run in elsewhere if run is not None}


def _runs_in(client: "MlflowClient", experiments: list[str]) -> dict[str, "Run"]:
    from mlflow.entities import ViewType

    runs: dict[str, Run] = {}
    token: str | None = None
    while True:
        page = client.search_runs(experiments, run_view_type=ViewType.ALL, max_results=PAGE, page_token=token)
        runs |= {run.info.run_id: run for run in page}
        token = page.token
        if not token:
            return runs


def _broken_studies(records: Records) -> list[str]:
    """Say which winners of searches are gone."""
    broken = []
    for study in records.all_studies():
        name = read_best(study).get("run")
        if name is not None and not (records.runs / str(name) / "config.yaml").is_file():
            broken.append(f"best:{study.name} is {name}, which is gone; rm study={study.name} removes the search")
    return broken


def _broken_runs(records: Records) -> list[str]:
    """Say which runs lack their settings, or name a search or images that are gone."""
    by_problem: dict[str, list[str]] = {}
    for folder in map(RunFolder, sorted(records.runs.glob("*/"))):
        if folder.facts.is_file() and not folder.config.is_file() and not is_in_use(folder):
            problem = (
                "its config.yaml is gone, without which no program sees the run; put it back, or delete the folder"
            )
            by_problem.setdefault(problem, []).append(folder.name)
    for run in records.all_runs():
        for problem in _problems(records, run):
            by_problem.setdefault(problem, []).append(run.name)
    return [
        f"{names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}: {problem}"
        for problem, names in by_problem.items()
    ]


def _problems(records: Records, run: RunFolder) -> list[str]:
    try:
        facts = read_json(run.facts)
    except (OSError, ValueError):
        return ["its run.json is damaged"]
    problems = []
    if (parent := facts.get("parent")) and not (records.root / str(parent) / "run.json").is_file():
        problems.append(f"its search {parent} is gone")
    try:
        place = yaml.safe_load(run.config.read_text(encoding="utf-8")).get("data", {}).get("path")
    except (OSError, ValueError, AttributeError, yaml.YAMLError):
        return [*problems, "its config.yaml is damaged"]
    if place and not Path(str(place)).exists():
        problems.append(f"its images are not at {place} any more; data.path=<place> says where they are")
    return problems
