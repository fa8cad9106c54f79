import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.threads import VARIABLES, available_cores, use_threads


def test_a_container_has_the_cores_of_its_quota(tmp_path: Path) -> None:
    bound = len(os.sched_getaffinity(0))
    assert available_cores(tmp_path) == bound  # no file: no quota
    for content, cores in (("max 100000", bound), ("50000 100000", 1), ("100000 100000", 1), ("nonsense", bound)):
        (tmp_path / "cpu.max").write_text(content + "\n")
        assert available_cores(tmp_path) == cores


def test_a_number_wins_over_the_environment_and_that_over_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert use_threads(None) == available_cores()
    assert {os.environ[name] for name in VARIABLES} == {str(available_cores())}
    monkeypatch.setenv(VARIABLES[0], "7")
    assert use_threads(None) == 7
    assert use_threads(3) == 3
    assert {os.environ[name] for name in VARIABLES} == {"3"}


def test_tensorflow_computes_on_so_many() -> None:
    code = (
        "from experiments.threads import use_threads\nuse_threads(1)\nimport os, tensorflow as tf\n"
        "a = tf.random.normal((1500, 1500))\nf = tf.function(lambda a: [a := a @ a for _ in range(10)][-1])\nf(a)\n"
        "print(len(os.listdir('/proc/self/task')))"
    )
    counts = [
        int(subprocess.run([sys.executable, "-c", each], capture_output=True, text=True, check=True).stdout)
        for each in (code, code.replace("(1)", "(9)", 1))
    ]
    assert counts[1] - counts[0] >= 8
