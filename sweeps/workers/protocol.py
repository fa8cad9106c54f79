"""What a search, its workers and their trials tell each other."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Job:
    """What a trial is."""

    overrides: list[str]  # settings, as run.py takes them
    config_dir: str | None
    study: str  # the study's folder
    name: str  # of the run
    title: str  # of the run in MLflow
    params: dict[str, Any]  # for MLflow, beside the settings
    tags: dict[str, str]
    final: bool  # whether the last score of more images, figures and the generator are made
    upload_minutes: float | None = None  # between two uploads of its state to MLflow

    def line(self) -> str:
        return json.dumps(dataclasses.asdict(self)) + "\n"


@dataclass(frozen=True)
class Task:
    """What a worker is told."""

    arguments: list[str]  # of the search
    folder: str  # of the study
    number: int  # of the worker, 0 for the first
    program: str  # that trials run
    shared: bool = False  # whether it takes turns with others in a database, and not at the word `go`

    def line(self) -> str:
        return json.dumps(dataclasses.asdict(self)) + "\n"
