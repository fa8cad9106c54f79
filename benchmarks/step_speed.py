"""How fast an update is, beside the tutorial's own loop and PyTorch, on this machine.

    python benchmarks/step_speed.py [rounds=15] [updates=10] [batch_size=32] [peers=<python with tf_keras and torch>]
        [only=<a word of the rows' names>]

On a GPU the rows are other ones: with XLA and without, PyTorch's CUDA graph with TF32 and without.

Each contestant is warm in a process of its own; they take turns, `updates` at a time, so
that all of them meet the machine's good and bad minutes. Times are medians over the
rounds, ratios medians of the ratios within a round. The peers need packages that the
project does not:

    python3 -m venv ~/peers && ~/peers/bin/pip install tensorflow tf_keras torch
    python benchmarks/step_speed.py peers=~/peers/bin/python
"""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from arguments import arguments
from rich.console import Console
from rich.table import Table

from experiments.hardware.nvidia import visible

FOLDER = Path(__file__).parent
PACKAGES = {"tutorial": "tf_keras", "pytorch": "torch"}
RULES, PRECISIONS = ("tutorial", "batch"), ("float32", "mixed_bfloat16")
HAS_GPU = bool(visible())

# Multiply-adds an image, from the layers' shapes; the generator's two upsampling convolutions at 16/36 of the plain
# form's. Each network's pass back costs two passes forward, but the first layer's part that nobody asks for.
GENERATOR = 100 * 8192 + 4 * (16**2 * 128 * 128 + 32**2 * 128 * 64) + 9 * 32**2 * 64 * 3
CONVOLUTIONS = [(16, 3, 32), (8, 32, 64), (5, 64, 128), (5, 128, 256)]  # output's side, channels in and out
DISCRIMINATOR = sum(side**2 * 9 * inside * outside for side, inside, outside in CONVOLUTIONS)
FIRST_LAYERS = 100 * 8192, 16**2 * 9 * 3 * 32
TRAIN_GENERATOR = 3 * GENERATOR - FIRST_LAYERS[0] + 2 * DISCRIMINATOR  # through D: forward, and back to the images
TRAIN_DISCRIMINATOR = 2 * (3 * DISCRIMINATOR - FIRST_LAYERS[1])  # on real and on fake images
MULTIPLY_ADDS = {
    "tutorial": GENERATOR + TRAIN_GENERATOR + TRAIN_DISCRIMINATOR,
    "batch": TRAIN_GENERATOR + TRAIN_DISCRIMINATOR,
}


@dataclass
class Contestant:
    """A training loop in a process of its own; it computes only while it is its turn."""

    name: str
    arguments: list[str]  # of benchmarks/contestant.py
    most: int = 10**9  # updates a turn

    def start(self, python: str = sys.executable) -> "Contestant":
        """Start the process, and wait until it is warm."""
        self.launch(python)
        self.wait()
        return self

    def launch(self, python: str) -> None:
        self._process = subprocess.Popen(
            [os.path.expanduser(python), str(FOLDER / "contestant.py"), *self.arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            # Several share a GPU: each takes the memory that it needs.
            env={"TF_FORCE_GPU_ALLOW_GROWTH": "true", **os.environ, "PYTHONPATH": str(FOLDER.parent)},
        )
        self.milliseconds: list[float] = []  # an update, one a turn

    def wait(self) -> None:
        answer = self._listen()
        assert answer == "ready", f"{self.name} did not start: try python benchmarks/contestant.py {self.arguments}"

    def begin(self, updates: int) -> None:
        self._updates = min(updates, self.most)
        self._say(str(self._updates))

    def end(self) -> None:
        self.milliseconds.append(float(self._listen()) / self._updates * 1e3)

    def turn(self, updates: int) -> None:
        self.begin(updates)
        self.end()

    def stop(self) -> float:
        """End the process and return its peak memory in MB."""
        self._say("")
        memory = float(self._listen())
        self._process.wait()
        return memory

    def _listen(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()


def has(python: str, package: str) -> bool:
    command = [os.path.expanduser(python), "-c", f"import {package}"]
    return subprocess.run(command, capture_output=True).returncode == 0


def ratio(of: list[float], to: list[float]) -> float:
    """Return how many times longer the first took, by the median over rounds."""
    return median(a / b for a, b in zip(of, to, strict=True))


def peak(dtype: str) -> float:
    """Return GFLOP/s of a large matrix product at its fastest: what this machine can do at all."""
    code = f"""
import os, time
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import tensorflow as tf
a = tf.cast(tf.random.normal((2048, 2048)), "{dtype}")
product = tf.function(lambda: tf.matmul(a, a))
times = []
for _ in range(100):
    start = time.perf_counter()
    product()
    times.append(time.perf_counter() - start)
print(2 * 2048**3 / min(times) / 1e9)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def on_cpu(batch_size: int) -> list[Contestant]:
    size = f"batch_size={batch_size}"
    return [
        Contestant("tutorial's loop, tf_keras", ["tutorial", size]),
        *(
            Contestant(f"ours, {rule}, {precision}", ["ours", f"update_rule={rule}", f"precision={precision}", size])
            for rule in RULES
            for precision in PRECISIONS
        ),
        Contestant(
            "ours, tutorial, float32, XLA",
            ["ours", "update_rule=tutorial", "precision=float32", size, "xla=yes"],
            most=1,  # of seconds each
        ),
        *(
            Contestant(f"PyTorch {how}, {rule}", ["pytorch", f"update_rule={rule}", size, *flags])
            for rule in RULES
            for how, flags in (("eager", []), ("compiled", ["compiled=yes"]), ("eager bfloat16", ["bfloat16=yes"]))
        ),
    ]


def on_gpu(batch_size: int) -> list[Contestant]:
    size = f"batch_size={batch_size}"
    return [
        *(
            Contestant(
                f"ours, {rule}, {precision}{', XLA' if xla == 'yes' else ''}{'' if exact == 'yes' else ', inexact'}",
                ["ours", f"update_rule={rule}", f"precision={precision}", size, f"xla={xla}", f"deterministic={exact}"],
            )
            for rule in RULES
            for precision in PRECISIONS
            for xla, exact in (("no", "yes"), ("yes", "yes"), ("yes", "no"))
        ),
        *(
            Contestant(f"PyTorch {how}, {rule}", ["pytorch", f"update_rule={rule}", size, *flags])
            for rule in RULES
            for how, flags in (
                ("eager", []),
                ("compiled", ["compiled=yes"]),
                ("CUDA graph", ["graph=yes"]),
                ("CUDA graph, TF32", ["graph=yes", "tf32=yes"]),
                ("CUDA graph, bfloat16", ["graph=yes", "bfloat16=yes"]),
            )
        ),
    ]


def start(everyone: list[Contestant], peers: str, console: Console) -> list[Contestant]:
    """Start those whose packages are installed, at once, and wait until all are warm."""
    kinds = {c.arguments[0] for c in everyone} & PACKAGES.keys()
    missing = {kind for kind in kinds if not has(peers, PACKAGES[kind])}
    for kind in sorted(missing):
        console.print(f"{PACKAGES[kind]} is not installed in {peers}: left out")
    started = [c for c in everyone if c.arguments[0] not in missing]
    with console.status("starting"):
        for contestant in started:
            contestant.launch(sys.executable if contestant.arguments[0] == "ours" else peers)
            if not HAS_GPU:  # whose machine has cores for all of them
                contestant.wait()
        for contestant in started if HAS_GPU else []:
            contestant.wait()
    return started


def main(rounds: int, updates: int, batch_size: int, peers: str, only: str) -> None:
    console = Console(width=120)
    peaks = {precision: peak(dtype) for precision, dtype in (("float32", "float32"), ("mixed_bfloat16", "bfloat16"))}
    everyone = (on_gpu if HAS_GPU else on_cpu)(batch_size)
    started = start([contestant for contestant in everyone if only in contestant.name], peers, console)
    with console.status(f"{rounds} rounds"):
        for _ in range(rounds):
            for contestant in started:
                contestant.turn(updates)
                time.sleep(0.05)  # until its threads sleep too
    by_name = {c.name: c.milliseconds for c in started}
    base = by_name.get("tutorial's loop, tf_keras")

    table = Table(f"batch {batch_size}", "ms an update", "tutorial's loop ÷ this", "floor, ms", "of peak", "memory, MB")
    for contestant in started:
        name, times = contestant.name, contestant.milliseconds
        least_time = fraction = ""
        if contestant.arguments[0] == "ours":
            update_rule, precision = (argument.partition("=")[2] for argument in contestant.arguments[1:3])
            least = 2 * batch_size * MULTIPLY_ADDS[update_rule] / peaks[precision] / 1e6
            least_time, fraction = f"{least:.3g}", f"{least / median(times):.0%}"
        speed = f"{ratio(base, times):.2f}" if base else ""
        table.add_row(name, f"{median(times):.4g}", speed, least_time, fraction, f"{contestant.stop():.0f}")
    console.print(table)
    console.print(f"peak: {peaks['float32']:.0f} GFLOP/s in float32, {peaks['mixed_bfloat16']:.0f} in bfloat16")
    for rule in RULES:
        ours = {name: times for name, times in by_name.items() if name.startswith(f"ours, {rule}")}
        theirs = {name: times for name, times in by_name.items() if name.startswith("PyTorch") and rule in name}
        for half in (False, True):
            mine, peers_best = (
                min((times for name, times in those.items() if ("bfloat16" in name) == half), key=median, default=None)
                for those in (ours, theirs)
            )
            if mine and peers_best:
                precision = "bfloat16" if half else "float32"
                console.print(f"{rule}: PyTorch's best in {precision} ÷ our best {ratio(peers_best, mine):.2f}")
    if (plain := by_name.get("ours, tutorial, float32")) and (xla := by_name.get("ours, tutorial, float32, XLA")):
        console.print(f"tutorial, float32: without XLA ÷ with XLA {ratio(plain, xla):.2f}")


if __name__ == "__main__":
    main(**arguments(rounds=15, updates=10, batch_size=32, peers=sys.executable, only=""))
