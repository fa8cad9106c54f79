"""Paths and commands as a person reads and copies them."""

import os
import shlex
from pathlib import Path

from experiments import ROOT
from experiments.cli.overrides import as_text
from experiments.records.folders import Records, default_root


def shown(path: Path) -> str:
    """Return a path relative to the working directory if it is below that, else the absolute path."""
    try:
        here = Path.cwd()
    except FileNotFoundError:  # it was deleted meanwhile
        return str(path)
    absolute = Path(os.path.abspath(path))
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else str(absolute)


def command(records: Records, program: str, *arguments: str) -> str:
    """Return a command line as it works in this folder, on these records.

    Args:
        records: that it works on.
        program: as experiments/compare.py.
        arguments: texts among them quoted.
    """
    root = [as_text(f"records.root={records.root}")] if records.root != default_root() else []
    return shlex.join(["python", shown(ROOT / program), *arguments, *root])
