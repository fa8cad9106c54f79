"""The folders of everything that the program writes: one root, one folder a run."""

import contextlib
import datetime
import errno
import fnmatch
import itertools
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from experiments import ROOT
from experiments.settings.rules import FolderName, Utf8, is_utf8, stray_character
from gan import metric_names
from gan.arrays import write_atomically
from gan.checkpoint import Checkpoints
from gan.errors import ConfigError, first_line

BEST = "best:"  # before the name of a study, stands for the run of its winner
RUNS_URI = "runs:/"  # before a run's id, in MLflow's addresses
FEWEST_DIGITS = 4  # of an id that is cut short
LOOK_SECONDS = 1.0  # that a list holds a run's lock at most, to see whether it is free


class InUse(ConfigError):
    """Another process trains or delivers the run, or searches the study."""


def sqlite_uri(file: Path) -> str:
    """Return the address of an SQLite file in SQLAlchemy's words."""
    # SQLAlchemy takes what follows a ? for options, and decodes %.
    path = str(file).replace("%", "%25").replace("?", "%3F")
    return f"sqlite:///{path}"


def default_root() -> Path:
    """Return the root of the project's own records, mlruns/."""
    return (ROOT / "mlruns").resolve()  # may be a link to another disk


@dataclass(frozen=True)
class RunFolder:
    """One run's folder and the files in it."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def records(self) -> "Records":
        return Records(self.path.parents[1])

    @property
    def config(self) -> Path:  # the resolved settings
        return self.path / "config.yaml"

    @property
    def facts(self) -> Path:  # what the run is: command, data, tags
        return self.path / "run.json"

    @property
    def journal(self) -> Path:  # all that happened, in order
        return self.path / "metrics.jsonl"

    @property
    def delivery(self) -> Path:  # how much of it MLflow has
        return self.path / "tracking.json"

    @property
    def samples(self) -> Path:
        return self.path / "samples"

    @property
    def sample_files(self) -> dict[int, Path]:
        """The sample grids by step, in order; files that somebody else put there are none."""
        files = sorted(self.samples.glob(f"{metric_names.SAMPLES}_*.png"))
        matches = {file: re.fullmatch(rf"{metric_names.SAMPLES}_(\d+)", file.stem) for file in files}
        return {int(match[1]): file for file, match in matches.items() if match}

    @property
    def code_diff(self) -> Path:  # how the code that trained it differs from its commit
        return self.path / "code.diff"

    @property
    def plots(self) -> Path:
        return self.path / "plots"

    @property
    def generator(self) -> Path:
        return self.path / "generator.keras"

    @property
    def checkpoints(self) -> Checkpoints:
        return Checkpoints(self.path / "checkpoints")

    @contextlib.contextmanager
    def owned(self, key: str = "resume") -> Iterator[None]:
        """Be the only process that trains or delivers this run; the system frees it when the process dies.

        Raises InUse, in the name of a setting, if another process has it, and ConfigError if it was removed.
        """
        if not self.path.is_dir():  # or the lock would make it anew
            raise ConfigError(key, "one that is there", self.name, "it was removed meanwhile")
        try:
            with FileLock(self.path / ".lock", timeout=LOOK_SECONDS):
                yield
        except Timeout:
            raise InUse(key, "free", self.name, "another process is using it") from None

    @property
    def created(self) -> float:
        """When it was made, in seconds since 1970. Raises OSError if there is no run."""
        written = self.config.stat().st_mtime  # a copy may have another time, so that it only fills a gap
        try:
            return float(read_json(self.facts)["created"]) / 1000
        except (OSError, ValueError, KeyError, TypeError):  # missing or damaged: whatever opens it says so
            return written

    @property
    def is_of_study(self) -> bool:
        """Whether a search made it: as a trial, or to confirm one."""
        try:
            return "parent" in read_json(self.facts)
        except (OSError, ValueError):  # missing or damaged: whatever opens it says so
            return False

    def mlflow_run_ids(self) -> list[str]:
        """Return the run's ids, one for each MLflow server that it was delivered to."""
        try:
            stores = read_json(self.delivery)["stores"]
            return [state["run_id"] for state in stores.values() if "run_id" in state]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # missing or damaged: the name is used
            return []


@dataclass(frozen=True)
class Records:
    """The root folder of all records."""

    root: Path

    @classmethod
    def at(cls, root: str | None) -> "Records":
        """Return the records in the project's `mlruns/` or in another folder, relative to the working directory."""
        return cls(Path(os.path.expanduser(root)).resolve() if root is not None else default_root())

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def studies(self) -> Path:
        return self.root / "studies"

    @property
    def multiruns(self) -> Path:
        return self.root / "multirun"

    @property
    def removed(self) -> Path:  # runs that are being removed
        return self.root / "removed"

    @property
    def comparisons(self) -> Path:
        return self.root / "comparisons"

    @property
    def studies_database(self) -> Path:
        return self.root / "studies.db"

    @property
    def studies_address(self) -> str:
        """The address of `studies_database` in SQLAlchemy's words."""
        return sqlite_uri(self.studies_database)

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def database(self) -> Path:
        return self.root / "mlflow.db"

    @property
    def artifacts(self) -> Path:
        return self.root / "artifacts"

    def check_writable(self) -> None:
        """Raise ConfigError if the root cannot be written; make nothing."""
        if not is_utf8(str(self.root)):
            raise ConfigError("records.root", f"{Utf8()}", str(self.root))
        for folder in (self.root, self.runs, self.cache):
            check_folder(folder, "records.root")

    def new_run(self, name: str | None, stem: str | None = None) -> RunFolder:
        """Make a folder that no other process has.

        Args:
            name: that the user chose; None for none.
            stem: its name without that, which a number follows where it is taken.

        Raises:
            ConfigError: if the user's name is taken.
        """
        return RunFolder(new_folder(self.runs, name or stem or "run", lambda: self.check_new(name)))

    def check_new(self, name: str | None) -> None:
        """Raise ConfigError if a folder of this name exists."""
        if name is None or not (self.runs / name).exists():
            return
        folder = RunFolder(self.runs / name)
        remedy = f"resume={name} resumes that run"
        if not folder.config.is_file():
            remedy = f"{folder.path} exists without a run that reached its first step; remove it"
        raise ConfigError("name", "new", name, remedy)

    def all_runs(self) -> list[RunFolder]:
        """Return all runs, oldest first."""
        times: dict[RunFolder, float] = {}
        for path in self.runs.glob("*/"):
            run = RunFolder(path)
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # no run, or one that is removed just now
                times[run] = run.created
        return sorted(times, key=lambda run: times[run])

    def all_studies(self) -> list[RunFolder]:
        """Return the folders of all studies, by name; each is recorded as a run that others are part of."""
        return [RunFolder(p) for p in sorted(self.studies.glob("*/")) if (p / "run.json").is_file()]

    def find_runs(self, references: Sequence[str]) -> list[RunFolder]:
        """Find the runs that references or patterns of names fit, in order and each once.

        Raises:
            ConfigError: for a reference that no run fits.
        """
        runs = []
        for reference in references:
            is_folder = os.sep in reference and Path(os.path.expanduser(reference)).is_dir()
            if any(letter in reference for letter in "*?[") and not is_folder:
                matching = [run for run in self.all_runs() if fnmatch.fnmatch(run.name, reference)]
                if not matching:
                    raise ConfigError("run", "a pattern that some run's name matches", reference)
                runs += sorted(matching, key=lambda run: run.name)
            else:
                runs.append(self.find_run(reference, "run"))
        return list({run.path: run for run in runs}.values())

    def find_run(self, reference: str, key: str = "resume") -> RunFolder:
        """Find the run that a reference names.

        Args:
            reference: a name, a folder, an MLflow run id or the beginning of one, alone or as in `runs:/<id>`,
                `last`, or `best:<study>`, the winner of a search.
            key: the setting in whose name ConfigError is raised.

        Raises:
            ConfigError: where there is no such run, or more than one.
        """
        if reference.startswith(BEST):
            return self._best_of(reference.removeprefix(BEST), key)
        places = [self.runs / reference, Path(os.path.expanduser(reference))]
        for path in places if Path(reference).name == reference else reversed(places):  # a name before a folder here
            if reference != "last" and (path / "config.yaml").is_file():
                return _run_at(path, reference, key)
        runs = self.all_runs()
        if not runs:
            raise ConfigError(
                key, "a run", reference, f"there are none in {self.runs}: python experiments/run.py trains one"
            )
        if reference == "last":
            return self._last(runs, key)
        run_id = reference.removeprefix(RUNS_URI).partition("/")[0].lower()
        matching = [run for run in runs if any(mlflow_id.startswith(run_id) for mlflow_id in run.mlflow_run_ids())]
        exact = [run for run in matching if run_id in run.mlflow_run_ids()] or matching
        if len(exact) == 1 and len(run_id) >= FEWEST_DIGITS:
            return exact[0]
        if matching and len(run_id) >= FEWEST_DIGITS:
            names = ", ".join(run.name for run in matching[:-4:-1])
            raise ConfigError(key, "the id of one run", reference, f"{len(matching)} begin with it: {names}")
        own = [run for run in runs if not run.is_of_study] or runs
        recent = stray_character(reference) or "most recent: " + ", ".join(run.name for run in own[:-4:-1])
        if (self.studies / reference / "best.yaml").is_file():
            recent = f"did you mean '{BEST}{reference}', the winner of that search?"
        raise ConfigError(key, "last, or a run's MLflow id, name or folder", reference, recent)

    def _last(self, runs: list[RunFolder], key: str) -> RunFolder:
        """Return the last run that a person started. runs: oldest first. Raises ConfigError if all are of searches."""
        for run in reversed(runs):
            if not run.is_of_study:
                return run
        remedy = f"all runs here belong to searches; by name: {runs[-1].name}"
        if winners := [folder.name for folder in self.all_studies() if (folder.path / "best.yaml").is_file()]:
            remedy += f"; a winner: {BEST}{winners[-1]}"
        raise ConfigError(key, "a run outside of a search", "last", remedy)

    def _best_of(self, study: str, key: str) -> RunFolder:
        file = self.studies / study / "best.yaml"
        if not FolderName().admits(study):
            raise ConfigError(key, f"{BEST}<study>, its name {FolderName()}", f"{BEST}{study}")
        try:
            name = yaml.safe_load(file.read_text(encoding="utf-8"))["run"]
            if (self.runs / name / "config.yaml").is_file():
                return RunFolder(self.runs / name)
            problem = f"its run {name} is gone"
        except FileNotFoundError:
            names = ", ".join(folder.name for folder in self.all_studies()) or "none"
            is_there = (file.parent / "run.json").is_file()
            problem = "it has no result yet; the same search command resumes it" if is_there else f"searches: {names}"
        except (OSError, TypeError, KeyError, ValueError, yaml.YAMLError) as error:
            problem = f"{file} is damaged: {type(error).__name__}"
        raise ConfigError(key, "the winner of a finished search", f"{BEST}{study}", problem)


def _run_at(path: Path, reference: str, key: str) -> RunFolder:
    """Return the run of a folder, which may be a link to another disk. Raises ConfigError outside of all records."""
    path = Path(os.path.abspath(path))
    if path.parent.name != "runs":
        remedy = f"what is made of it goes beside it, so move it to {Records.at(None).runs} or to other records"
        raise ConfigError(key, "a folder in the runs/ of some records", reference, remedy)
    return RunFolder(Records(path.parents[1].resolve()).runs / path.name)


def _now() -> str:
    return f"{datetime.datetime.now():%Y%m%d-%H%M%S}"


def new_folder(parent: Path, stem: str | None = None, taken: Callable[[], None] = lambda: None) -> Path:
    """Make a folder that no other process has.

    Args:
        parent: where; made if it is not there.
        stem: its name, by default date and time; a number follows where the name is taken.
        taken: called first in that case.

    Raises:
        ConfigError: in the name of records.root, where folders cannot be made.
    """
    make_folder(parent, "records.root")
    stem = stem or _now()
    for attempt in itertools.count(1):
        path = parent / (stem if attempt == 1 else f"{stem}-{attempt}")
        try:
            path.mkdir()
            break
        except FileExistsError:
            taken()
    return path


def check_folder(folder: Path, key: str) -> None:
    """Raise ConfigError, in the name of a setting, if a folder cannot be made or written; make nothing."""
    problem = None
    try:
        existing = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
        if not existing.is_dir():
            problem = f"{existing} is not a folder"
        elif not os.access(existing, os.W_OK | os.X_OK):
            read_only = os.statvfs(existing).f_flag & os.ST_RDONLY
            problem = os.strerror(errno.EROFS if read_only else errno.EACCES)
        else:
            os.stat(folder)  # a name that is too long
    except FileNotFoundError:
        pass
    except OSError as error:
        problem = error.strerror
    if problem is not None:
        raise ConfigError(key, "a folder that can be written", str(folder), problem)


def make_folder(folder: Path, key: str) -> None:
    """Make a folder; raises ConfigError, in the name of a setting, if it cannot be made or written."""
    check_folder(folder, key)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(key, "a folder that can be written", str(folder), first_line(error)) from error


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON object. Raises OSError, and ValueError for anything else."""
    content = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"{file.name} does not hold a JSON object")
    return content


def write_json(file: Path, content: dict[str, Any]) -> None:
    """Write a JSON object at once, as `write_atomically` does."""
    write_atomically(file, json.dumps(content, indent=1).encode())
