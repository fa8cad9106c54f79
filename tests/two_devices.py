"""Trains on one and on two logical CPUs, for tests/gan/test_devices.py: TensorFlow splits its CPU but once, at the start.

python tests/two_devices.py compare <update_rule> <precision> <file>      writes what came out as .npz
python tests/two_devices.py run <arguments of experiments/run.py>
"""

import runpy
import sys

import numpy as np
import tensorflow as tf
from conftest import ROOT, noise_images


def split_cpu() -> None:
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


def compare(update_rule: str, precision: str, file: str) -> None:
    from gan import devices
    from gan.evaluation.scorer import sample
    from gan.labels import Labels
    from gan.layers import BatchNormalization
    from gan.models import build_discriminator, build_generator
    from gan.optimizers import Adam, Decay
    from gan.update import Update

    results: dict[str, np.ndarray] = {}

    options = {
        "loss": "hinge", "r1_gamma": 1.0, "augmentations": ["color", "translation", "cutout"],
        "horizontal_flip": True, "ema_decay": 0.9, "decay": Decay("cosine", 6), "r2_gamma": 0.5, "d_steps": 2,
        "lecam": 0.3, "consistency": 1.0, "augment_target": 0.1,
    }  # fmt: skip

    def make(count: int, epsilon: float, with_options: bool = False) -> Update:
        with devices.strategy_for(count).scope():
            return Update(
                build_generator(seed=0, precision=precision),
                build_discriminator(
                    seed=0, precision=precision, spectral_norm=with_options, minibatch_stddev=with_options
                ),
                Adam(2e-4, beta_1=0.5, epsilon=epsilon),
                Adam(2e-4, beta_1=0.5, epsilon=epsilon),
                noise_images(100),
                update_rule=update_rule,
                batch_size=8,
                labels=Labels(0.1, fresh=True, flip=0.3 if with_options else 0.0),
                **(options if with_options else {}),
            )

    def keep(name: str, update: Update, rows: tf.Tensor) -> None:
        results[f"{name}:values"] = rows.numpy()
        results.update({f"{name}:{key}": value for key, value in update.state().items()})

    results.update({f"start:{key}": value for key, value in make(1, 1e-7).state().items()})
    for kind, epsilon in (("smooth", 1e-2), ("adam", 1e-7)):
        updates = {count: make(count, epsilon) for count in (1, 2)}
        for count, update in updates.items():
            keep(f"{kind}{count}", update, update.run(1, 3))
        assert all(update._compiled.experimental_get_tracing_count() == 1 for update in updates.values())
        copies = [v.value.values for v in updates[2]._variables().values()]
        assert all(np.array_equal(a, b) for a, b in copies)

    for count in (1, 2):
        with_options = make(count, 1e-2, with_options=True)
        keep(f"options{count}", with_options, with_options.run(1, 3))
        results[f"options samples{count}"] = sample(with_options.eval_generator, 5)

    # Each continues from the state of the other: updates have the same numbers.
    states = {count: update.state() for count, update in updates.items()}
    for count, update in updates.items():
        results[f"samples{count}"] = sample(update.generator, 5)
        keep(f"straight{count}", update, update.run(4, 1))
    for count, update in updates.items():
        update.restore(states[3 - count])
        results[f"swapped samples{count}"] = sample(update.generator, 5)
        keep(f"swapped{count}", update, update.run(4, 1))

    for count in (1, 2):
        results[f"penalty{count}"] = penalty(devices.strategy_for(count), BatchNormalization)
    np.savez(file, **results)


def penalty(strategy: tf.distribute.Strategy, layer: type) -> np.ndarray:
    """A gradient through the gradient of a normalised batch, as a gradient penalty needs it."""
    from gan import devices

    with strategy.scope():
        normalise = layer(name="bn")
        normalise.build((None, 2, 2, 3))
    batch = tf.random.stateless_normal((8, 2, 2, 3), (0, 1)) * 2 + 1

    def gradient(_: tf.Tensor) -> tf.Tensor:
        x = devices.share(batch)
        with tf.GradientTape() as outer:
            with tf.GradientTape() as inner:
                inner.watch(x)
                y = tf.reduce_sum(tf.tanh(normalise(x, training=True)))
            size = tf.reduce_mean(tf.reduce_sum(inner.gradient(y, x) ** 2, (1, 2, 3)))
        gamma = normalise.gamma.value
        return tf.concat([[size], outer.gradient(size, [gamma])[0]], 0)

    return tf.function(lambda: devices.on_all(strategy, gradient, tf.constant(0)), autograph=False)().numpy()


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    split_cpu()
    if command == "compare":
        compare(*arguments)
    else:
        sys.argv = [str(ROOT / "experiments/run.py"), *arguments]
        runpy.run_path(sys.argv[0], run_name="__main__")
