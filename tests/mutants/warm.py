"""Runs tests again and again in a folder without importing the large libraries each time.

Started as `python warm.py` in the folder of a copy. Each line of its standard input is a list of pytest's arguments, in
JSON. A fork of this process, which has TensorFlow and others imported but nothing of the project, runs them; the answer is
a line with its exit code and its output. The end of the input ends it.
"""

import contextlib
import importlib
import json
import os
import signal
import sys
import tempfile
import time

import psutil

# What gan and tests/conftest.py set before they import these, and what pytest needs where it is not their first importer.
os.environ |= {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1", "MLFLOW_DISABLE_TELEMETRY": "true"}
os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
LIBRARIES = (
    "tensorflow",
    "keras",
    "mlflow",
    "optuna",
    "scipy.stats",
    "matplotlib.pyplot",
    "hydra",
    "PIL.Image",
    "pytest",
)
PAUSE = 0.05  # seconds between two looks at a fork

_fork = 0  # that is running tests now


def run(arguments: list[str], seconds: float) -> tuple[int | None, str]:
    """Run pytest in a fork.

    Args:
        arguments: of pytest.
        seconds: that it may take; then it is killed with all that it started.

    Returns:
        Its exit code, None where it was killed, and its output.
    """
    with tempfile.TemporaryFile() as output:
        global _fork
        _fork = process = os.fork()
        if not process:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
            os.setsid()
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os._exit(_pytest(arguments))
        code = _wait(process, seconds)
        output.seek(0)
        return code, output.read().decode(errors="replace")


def _pytest(arguments: list[str]) -> int:
    import pytest

    code = int(pytest.main(arguments))
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def _wait(process: int, seconds: float) -> int | None:
    """Return the exit code of a fork, None where it had to be killed."""
    deadline = time.monotonic() + seconds
    ended, status = 0, 0
    while not ended and time.monotonic() < deadline:
        time.sleep(PAUSE)
        ended, status = os.waitpid(process, os.WNOHANG)
    if not ended:
        _kill(process)
        os.waitpid(process, 0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)  # what a failed test has left
    return os.waitstatus_to_exitcode(status) if ended else None


def _kill(process: int) -> None:
    """Kill a fork and all that it started, in whatever session that is."""
    with contextlib.suppress(psutil.NoSuchProcess):
        fork = psutil.Process(process)
        for each in (*fork.children(recursive=True), fork):
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()


def _end(*_: object) -> None:
    if _fork:
        _kill(_fork)
    os._exit(128 + signal.SIGTERM)


def main() -> None:
    signal.signal(signal.SIGTERM, _end)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever libraries print
    sys.path.insert(0, os.getcwd())  # as `python -m pytest` has it
    for name in LIBRARIES:
        importlib.import_module(name)
    for line in sys.stdin:
        answers.write(json.dumps(run(*json.loads(line))) + "\n")


if __name__ == "__main__":
    main()
