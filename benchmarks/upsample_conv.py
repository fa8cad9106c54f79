"""Forms of an upsampling by 2 and a 3x3 convolution, pass by pass: why `gan.layers.UpsampleConv2D` is as it is.

    python benchmarks/upsample_conv.py

plain        nearest neighbours shown twice, then a 3x3 convolution: 36 multiply-adds for the others' 16
transposed   one transposed convolution of stride 2, its 4x4 kernel made of sums of the 3x3 taps
four phases  a 2x2 convolution for each of the four pixels that an input pixel becomes, interleaved
merged       the same four as one 2x2 convolution with four times the filters, cropped
products     the transposed form, but a matrix product for each of four shifts in the kernel's gradient

All are exact, which is checked first. They take turns; milliseconds are medians.
"""

import time
from collections.abc import Callable
from statistics import median

import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.table import Table

from gan.layers import SHARED_TAPS

BATCH, REPETITIONS = 32, 31
SHAPES = ((8, 128, 128), (16, 128, 64))  # side, channels, filters: the generator's two
PASSES = ("forward", "to the images", "to the kernel")
RIM = [[0, 0], [1, 1], [1, 1], [0, 0]]

Form = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]  # (B, H, H, C), (3, 3, C, filters) -> (B, 2H, 2H, filters)


def plain(images: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    return tf.nn.conv2d(tf.repeat(tf.repeat(images, 2, 1), 2, 2), kernel, 1, "SAME")


def transposed(images: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    batch, side, _, channels = images.shape
    filters = kernel.shape[-1]
    flat = tf.reshape(tf.transpose(kernel, (0, 1, 3, 2)), (9, -1))
    summed = tf.reshape(tf.matmul(tf.cast(SHARED_TAPS, kernel.dtype), flat), (4, 4, filters, channels))
    return tf.nn.conv2d_transpose(images, summed, (batch, 2 * side, 2 * side, filters), 2, "SAME")


def four_phases(images: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    batch, side, _, _ = images.shape
    padded, summed = tf.pad(images, RIM), _summed(kernel)
    cells = [
        tf.nn.conv2d(padded[:, p : p + side + 1, q : q + side + 1], summed[p::2, q::2], 1, "VALID")
        for p in (0, 1)
        for q in (0, 1)
    ]
    rows = tf.stack([tf.stack(cells[:2], 3), tf.stack(cells[2:], 3)], 2)
    return tf.reshape(rows, (batch, 2 * side, 2 * side, -1))


def merged(images: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    channels, filters = kernel.shape[2:]
    summed = tf.reverse(tf.reshape(_summed(kernel), (2, 2, 2, 2, channels, filters)), [1, 3])
    summed = tf.reshape(tf.transpose(summed, (0, 2, 4, 1, 3, 5)), (2, 2, channels, 4 * filters))
    cells = tf.nn.conv2d(tf.pad(images, RIM), summed, 1, "VALID")
    return tf.nn.depth_to_space(cells, 2)[:, 1:-1, 1:-1]


@tf.custom_gradient  # type: ignore[untyped-decorator]
def products(images: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[None, tf.Tensor]]]:
    _, side, _, channels = images.shape
    filters = kernel.shape[-1]

    def gradient(upstream: tf.Tensor) -> tuple[None, tf.Tensor]:
        cells = tf.nn.space_to_depth(tf.pad(upstream, RIM), 2)
        shifted = [cells[:, i : i + side, j : j + side] for i in (0, 1) for j in (0, 1)]
        flat = tf.reshape(images, (-1, channels))
        summed = tf.stack([tf.matmul(tf.reshape(s, (-1, 4 * filters)), flat, transpose_a=True) for s in shifted])
        summed = tf.transpose(tf.reshape(summed, (2, 2, 2, 2, filters, channels)), (0, 2, 1, 3, 4, 5))
        taps = tf.matmul(tf.cast(SHARED_TAPS, kernel.dtype), tf.reshape(summed, (16, -1)), transpose_a=True)
        return None, tf.transpose(tf.reshape(taps, (3, 3, filters, channels)), (0, 1, 3, 2))

    return transposed(images, kernel), gradient


def _summed(kernel: tf.Tensor) -> tf.Tensor:
    """Return the kernel as (4, 4, C, filters), for convolutions, which see a kernel the other way round."""
    flat = tf.matmul(tf.cast(SHARED_TAPS[::-1], kernel.dtype), tf.reshape(kernel, (9, -1)))
    return tf.reshape(flat, (4, 4, *kernel.shape[2:]))


FORMS: dict[str, Form] = {
    "plain": plain,
    "transposed": transposed,
    "four phases": four_phases,
    "merged": merged,
    "products": products,
}


def passes(form: Form, images: tf.Tensor, kernel: tf.Tensor, upstream: tf.Tensor) -> list[Callable[[], tf.Tensor]]:
    def gradient(of: int) -> Callable[[], tf.Tensor]:
        def run() -> tf.Tensor:
            with tf.GradientTape() as tape:
                tape.watch((images, kernel))
                value = form(images, kernel)
            return tape.gradient(value, (images, kernel)[of], upstream)

        return run

    return [tf.function(function) for function in (lambda: form(images, kernel), gradient(0), gradient(1))]


def measure(dtype: str, side: int, channels: int, filters: int, table: Table) -> None:
    rng = np.random.default_rng(0)
    shapes = (BATCH, side, side, channels), (3, 3, channels, filters), (BATCH, 2 * side, 2 * side, filters)
    arrays = [tf.cast(rng.standard_normal(shape), dtype) for shape in shapes]
    calls = {name: passes(form, *arrays) for name, form in FORMS.items()}
    calls["products"][1] = calls["transposed"][1]  # it has no other
    for number, which in enumerate(PASSES):
        exact = tf.cast(calls["plain"][number](), tf.float32)
        for name, functions in calls.items():
            error = tf.norm(tf.cast(functions[number](), tf.float32) - exact) / tf.norm(exact)
            assert error < (1e-5 if dtype == "float32" else 2e-2), (name, which, float(error))
    times: dict[str, list[list[float]]] = {name: [[] for _ in PASSES] for name in calls}
    for _ in range(REPETITIONS):
        for name, functions in calls.items():
            for number, call in enumerate(functions):
                start = time.perf_counter()
                call()
                times[name][number].append(time.perf_counter() - start)
    for name, durations in times.items():
        table.add_row(
            f"{side}x{side}x{channels} to {filters}, {dtype}", name, *(f"{median(t) * 1e3:.1f}" for t in durations)
        )


def main() -> None:
    table = Table("layer", "form", *(f"{which}, ms" for which in PASSES))
    for dtype in ("float32", "bfloat16"):
        for shape in SHAPES:
            measure(dtype, *shape, table)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
