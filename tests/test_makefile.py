import os
import re
import shutil
import subprocess
import venv
from pathlib import Path

import pytest
from conftest import ROOT


def make(*arguments: str) -> str:
    done = subprocess.run(["make", "-C", str(ROOT), *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_help_names_every_target() -> None:
    text = make("help")
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony is not None
    targets = set(phony[1].split()) - {"help"}
    assert len(targets) > 12
    for target in targets:
        assert f"make {target} " in text


@pytest.mark.parametrize(
    ("python", "message"),
    [("exit 1", "has another Python than 3.11"), ('case "$*" in *pip*) exit 1;; esac', "has no pip")],
)
def test_an_environment_that_cannot_be_used_is_named(python: str, message: str, tmp_path: Path) -> None:
    for file in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / file, tmp_path)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").write_text(f"#!/bin/sh\n{python}\n")
    (tmp_path / ".venv" / "bin" / "python").chmod(0o755)
    done = subprocess.run(["make", "-C", str(tmp_path), "install"], capture_output=True, text=True, timeout=60)
    assert done.returncode
    assert f"error: .venv {message}" in done.stdout
    assert (tmp_path / ".venv" / "bin" / "python").exists()  # it may be somebody's


@pytest.mark.parametrize("is_ready", [False, True])
def test_an_environment_whose_python_is_gone_is_named(is_ready: bool, tmp_path: Path) -> None:
    """As after an upgrade of the system's Python."""
    for file in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / file, tmp_path)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(tmp_path / "gone")
    if is_ready:
        (tmp_path / ".venv" / ".ready").touch()
    done = subprocess.run(["make", "-C", str(tmp_path), "install"], capture_output=True, text=True, timeout=60)
    assert done.returncode
    assert "error: the Python of .venv is gone" in done.stdout
    assert "not found" not in done.stderr


def test_a_python_without_venv_is_passed_over(tmp_path: Path) -> None:
    for name, content in (
        ("python3.11", '#!/bin/sh\ncase "$*" in *ensurepip*) exit 1;; esac\n'),
        ("python3.12", "#!/bin/sh\n"),
    ):
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(0o755)
    path = os.pathsep.join([str(tmp_path), "/usr/bin", "/bin"])
    command = ["make", "-C", str(ROOT), "--eval", "show: ; @echo $(PYTHON)", "show"]
    done = subprocess.run(command, env={"PATH": path}, capture_output=True, text=True, timeout=60)
    assert "python3.12" in done.stdout


@pytest.mark.parametrize(
    ("target", "command"),
    [
        ("run", "experiments/run.py experiment=quick model.dropout=0.3"),
        ("ui", '/mlruns"'),
        ("demo", "sweeps/demo.py"),
        ("ui", 'experiments/ui.py "records.root='),
        ("test", 'pytest -q -n 3 --dist worksteal -m "not slow"'),
        ("test-all", "THOROUGH=1 .venv/bin/python -m pytest -q -n 2 --dist worksteal\n"),
        ("soak", "SOAK=1"),
        ("mutants", "tests/mutants"),
        ("lint", "ruff check ."),
    ],
)
def test_targets_run_the_commands_that_the_readme_gives(target: str, command: str) -> None:
    assert command in make("--dry-run", target, "ARGS=model.dropout=0.3")


def test_a_renamed_checkout_runs_its_own_code(tmp_path: Path) -> None:
    """Also with .venv of before the name, which has the old one in its link to the code."""
    checkout = tmp_path / "renamed"
    (checkout / "experiments").mkdir(parents=True)
    for file in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / file, checkout)
    (checkout / "experiments" / "__init__.py").touch()
    venv.create(checkout / ".venv", symlinks=True)
    (checkout / ".venv" / ".ready").touch()
    subprocess.run(["make", "-C", str(checkout), "install"], check=True, timeout=60)
    checkout = checkout.rename(tmp_path / "again")
    code = "import experiments; print(experiments.__file__)"
    command = [checkout / ".venv" / "bin" / "python", "-c", code]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == str(checkout / "experiments" / "__init__.py"), done.stderr


def test_an_unfit_python_is_one_line(tmp_path: Path) -> None:
    command = ["make", "-C", str(ROOT), "--always-make", "install", "PYTHON=", f"VENV={tmp_path / 'venv'}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "error: Python 3.11, 3.12 or 3.13 is needed; none found" in done.stdout
