"""How many cores a run computes on."""

import math
import os
from pathlib import Path

VARIABLES = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


def use_threads(threads: int | None) -> int:
    """Let TensorFlow compute on so many cores, by default on all that this process may use; returns the number.

    To be called before TensorFlow first computes. Without a number, what the user set in
    TensorFlow's own environment variables stands.
    """
    if threads is None and os.environ.get(VARIABLES[0], "").isdigit():
        return int(os.environ[VARIABLES[0]])
    count = threads or available_cores()
    for name in VARIABLES:
        os.environ[name] = str(count)
    return count


def available_cores(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Cores that this process may use: those it is bound to, and no more than a container's share of them."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return math.ceil(min(bound, _container_share(cgroup)))


def _container_share(cgroup: Path) -> float:
    """Cores that a container's quota comes to; infinite without one. TensorFlow does not look at it."""
    try:  # https://docs.kernel.org/admin-guide/cgroup-v2.html, cpu.max: "quota period" or "max period"
        quota, period = (cgroup / "cpu.max").read_text().split()
        return int(quota) / int(period)
    except (OSError, ValueError):
        return math.inf
