"""How many cores this process may use, and that TensorFlow computes on so many."""

import os
import sys

from joblib import cpu_count

VARIABLES = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


def use_threads(threads: int | None) -> int:
    """Set the number of cores that TensorFlow computes on, and return it.

    To be called before TensorFlow first computes. Without a number, TF_NUM_INTRAOP_THREADS applies where the user set it
    to one above 0, with whatever TF_NUM_INTEROP_THREADS says.

    Args:
        threads: the number of cores; None for all that this process may use.
    """
    users = os.environ.get(VARIABLES[0], "")
    if threads is None and users.isdecimal() and int(users) > 0:  # 0 is all cores of the machine, whatever the quota
        return int(users)
    count = threads or available_cores()
    for name in VARIABLES:
        os.environ[name] = str(count)
    return count


def available_cores() -> int:
    """Return the number of cores that this process may use: its CPU affinity, limited by quotas and by SLURM."""
    return max(1, min(cpu_count(), _slurm_share()))


def _slurm_share() -> int:
    """Cores of a task, or of a job on this node: SLURM binds processes to them only where its site has it so."""
    for name in ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"):
        if (cores := os.environ.get(name, "")).isdigit():
            return int(cores)
    return sys.maxsize
