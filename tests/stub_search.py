"""sweeps/optuna_search.py itself, with a stub in place of trainings.

python tests/stub_search.py <file of the stub below tests/> <arguments of sweeps/optuna_search.py>

LOCAL_SLURM in the environment has SLURM's jobs run on this machine.
"""

import functools
import os
import sys
from pathlib import Path

from experiments import ROOT
from experiments.cli import entry
from sweeps import optuna_search
from sweeps.search import session, start
from sweeps.spec.plan import Plan
from sweeps.workers import launchers


class LocalSlurm(launchers.SlurmLauncher):
    """SLURM's launcher with submitit's stand-in for SLURM."""

    def __init__(self, plan: Plan, logs: Path) -> None:
        super().__init__(plan, logs, cluster="local")


if __name__ == "__main__":
    stub = Path(__file__).parent / sys.argv[1]
    session.Supervisor = functools.partial(session.Supervisor, program=stub)
    optuna_search.join = functools.partial(optuna_search.join, program=stub)
    if "LOCAL_SLURM" in os.environ:
        launchers.SlurmLauncher = LocalSlurm
        launchers.PROGRAMS.clear()
    sys.argv = [str(ROOT / "sweeps/optuna_search.py"), *sys.argv[2:]]
    sys.orig_argv = [sys.executable, *sys.argv]  # by which signals are the program's
    entry.run(optuna_search.main, failures=start.FAILURES)
