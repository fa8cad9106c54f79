"""What is done with the best of a search: it is scored once more, and its generator registered in MLflow."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from experiments import journal
from experiments.compose import quote_paths
from experiments.journal import Journal
from experiments.records import RunFolder
from gan import metrics
from gan.config import ConfigError

FRESH_LATENTS = 1  # seed of the bank that the best trial is scored with once more; 0 is the search's
EXPERIMENTS = Path(__file__).parents[1] / "experiments"


def rescore(run: RunFolder, num_images: int, say: Callable[[str], None]) -> float | None:
    """The score of a run with as many images as at an end, from latents that the search did not see."""
    key = f"{num_images}/seed_{FRESH_LATENTS}/{metrics.FID}"

    def known() -> list[float]:
        return [values[-1] for name, (_, values) in journal.curves(run.journal).items() if name.endswith(key)]

    if journal.last_status(run.journal) != "FINISHED":
        say(f"the best trial is not scored again: {run.name} was trained on a host that keeps its own records")
        return None
    if not known():
        problem = _program("evaluate.py", run, [f"num_images={num_images}", f"seed={FRESH_LATENTS}"])
        if not known():
            say(f"the best trial could not be scored again: {problem}")
    return known()[-1] if known() else None


def crown(run: RunFolder, study: str, words: str, say: Callable[[str], None]) -> RunFolder | None:
    """Let a run's records say that its generator is a study's champion; None where that cannot be.

    A trial has no saved generator: it is made from the last checkpoint.
    """
    if journal.last_status(run.journal) != "FINISHED":
        say(f"the winner's generator is not registered: {run.name} is on the host that trained it")
        return None
    records = [record for record, _ in journal.read(run.journal, 0)]
    if not any("model" in record for record in records):
        problem = _program("generate.py", run, [f"out={run.generator}", "overwrite=true"])
        if not run.generator.exists():
            say(f"the winner's generator could not be saved: {problem}")
            return None
    if any(record.get("champion") == study for record in records):  # by an earlier sitting
        return run
    try:
        with run.owned():
            written = Journal(run)
            if not any("model" in record for record in records):
                written.model(run.generator)
            written.champion(study, words)
            written.close()
    except ConfigError as error:
        say(f"the winner's generator is not registered: {error}")
        return None
    return run


def _program(name: str, run: RunFolder, arguments: Sequence[str]) -> str:
    """Run one of the smaller programs on a run; what it said in the end."""
    quoted = quote_paths([f"run={run.name}", *arguments, f"records.root={run.records.root}"])
    command = [sys.executable, str(EXPERIMENTS / name), *quoted]
    result = subprocess.run(command, capture_output=True, text=True, start_new_session=True)
    return (result.stderr or result.stdout).strip()[-300:]
