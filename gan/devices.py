"""Several devices that train as one: each takes its part of every batch, and all hold the same weights.

TensorFlow's MirroredStrategy runs the whole update once on every device, in step. What makes
it the update of one device, but for rounding, is here: whatever is drawn for a batch is drawn
for the whole of it, and each device takes its rows (`share`); a mean over the batch that
something depends on is the `mean` over devices; Keras' optimisers sum gradients over devices,
so each device gives them its part of the mean (`summands`). With one device nothing is added.
"""

import functools
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from gan.errors import ConfigError, check_shares

OUT_OF_MEMORY = ("out of memory", "out_of_memory", "alloc_failed")  # in the words of CUDA, cuBLAS and cuDNN


def count_devices(setting: int | str, batch_size: int) -> int:
    """Return how many devices a setting, a number or `auto`, means on this host.

    `auto` is all GPUs, or one device where there is none. Raises ConfigError for more than
    TensorFlow sees, or if they cannot share a batch evenly.
    """
    names = _names()
    count = setting if isinstance(setting, int) else len(tf.config.list_physical_devices("GPU")) or 1
    if count > len(names):
        raise ConfigError("train.devices", f"at most {len(names)}, as TensorFlow sees {', '.join(names)}", setting)
    check_shares(batch_size, count)
    return count


@functools.cache  # two strategies in a process would mix up their messages
def strategy_for(count: int) -> tf.distribute.Strategy:
    """Return the strategy in whose scope networks, optimisers and `Update` are made, to train on so many devices.

    A process can use but one number above 1.
    """
    return tf.distribute.MirroredStrategy(_names()[:count]) if count > 1 else tf.distribute.get_strategy()


def on_all(strategy: tf.distribute.Strategy, update: Callable[[tf.Tensor], tf.Tensor], step: tf.Tensor) -> tf.Tensor:
    """Run `update(step)` on every device of a strategy.

    Args:
        strategy: as `strategy_for` gives it.
        update: what each device runs. It takes the step and returns a float tensor of one shape on all devices.
        step: scalar integer, the number of the update; the same on every device.

    Returns:
        The mean over devices of what they return. With one device it is what `update` returns.
    """
    if strategy.num_replicas_in_sync == 1:
        return update(step)
    return strategy.reduce("MEAN", strategy.run(update, (step,)), axis=None)


def predict_on_one(model: keras.Model) -> None:
    """Let `predict_on_batch` use one device: Keras would give every device the whole batch, and return it so often."""
    model._distribute_strategy = None


def sharing() -> int:
    """Return how many devices share the batch that is computed on just now; 1 outside of `on_all`."""
    context = tf.distribute.get_replica_context()
    return context.num_replicas_in_sync if context is not None else 1


def share(batch: tf.Tensor) -> tf.Tensor:
    """Return this device's rows (B / devices, ...) of a whole batch (B, ...)."""
    if (count := sharing()) == 1:
        return batch
    shares = tf.reshape(batch, tf.concat([[count, -1], tf.shape(batch)[1:]], 0))
    return shares[tf.distribute.get_replica_context().replica_id_in_sync_group]


def whole_shape(rows: tf.Tensor) -> tf.Tensor:
    """Return the shape of the batch that these rows are this device's part of."""
    shape = tf.shape(rows)
    return shape if (count := sharing()) == 1 else tf.concat([shape[:1] * count, shape[1:]], 0)


def mean(value: tf.Tensor) -> tf.Tensor:
    """Return the mean of the devices' values, with gradients to all of them."""
    return value if sharing() == 1 else tf.distribute.get_replica_context().all_reduce("MEAN", value)


def summands(gradients: Sequence[tf.Tensor]) -> Sequence[tf.Tensor]:
    """Return this device's gradients, of losses that are means over its rows, as parts of a sum over devices."""
    return gradients if (count := sharing()) == 1 else [gradient / count for gradient in gradients]


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that the memory of a device, or of the machine, was not enough."""
    if isinstance(error, MemoryError | tf.errors.ResourceExhaustedError):
        return True
    words = str(error).lower()  # CUDA's and its libraries' come as errors of any kind
    return isinstance(error, RuntimeError | tf.errors.OpError) and any(sign in words for sign in OUT_OF_MEMORY)


def _names() -> list[str]:
    """Return the names of all GPUs; without any, of the CPUs (one, unless it is split into logical ones)."""
    # Asked for logical ones, TensorFlow would open all GPUs, and which are used could not be chosen any more.
    if gpus := tf.config.list_physical_devices("GPU"):
        return [f"GPU:{index}" for index in range(len(gpus))]
    return [device.name.removeprefix("/device:") for device in tf.config.list_logical_devices("CPU")]
