import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.runs.threads import VARIABLES, available_cores, use_threads

BOUND = len(os.sched_getaffinity(0))


@pytest.fixture(autouse=True)
def no_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("own", "files", "cores"),
    [
        ("", {}, BOUND),
        ("0::/", {"cpu.max": "max 100000"}, BOUND),
        ("0::/", {"cpu.max": "50000 100000"}, 1),  # a container's own root
        ("0::/", {"cpu.max": "100000 100000"}, 1),
        ("0::/", {"cpu.max": "nonsense"}, BOUND),
        # systemd: the slice's quota holds for the service in it, and the tightest counts.
        ("0::/user.slice/me.service", {"user.slice/cpu.max": "100000 100000"}, 1),
        ("0::/a/b", {"cpu.max": "max 1", "a/cpu.max": "900000 100000", "a/b/cpu.max": "70000 100000"}, 1),
        ("0::/../other", {"cpu.max": "100000 100000"}, 1),  # outside of a namespace
        # Version 1: a file for the quota, one for the period; a container's path may be its host's.
        ("4:cpu,cpuacct:/", {"cpu,cpuacct/cpu.cfs_quota_us": "-1", "cpu,cpuacct/cpu.cfs_period_us": "100000"}, BOUND),
        ("4:cpu,cpuacct:/job", {"cpu,cpuacct/job/cpu.cfs_quota_us": "1000",
                                "cpu,cpuacct/job/cpu.cfs_period_us": "100000"}, 1),
        ("1:cpu:/docker/4f", {"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ("2:cpuset:/job", {"cpu/job/cpu.cfs_quota_us": "1000", "cpu/job/cpu.cfs_period_us": "100000"}, BOUND),
    ],
)  # fmt: skip
def test_no_more_cores_than_the_quota_of_a_control_group(
    own: str, files: dict[str, str], cores: int, tmp_path: Path
) -> None:
    (tmp_path / "own").write_text(own + "\n")
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content + "\n")
    assert available_cores(tmp_path, tmp_path / "own") == cores


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


def test_tensorflow_computes_on_so_many() -> None:
    code = (
        "from experiments.runs.threads import use_threads\nuse_threads(1)\nimport os, tensorflow as tf\n"
        "a = tf.random.normal((1500, 1500))\nf = tf.function(lambda a: [a := a @ a for _ in range(10)][-1])\nf(a)\n"
        "print(len(os.listdir('/proc/self/task')))"
    )
    counts = [
        int(subprocess.run([sys.executable, "-c", each], capture_output=True, text=True, check=True).stdout)
        for each in (code, code.replace("(1)", "(9)", 1))
    ]
    assert counts[1] - counts[0] >= 8
