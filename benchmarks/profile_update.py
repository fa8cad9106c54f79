"""Where an update's time goes, by TensorFlow operation.

    python benchmarks/profile_update.py [update_rule=tutorial] [precision=float32]

Operations run one at a time here, so that their times add up; in a run they overlap, and
an update takes less than the sum.
"""

import tempfile
from collections import Counter
from pathlib import Path

import tensorflow as tf
from arguments import arguments
from contestant import networks_update
from rich.console import Console
from rich.table import Table

UPDATES = 20
KINDS = {
    "convolutions, to the kernels": ("Conv2DBackpropFilter",),
    "convolutions, forward and to the images": ("Conv2D",),  # whatever is left of them
    "batch normalisation": ("FusedBatchNorm",),
    "dropout's random numbers": ("StatelessRandomUniform",),
    "dense layers": ("MatMul",),
    "Adam": ("ResourceApplyAdam",),
    "activations": ("Relu", "Tanh"),
    "biases": ("BiasAdd",),
}


def operations(folder: Path) -> tuple[Counter[str], Counter[str]]:
    """Return milliseconds and calls an update, by operation."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    space = xplane_pb2.XSpace()
    space.ParseFromString(next(folder.rglob("*.xplane.pb")).read_bytes())
    times, calls = Counter[str](), Counter[str]()
    for plane in space.planes:
        names = {key: value.name for key, value in plane.event_metadata.items()}
        for event in (event for line in plane.lines for event in line.events):
            node, colon, operation = names[event.metadata_id].rpartition(":")
            if colon and node and not node.endswith(":") and operation.isidentifier():
                times[operation] += event.duration_ps / 1e9 / UPDATES
                calls[operation] += 1
    return times, calls


def main(update_rule: str, precision: str) -> None:
    tf.config.threading.set_inter_op_parallelism_threads(1)
    update = networks_update(update_rule, precision, 32)
    update.run(1, 5)
    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder)
        update.run(6, UPDATES).numpy()
        tf.profiler.experimental.stop()
        times, calls = operations(Path(folder))
    total = sum(times.values())
    table = Table(f"{update_rule}, {precision}", "ms an update", "fraction", "calls an update")
    rest = Counter(times)
    for kind, parts in KINDS.items():
        names = [name for name in rest if any(part in name for part in parts)]
        spent = sum(rest.pop(name) for name in names)
        count = sum(calls[name] for name in names) / UPDATES
        table.add_row(kind, f"{spent:.1f}", f"{spent / total:.0%}", f"{count:.0f}")
    left = ", ".join(name for name, _ in rest.most_common(4))
    spent, count = sum(rest.values()), sum(calls[name] for name in rest) / UPDATES
    table.add_row(f"the rest: {left}, …", f"{spent:.1f}", f"{spent / total:.0%}", f"{count:.0f}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main(**arguments(update_rule="tutorial", precision="float32"))
