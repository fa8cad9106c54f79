"""NVIDIA's GPUs as their driver has them: which this process may use, how full and how busy they are.

Nothing here opens a GPU as TensorFlow does, so a process that asks can still be forked.
"""

import contextlib
from collections.abc import Mapping

import pynvml

from experiments.hardware.nvidia import CHOSEN, driver, handle, visible
from gan import metric_names
from gan.tracker import NullTracker, Tracker

TRIAL_BYTES = 2 * 2**30  # of a GPU's memory that a trial is given room for
FULL_BYTES = 2**30  # free on a GPU that has too little for another process to begin on it
CANNOT_BEGIN = ("dnn library initialization failed", "cudnn handle", "cublas handle", "status_not_initialized")
MEGABYTE = 10**6


def places(devices: int | str) -> int:
    """Return how many trials the memory of all GPUs is enough for, at least one a group of them; 0 without a GPU.

    It is the whole memory: every process of a search comes to the same number, however full the GPUs are.

    Args:
        devices: the setting train.devices, which says how many GPUs a trial uses.
    """
    places = 0
    with driver() as is_there:
        for group in _groups(devices) if is_there else []:
            places += min(map(_places_of, group))
    return places


def _places_of(gpu: str) -> int:
    """Return how many trials a GPU is enough for, at least one. The driver is open."""
    opened = handle(gpu)
    with contextlib.suppress(pynvml.NVMLError):  # not every GPU says everything
        if pynvml.nvmlDeviceGetComputeMode(opened) == pynvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS:
            return 1
    with contextlib.suppress(pynvml.NVMLError):
        return max(1, pynvml.nvmlDeviceGetMemoryInfo(opened).total // TRIAL_BYTES)
    return 1


def is_refused_by_full_gpu(error: BaseException) -> bool:
    """Return whether a library of NVIDIA's could not begin, as another process has the memory of a GPU.

    It says so in the words of a broken installation: the memory decides.
    """
    if not any(sign in str(error).lower() for sign in CANNOT_BEGIN):
        return False
    with driver() as is_there:
        return is_there and any(map(_is_full, visible()))


def _is_full(gpu: str) -> bool:
    with contextlib.suppress(pynvml.NVMLError):
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle(gpu))
        return bool(memory.total - memory.used < FULL_BYTES)
    return False


def share_of(number: int, devices: int | str) -> dict[str, str]:
    """Return the variables of the environment that give a worker its GPUs: they take turns.

    Args:
        number: of the worker, from 0.
        devices: the setting train.devices. With `auto` every worker sees all GPUs.
    """
    groups = _groups(devices)
    return {CHOSEN: ",".join(groups[number % len(groups)])} if groups and devices != "auto" else {}


def _groups(devices: int | str) -> list[list[str]]:
    """Return the GPUs in groups of as many as a trial uses; all in one where there are fewer, or for `auto`."""
    gpus = visible()
    size = devices if isinstance(devices, int) and devices <= len(gpus) else len(gpus)
    return [gpus[begin : begin + size] for begin in range(0, len(gpus) - size + 1, size)] if gpus else []


class GpuMetrics(NullTracker):
    """A `gan.tracker.Tracker` that records the load and memory of a run's GPUs beside its losses.

    The names are those of MLflow's system metrics, which its page shows by themselves.
    """

    def __init__(self, records: Tracker, gpus: int) -> None:
        """
        Args:
            records: where they are recorded.
            gpus: how many of those that this process may use the run computes on: the first.
        """
        self._records, self._gpus = records, visible()[:gpus]

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        if self._gpus and metric_names.D_LOSS in values:
            self._records.scalars(step, sample(self._gpus))


def sample(gpus: list[str]) -> dict[str, float]:
    """Return the utilisation in percent, and the memory in megabytes and percent, of GPUs, by MLflow's names."""
    values: dict[str, float] = {}
    with driver() as is_there:
        for index, gpu in enumerate(gpus):
            if not is_there or (opened := handle(gpu)) is None:
                continue
            with contextlib.suppress(pynvml.NVMLError):  # not every GPU says everything
                memory = pynvml.nvmlDeviceGetMemoryInfo(opened)
                values[f"system/gpu_{index}_memory_usage_megabytes"] = memory.used / MEGABYTE
                values[f"system/gpu_{index}_memory_usage_percentage"] = 100 * memory.used / memory.total
                load = pynvml.nvmlDeviceGetUtilizationRates(opened)
                values[f"system/gpu_{index}_utilization_percentage"] = float(load.gpu)
    return values
