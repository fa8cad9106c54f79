"""The number of cores that a run computes on."""

import math
import os
from pathlib import Path

CGROUP, OWN_CGROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
VARIABLES = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


def use_threads(threads: int | None) -> int:
    """Set the number of cores that TensorFlow computes on, and return it.

    To be called before TensorFlow first computes. Without a number, TensorFlow's environment variables apply where the
    user set them.

    Args:
        threads: the number of cores; None for all that this process may use.
    """
    if threads is None and os.environ.get(VARIABLES[0], "").isdigit():
        return int(os.environ[VARIABLES[0]])
    count = threads or available_cores()
    for name in VARIABLES:
        os.environ[name] = str(count)
    return count


def available_cores(cgroup: Path = CGROUP, own: Path = OWN_CGROUPS) -> int:
    """Return the number of cores that this process may use: its CPU affinity, limited by quotas and by SLURM.

    Args:
        cgroup: where control groups are mounted.
        own: the file that names the control groups of this process.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(bound, _quota(cgroup, own), _slurm_share())))


def _quota(cgroup: Path, own: Path) -> float:
    """Cores that the tightest quota of CPU time comes to; infinite without one. TensorFlow does not look at it.

    A quota holds for all groups below: a container's, a systemd slice's, a user's.
    """
    shares = [_share_v2(folder) for folder in _with_parents(cgroup, "/")]
    for line in _read(own).splitlines():
        controllers, _, path = line.partition(":")[2].partition(":")
        if not path:
            continue
        if not controllers:  # version 2
            shares += [_share_v2(folder) for folder in _with_parents(cgroup, path)]
        elif "cpu" in controllers.split(","):  # version 1: a tree for each set of controllers
            for tree in {controllers, "cpu"}:
                shares += [_share_v1(folder) for folder in _with_parents(cgroup / tree, path)]
    return min(shares, default=math.inf)


def _with_parents(tree: Path, path: str) -> list[Path]:
    """The folders of a group and of those that it is in. In a container, a path may be the host's: it is not there."""
    parts = [part for part in path.split("/") if part not in ("", "..")]
    return [tree.joinpath(*parts[:count]) for count in range(len(parts) + 1)]


def _share_v2(folder: Path) -> float:
    """https://docs.kernel.org/admin-guide/cgroup-v2.html, cpu.max: "quota period" or "max period"."""
    quota, _, period = _read(folder / "cpu.max").strip().partition(" ")
    return _ratio(quota, period)


def _share_v1(folder: Path) -> float:
    """https://docs.kernel.org/scheduler/sched-bwc.html: a quota of -1 is none."""
    return _ratio(_read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us"))


def _ratio(quota: str, period: str) -> float:
    try:
        cores = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return math.inf
    return cores if cores > 0 else math.inf


def _slurm_share() -> float:
    """Cores of a task, or of a job on this node: SLURM binds processes to them only where its site has it so."""
    for name in ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"):
        if (cores := os.environ.get(name, "")).isdigit():
            return int(cores)
    return math.inf


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:  # not there, as on other systems
        return ""
