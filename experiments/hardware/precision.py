"""What train.precision=auto stands for on this machine."""

import contextlib
import platform
import re
import subprocess
from pathlib import Path

import pynvml

from experiments.hardware import nvidia
from experiments.settings.schema import FULL, HALF

# How Linux names a processor's instructions for bfloat16: x86's two, and Arm's.
INSTRUCTIONS = {"avx512_bf16", "amx_bf16", "bf16"}
FIRST_GPU_WITH_IT = 8  # major number of CUDA's compute capability


def fastest_precision(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return mixed_bfloat16 where the GPUs that this process may use, or else the processor, compute in bfloat16.

    Otherwise float32.

    Args:
        cpuinfo: what Linux says of the processor.
    """
    gpus = _compute_capabilities()
    if gpus:
        return HALF if min(gpus) >= FIRST_GPU_WITH_IT else FULL
    return HALF if _processor_has_it(cpuinfo) else FULL


def _compute_capabilities() -> list[int]:
    """Return the major numbers of the NVIDIA GPUs that this process may use; none without NVIDIA's driver."""
    with nvidia.driver() as is_there, contextlib.suppress(pynvml.NVMLError):
        gpus = nvidia.visible() if is_there else []
        return [pynvml.nvmlDeviceGetCudaComputeCapability(nvidia.handle(gpu))[0] for gpu in gpus]
    return []


def _processor_has_it(cpuinfo: Path) -> bool:
    if platform.system() == "Darwin":  # Apple's M2 and later
        command = ["sysctl", "-n", "hw.optional.arm.FEAT_BF16"]
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            return subprocess.run(command, capture_output=True, text=True, timeout=5).stdout.strip() == "1"
    with contextlib.suppress(OSError):
        return bool(INSTRUCTIONS & set(re.split(r"\s+", cpuinfo.read_text(encoding="utf-8"))))
    return False
