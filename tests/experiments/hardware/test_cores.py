import os
import subprocess
import sys

import pytest

from experiments.hardware.cores import VARIABLES, available_cores, use_threads

BOUND = len(os.sched_getaffinity(0))


@pytest.fixture(autouse=True)
def no_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"):
        monkeypatch.delenv(name, raising=False)


def test_no_more_cores_than_the_process_is_bound_to() -> None:
    code = (
        "import os\nos.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from experiments.hardware.cores import available_cores\nprint(available_cores())"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "1\n"


def test_no_more_cores_than_slurm_gave(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_CPUS_ON_NODE", "SLURM_CPUS_PER_TASK"):  # the latter goes before
        assert available_cores() >= 1
        monkeypatch.setenv(name, "1")
        assert available_cores() == 1
        monkeypatch.setenv(name, str(10 * BOUND))
        assert available_cores() <= BOUND


def test_a_number_wins_over_the_environment_and_that_over_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert use_threads(None) == available_cores()
    assert {os.environ[name] for name in VARIABLES} == {str(available_cores())}
    monkeypatch.setenv(VARIABLES[0], "7")
    assert use_threads(None) == 7
    assert use_threads(3) == 3
    assert {os.environ[name] for name in VARIABLES} == {"3"}
    monkeypatch.setenv(VARIABLES[0], "0")  # all cores of the machine, to TensorFlow
    assert use_threads(None) == available_cores()


def test_tensorflow_computes_on_so_many() -> None:
    code = (
        "from experiments.hardware.cores import use_threads\nuse_threads(1)\nimport os, tensorflow as tf\n"
        "a = tf.random.normal((1500, 1500))\nf = tf.function(lambda a: [a := a @ a for _ in range(10)][-1])\nf(a)\n"
        "print(len(os.listdir('/proc/self/task')))"
    )
    counts = [
        int(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout)
        for program in (code, code.replace("(1)", "(9)", 1))
    ]
    assert counts[1] - counts[0] >= 8
