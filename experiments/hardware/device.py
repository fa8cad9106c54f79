"""What a run computes on: cores and GPUs, and what TensorFlow is told of them before it first computes."""

import contextlib
import importlib.metadata
import os
import platform
import re
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.hardware.cores import available_cores, use_threads
from experiments.hardware.nvidia import CHOSEN, visible
from experiments.settings.schema import TrainConfig

if TYPE_CHECKING:
    import tensorflow as tf

DRIVER = Path("/proc/driver/nvidia/version")  # is there while NVIDIA's driver is loaded, in a container as well


@dataclass(frozen=True)
class Hardware:
    """What a run computes on, and how."""

    device: str  # as a person knows it
    threads: int  # cores of the CPU
    jit_compile: bool  # whether XLA compiles the update
    deterministic: bool  # whether results repeat to the bit
    gpus: int = 0  # how many of those that this process may use: the first
    warnings: tuple[str, ...] = ()  # what the user should know of it

    @property
    def tags(self) -> dict[str, str]:
        """What is recorded of it."""
        return {
            "device": self.device,
            "threads": str(self.threads),
            "jit_compile": str(self.jit_compile).lower(),
            "deterministic": str(self.deterministic).lower(),
            "host": socket.gethostname(),
            "processor": _processor(),
            "python": platform.python_version(),
            **versions(),
        }

    @property
    def words(self) -> str:
        """What a person is told of it."""
        how = ["compiled by XLA"] if self.jit_compile else []
        how += [] if self.deterministic else ["not deterministic: equal seeds give unlike runs, and so does a resume"]
        return "; ".join([self.device, *how])


def versions() -> dict[str, str]:
    """Return the versions of what computes: between two of them results may differ."""
    import keras
    import tensorflow as tf

    return {"tensorflow": tf.__version__, "keras": keras.__version__}


def _processor() -> str:
    """Return the model of the processor; nothing where the system does not tell."""
    with contextlib.suppress(OSError):
        if match := re.search(
            r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE
        ):
            return match[1]
    return platform.processor()


def use_hardware(train: TrainConfig, cache: Path) -> Hardware:
    """Tell TensorFlow what to compute on and how, and return it.

    To be called before TensorFlow first computes.

    Args:
        train: the settings.
        cache: a folder for programs that XLA has compiled, which other processes use, too.
    """
    threads = use_threads(train.threads)
    import tensorflow as tf

    keep_compiled(train, cache)
    gpus = tf.config.list_physical_devices("GPU")
    if gpus and train.deterministic:
        tf.config.experimental.enable_op_determinism()
    used = gpus[: train.devices if isinstance(train.devices, int) else None]
    tf.config.set_visible_devices(used, "GPU")  # or TensorFlow takes memory of every GPU
    jit_compile = len(used) == 1 if train.jit_compile == "auto" else bool(train.jit_compile)
    names = [f"GPU {index}, {name_of(gpu)}" for index, gpu in enumerate(used)]
    return Hardware(
        device=" and ".join(names) or _cpu(threads),
        threads=threads,
        jit_compile=jit_compile,
        deterministic=train.deterministic or not gpus,
        gpus=len(used),
        warnings=(*_too_many(threads), *_warnings(bool(gpus))),
    )


def keep_compiled(train: TrainConfig, cache: Path) -> None:
    """Have XLA keep what it compiles, if it will. To be called before TensorFlow looks at its devices, and at flags."""
    if train.jit_compile is True or (train.jit_compile == "auto" and visible()):
        from gan.xla import keep_programs

        keep_programs(cache / "xla")


def name_of(gpu: "tf.config.PhysicalDevice") -> str:
    """Return a GPU's name, as its maker has it."""
    import tensorflow as tf

    return str(tf.config.experimental.get_device_details(gpu).get("device_name", "of no known name"))


def _cpu(threads: int) -> str:
    cores = min(threads, available_cores())
    words = f"{cores} core{'s' if cores > 1 else ''}"
    return f"CPU, {words}" if threads == cores else f"CPU, {threads} threads on {words}"


def _too_many(threads: int) -> list[str]:
    """Say that threads share cores: they are allowed, as results depend on their number by rounding."""
    cores = available_cores()
    if threads <= cores:
        return []
    return [f"train.threads={threads} is more than the {cores} cores that this process may use, which makes it slower"]


def _warnings(has_gpu: bool) -> list[str]:
    """Say what stands in the way of a GPU that seems to be there."""
    if sys.platform == "darwin" and _is_installed("tensorflow-metal"):
        return [
            "tensorflow-metal computes DCGANs wrongly: they diverge with it. Remedy: pip uninstall tensorflow-metal"
        ]
    if has_gpu or not DRIVER.exists() or os.environ.get(CHOSEN, "0") in ("", "-1"):
        return []
    if chosen := os.environ.get(CHOSEN):
        return [f"{CHOSEN}={chosen} names no GPU that TensorFlow can use; this run computes on the CPU"]
    remedy = "pip install -e '.[gpu]', an LD_LIBRARY_PATH without other CUDA libraries, and in a container --gpus all"
    return [f"NVIDIA's driver is loaded, but TensorFlow finds no GPU; this run computes on the CPU. Remedy: {remedy}"]


def _is_installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
