"""The searches of docs/results.md, and what is kept of them."""

import contextlib
import shutil
from pathlib import Path
from typing import Any

import yaml

from experiments import ROOT
from experiments.processes.process import start
from experiments.records import journal
from experiments.records.folders import Records, RunFolder, read_json
from experiments.records.overview import read_best
from gan.arrays import write_atomically
from gan.errors import ConfigError
from sweeps.reproduction.settings import PRECISION, Reproduction, data_arguments

SEARCHES = {  # by name: how each is called; two of the four settings, to see whether they agree
    "four_0": ["search.updates=100000", PRECISION],
    "four_1": ["search.updates=100000", "search.seed=1", PRECISION],
    "levers_0": ["search=levers", "search.updates=200000", PRECISION],
}
FORMER_SEARCHES = ("four", "levers")  # of earlier versions, whose tables are kept
QUICK_SEARCH = [
    "search.updates=null",
    "search.confirm.seeds=0",
    "search.trials=3",
    "search.steps=6",
    "eval.every_steps=2",
    "eval.num_images=20",
    "eval.final_num_images=20",
]


def _arguments(name: str, args: Reproduction) -> list[str]:
    return [*SEARCHES[name], *(QUICK_SEARCH if args.quick else [])]


def results(out: Path) -> dict[str, dict[str, Any]]:
    """Return what is kept of the result of each search, by name. Raises ConfigError for a damaged file."""
    files = {name: out / "results" / f"search_{name}.yaml" for name in SEARCHES}
    found = {}
    for name, file in files.items():
        with contextlib.suppress(FileNotFoundError):
            try:
                found[name] = yaml.safe_load(file.read_text(encoding="utf-8"))
            except (ValueError, yaml.YAMLError):
                found[name] = None
            if not isinstance(found[name], dict):
                raise ConfigError("out", f"a folder whose {file.name} this program wrote", str(file), "remove it")
    return found


def is_made(name: str, args: Reproduction, out: Path) -> bool:
    """Return whether a search was made to its end, with its present arguments.

    Args:
        name: in SEARCHES.
        args: of the program.
        out: the folder of the results.
    """
    return results(out).get(name, {}).get("arguments") == _arguments(name, args)


def search(name: str, args: Reproduction, out: Path) -> int:
    """Run or resume one search, keep its result and the table of its trials, and return its exit code.

    Args:
        name: in SEARCHES.
        args: of the program.
        out: the folder of the results.
    """
    study = f"results-quick-{name}" if args.quick else f"results-{name}"
    arguments = [*data_arguments(args), *_arguments(name, args), f"search.study={study}"]
    code = start(ROOT / "sweeps/optuna_search.py", arguments).wait()
    folder = RunFolder(Records.at(args.records.root).studies / study)
    if code == 0:
        shutil.copy(folder.path / "trials.csv", out / "results" / f"search_{name}.csv")
        shutil.copy(folder.path / "importances.csv", out / "results" / f"importances_{name}.csv")
        result = {"arguments": _arguments(name, args), **_result(folder)}
        text = yaml.safe_dump(result, sort_keys=False, width=120)
        # Last, as it says that the search is made.
        write_atomically(out / "results" / f"search_{name}.yaml", text.encode())
    return code


def _result(study: RunFolder) -> dict[str, Any]:
    """Return the result of a finished search, without what is of this machine alone."""
    best = read_best(study)
    settings_found = [
        each for each in best.get("overrides", []) if not each.startswith(("data.path=", "records.root="))
    ]
    commit = read_json(study.facts)["tags"].get("mlflow.source.git.commit", "")[:7]
    scores = {key: best.get(key) for key in ("trial", "better", "search_score", "confirmed_score")}
    result = journal.all_tags(study.journal)["result"]
    return {"result": result, **scores, "settings": settings_found, "race": best.get("race", {}), "commit": commit}
