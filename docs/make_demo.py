"""Take a finished search from the records to docs/demo/, for `make demo`: small, and without the names of this machine.

    python sweeps/optuna_search.py search=quick data=cifar10 data.path=<CIFAR-10>
    python docs/make_demo.py study=quick data.path=<CIFAR-10>

Of each run it takes settings, facts, curves and a few samples; checkpoints and MLflow's records stay.
"""

import shutil
import socket
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path

import optuna
from PIL import Image

from experiments.cli import entry
from experiments.cli.arguments import with_arguments
from experiments.records.folders import Records, RunFolder
from experiments.settings.rules import FolderName, setting
from experiments.settings.schema import DataPlace, RecordsConfig
from gan.errors import ConfigError
from gan.images import evenly

DEMO = Path(__file__).parent / "demo"
COLOURS = 64  # of the samples
MOST_STEPS = 4  # of samples of a run
MOST_BYTES = 2_000_000


@dataclass
class Taken:
    study: str = setting("quick", "a finished search", FolderName())
    data: DataPlace = field(default_factory=DataPlace)
    records: RecordsConfig = field(default_factory=RecordsConfig)


def main(args: Taken) -> int:
    records = Records.at(args.records.root)
    runs = [RunFolder(path) for path in sorted(records.runs.glob(f"{args.study}-*"))]
    study = RunFolder(records.studies / args.study)
    if not (study.path / "report.html").exists() or not runs:
        raise ConfigError("study", "a finished search of these records", args.study)
    host = socket.gethostname()
    private = {
        str(records.root): "mlruns",
        f"{host}:": "host:",
        f" on {host}": " on host",
        f'"host": "{host}"': '"host": "host"',
    }  # of workers and trials
    if args.data.path is not None:
        private[args.data.path] = "cifar-10"
    shutil.rmtree(DEMO, ignore_errors=True)
    target = Records(DEMO)
    for source, kind in ((study, target.studies), *((run, target.runs) for run in runs)):
        (kind / source.name).mkdir(parents=True)
        for file in (source.facts, source.journal, source.config):
            if file.exists():
                (kind / source.name / file.name).write_text(
                    _public(file.read_text(encoding="utf-8"), private), encoding="utf-8"
                )
    for run in runs:
        _take_samples(run, RunFolder(target.runs / run.name))
    _take_study(records.studies_database, target.studies_database, args.study, private)
    size = sum(file.stat().st_size for file in DEMO.rglob("*") if file.is_file())
    print(f"{DEMO.relative_to(Path.cwd())}: {len(runs)} runs, {size / 1e6:.2f} MB")
    if size > MOST_BYTES:
        raise ConfigError("study", f"one of at most {MOST_BYTES / 1e6:.0f} MB", args.study)
    return 0


def _public(text: str, private: dict[str, str]) -> str:
    for name, instead in private.items():
        text = text.replace(name, instead)
    return text


def _take_samples(run: RunFolder, target: RunFolder) -> None:
    """Copy some samples, the last among them, in few colours."""
    target.samples.mkdir()
    files = run.sample_files
    for step in evenly(list(files), MOST_STEPS):
        with Image.open(files[step]) as image:
            image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(
                target.samples / files[step].name, optimize=True
            )


def _take_study(source: Path, target: Path, study: str, private: dict[str, str]) -> None:
    """Copy Optuna's database with one study alone."""
    with sqlite3.connect(source) as database, sqlite3.connect(target) as copy:
        database.backup(copy)
    address = f"sqlite:///{target}"
    for other in set(optuna.get_all_study_names(address)) - {study}:
        optuna.delete_study(study_name=other, storage=address)
    copy = sqlite3.connect(target)
    for table in ("study_user_attributes", "trial_user_attributes", "trial_system_attributes"):
        for name, instead in private.items():
            copy.execute(f"UPDATE {table} SET value_json = replace(value_json, ?, ?)", (name, instead))
    copy.commit()
    copy.execute("VACUUM")
    copy.close()


if __name__ == "__main__":
    entry.run(with_arguments(Taken, main, __doc__))
