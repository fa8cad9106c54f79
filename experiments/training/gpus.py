"""NVIDIA's GPUs as their driver has them: which this process may use, how full and how busy they are.

Nothing here opens a GPU as TensorFlow does, so a process that asks can still be forked.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pynvml

from gan import metric_names
from gan.tracker import Tracker

CHOSEN = "CUDA_VISIBLE_DEVICES"
TRIAL_BYTES = 2 * 2**30  # of a GPU's memory that a trial is given room for
MEGABYTE = 10**6


def visible(environment: Mapping[str, str] | None = None) -> list[str]:
    """Return the GPUs that a process may use, in the words of CUDA_VISIBLE_DEVICES; none without NVIDIA's driver.

    Args:
        environment: its variables; None for those of this process.
    """
    chosen = (os.environ if environment is None else environment).get(CHOSEN)
    with _nvml() as is_there:
        count = pynvml.nvmlDeviceGetCount() if is_there else 0
        if chosen is None:
            return [str(index) for index in range(count)]
        gpus: list[str] = []
        for name in map(str.strip, chosen.split(",")):
            if not count or _handle(name) is None:  # CUDA ignores what comes after a wrong one
                break
            gpus.append(name)
        return gpus


def places() -> int:
    """Return how many trials the memory of all GPUs is enough for, at least one each; 0 without a GPU.

    It is the whole memory: every process of a search comes to the same number, however full the GPUs are.
    """
    places = 0
    with _nvml() as is_there:
        for gpu in visible() if is_there else []:
            places += max(1, pynvml.nvmlDeviceGetMemoryInfo(_handle(gpu)).total // TRIAL_BYTES)
    return places


def share_of(number: int, devices: int | str) -> dict[str, str]:
    """Return the variables of the environment that give a worker its GPU: they take turns.

    Args:
        number: of the worker, from 0.
        devices: the setting train.devices. Workers whose trials use several GPUs each see all of them.
    """
    gpus = visible()
    return {CHOSEN: gpus[number % len(gpus)]} if gpus and devices == 1 else {}


class GpuMetrics:
    """A `gan.tracker.Tracker` that records the load and memory of a run's GPUs beside its losses.

    The names are those of MLflow's system metrics, which its page shows by themselves.
    """

    def __init__(self, records: Tracker) -> None:
        """
        Args:
            records: where they are recorded.
        """
        self._records, self._gpus = records, visible()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        if self._gpus and metric_names.D_LOSS in values:
            self._records.scalars(step, sample(self._gpus))

    def image(self, step: int, key: str, pixels: np.ndarray) -> None:
        pass

    def tick(self, step: int) -> None:
        pass


def sample(gpus: list[str]) -> dict[str, float]:
    """Return the utilisation in percent, and the memory in megabytes and percent, of GPUs, by MLflow's names."""
    values: dict[str, float] = {}
    with _nvml() as is_there:
        for index, gpu in enumerate(gpus):
            if not is_there or (handle := _handle(gpu)) is None:
                continue
            with contextlib.suppress(pynvml.NVMLError):  # not every GPU says everything
                memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
                values[f"system/gpu_{index}_memory_usage_megabytes"] = memory.used / MEGABYTE
                values[f"system/gpu_{index}_memory_usage_percentage"] = 100 * memory.used / memory.total
                load = pynvml.nvmlDeviceGetUtilizationRates(handle)
                values[f"system/gpu_{index}_utilization_percentage"] = float(load.gpu)
    return values


@contextlib.contextmanager
def _nvml() -> Iterator[bool]:
    """Open NVIDIA's library; the context's value is whether it is there."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield False
        return
    try:
        yield True
    finally:
        pynvml.nvmlShutdown()


def _handle(name: str) -> Any:
    """Return a GPU by its index or the beginning of its UUID; None for one that is not there."""
    try:
        if name.isdigit():
            return pynvml.nvmlDeviceGetHandleByIndex(int(name))
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            if name and _text(pynvml.nvmlDeviceGetUUID(handle)).startswith(name):
                return handle
    except pynvml.NVMLError:
        return None
    return None


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode()
