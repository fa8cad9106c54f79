"""One training loop in a process of its own, driven by benchmarks/step_speed.py and benchmarks/scaling.py.

    python benchmarks/contestant.py ours update_rule=batch precision=mixed_bfloat16 batch_size=64

It says "ready" when it is warm; then each line on standard input is a number of updates to make, answered with
their seconds; an empty line ends it with its peak memory in MB.
"""

import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from gan.update import Update

Run = Callable[[int], object]  # makes that many updates


def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5000, 32, 32, 3), np.uint8)


def networks_update(update_rule: str, precision: str, batch_size: int, jit_compile: bool = False) -> "Update":
    from gan.models import build_discriminator, build_generator
    from gan.optimizers import Adam
    from gan.update import Update

    return Update(
        build_generator(seed=0, precision=precision),
        build_discriminator(seed=0, precision=precision),
        Adam(2e-4, beta_1=0.5),
        Adam(2e-4, beta_1=0.5),
        images(),
        update_rule=update_rule,
        batch_size=batch_size,
        jit_compile=jit_compile,
    )


def ours(
    update_rule: str = "tutorial",
    precision: str = "float32",
    batch_size: str = "32",
    threads: str = "",
    xla: str = "no",
    deterministic: str = "yes",
) -> Run:
    from experiments.hardware.device import use_hardware
    from experiments.settings.schema import TrainConfig

    train = TrainConfig(
        threads=int(threads) if threads else None, jit_compile=xla == "yes", deterministic=deterministic == "yes"
    )
    hardware = use_hardware(train, Path(tempfile.gettempdir()) / "gan-benchmarks")
    update = networks_update(update_rule, precision, int(batch_size), hardware.jit_compile)
    return lambda count: update.run(1, count).numpy()


def tutorial(batch_size: str = "32") -> Run:
    from tutorial_loop import TutorialLoop

    return repeated(TutorialLoop(images(), int(batch_size)))


def pytorch(
    update_rule: str = "tutorial",
    batch_size: str = "32",
    compiled: str = "no",
    bfloat16: str = "no",
    graph: str = "no",
    tf32: str = "no",
) -> Run:
    import torch
    from torch_loop import TorchLoop

    torch.set_float32_matmul_precision("high" if tf32 == "yes" else "highest")
    torch.backends.cudnn.allow_tf32 = tf32 == "yes"
    loop = TorchLoop(
        images(), update_rule, batch_size=int(batch_size), compiled=compiled == "yes", bfloat16=bfloat16 == "yes"
    )
    update = loop.as_graph() if graph == "yes" else loop

    def run(count: int) -> None:
        for _ in range(count):
            value = update()
        float(value)  # waits for the device

    return run


def repeated(update: Callable[[], object]) -> Run:
    def run(count: int) -> None:
        for _ in range(count):
            update()

    return run


def peak_megabytes() -> float:
    """Return this process' own peak memory: getrusage would count that of the process that forked it."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    (line,) = (line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def main() -> None:
    kind, *arguments = sys.argv[1:]
    contestants: dict[str, Callable[..., Run]] = {"ours": ours, "tutorial": tutorial, "pytorch": pytorch}
    run = contestants[kind](**dict(a.split("=") for a in arguments))
    for _ in range(5):  # compiles, and lets allocators and threads settle
        run(2)
    print("ready", flush=True)
    for line in sys.stdin:
        if not line.strip():
            break
        start = time.perf_counter()
        run(int(line))
        print(time.perf_counter() - start, flush=True)
    print(peak_megabytes(), flush=True)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
