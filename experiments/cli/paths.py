"""Paths as a person reads them."""

import os
from pathlib import Path


def shown(path: Path) -> str:
    """Return a path relative to the working directory if it is below that, else the absolute path."""
    try:
        here = Path.cwd()
    except FileNotFoundError:  # it was deleted meanwhile
        return str(path)
    absolute = Path(os.path.abspath(path))
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else str(absolute)
