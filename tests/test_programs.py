"""Every program as a user starts it: by a Python of its own. Other tests fork them, which takes a tenth of the time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from experiments.processes.process import ADDRESS

PROGRAMS = [
    file.relative_to(ROOT)
    for folder in ("experiments", "sweeps")
    for file in sorted((ROOT / folder).glob("*.py"))
    if 'if __name__ == "__main__":' in file.read_text()
]


@pytest.mark.parametrize("program", PROGRAMS, ids=str)
def test_help_in_any_folder(program: Path, tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != ADDRESS}
    command = [sys.executable, str(ROOT / program), "--help"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert str(program) in done.stdout
    assert len(done.stdout.splitlines()) > 5
    assert not list(tmp_path.iterdir())


def test_there_are_programs() -> None:
    assert len(PROGRAMS) >= 11
