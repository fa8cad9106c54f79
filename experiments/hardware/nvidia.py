"""NVIDIA's driver: which of its GPUs this process may use."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

import pynvml

CHOSEN = "CUDA_VISIBLE_DEVICES"


@contextlib.contextmanager
def driver() -> Iterator[bool]:
    """Open the driver's library; the context's value is whether it is there."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield False
        return
    try:
        yield True
    finally:
        pynvml.nvmlShutdown()


def visible(environment: Mapping[str, str] | None = None) -> list[str]:
    """Return the GPUs that a process may use, in the words of CUDA_VISIBLE_DEVICES; none without the driver.

    Args:
        environment: its variables; None for those of this process.
    """
    chosen = (os.environ if environment is None else environment).get(CHOSEN)
    with driver() as is_there:
        count = pynvml.nvmlDeviceGetCount() if is_there else 0
        if chosen is None:
            return [str(index) for index in range(count)]
        gpus: list[str] = []
        for name in map(str.strip, chosen.split(",")):
            if not count or handle(name) is None:  # CUDA ignores what comes after a wrong one
                break
            gpus.append(name)
        return gpus


def handle(name: str) -> Any:
    """Return a GPU by its index or the beginning of its UUID, or a MIG slice by its UUID; None for one that is not there.

    The driver is open.
    """
    try:
        if name.startswith("MIG-"):
            return pynvml.nvmlDeviceGetHandleByUUID(name)
        if name.isdigit():
            return pynvml.nvmlDeviceGetHandleByIndex(int(name))
        for index in range(pynvml.nvmlDeviceGetCount()):
            gpu = pynvml.nvmlDeviceGetHandleByIndex(index)
            if name and _text(pynvml.nvmlDeviceGetUUID(gpu)).startswith(name):
                return gpu
    except pynvml.NVMLError:
        return None
    return None


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode()
