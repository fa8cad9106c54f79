"""The tutorial's training loop in the high-level calls that it uses, on Keras 2 (tf_keras), for timings.

Compiling before `trainable = False` lets D learn there, as it did in 2019; the same lines on Keras 3 do not train it.
"""

import numpy as np
import tf_keras as keras
from tf_keras import layers

LATENT_DIM = 100


def generator() -> keras.Model:
    net = keras.Sequential([keras.Input((LATENT_DIM,)), layers.Dense(8192, "relu"), layers.Reshape((8, 8, 128))])
    for filters in (128, 64):
        for layer in (
            layers.UpSampling2D(),
            layers.Conv2D(filters, 3, padding="same"),
            layers.BatchNormalization(momentum=0.78),
            layers.Activation("relu"),
        ):
            net.add(layer)
    net.add(layers.Conv2D(3, 3, padding="same", activation="tanh"))
    return net


def discriminator() -> keras.Model:
    net = keras.Sequential([keras.Input((32, 32, 3))])
    momenta, slopes = (None, 0.82, 0.82, 0.8), (0.2, 0.25, 0.2, 0.25)
    for number, (filters, momentum, slope) in enumerate(zip((32, 64, 128, 256), momenta, slopes, strict=True)):
        net.add(layers.Conv2D(filters, 3, strides=1 if number == 3 else 2, padding="same"))
        if number == 1:
            net.add(layers.ZeroPadding2D(((0, 1), (0, 1))))
        if momentum is not None:
            net.add(layers.BatchNormalization(momentum=momentum))
        net.add(layers.LeakyReLU(slope))
        net.add(layers.Dropout(0.25))
    net.add(layers.Flatten())
    net.add(layers.Dense(1, "sigmoid"))
    return net


class TutorialLoop:
    """images: (N, 32, 32, 3) uint8. Each call is one turn of the tutorial's loop."""

    def __init__(self, images: np.ndarray, batch_size: int = 32) -> None:
        self.images = images / 127.5 - 1.0
        self.batch_size = batch_size
        self.rng = np.random.default_rng(0)
        self.valid = 1 + 0.05 * self.rng.random((batch_size, 1))
        self.fake = 0.05 * self.rng.random((batch_size, 1))
        self.d = discriminator()
        self.d.compile(keras.optimizers.Adam(2e-4, 0.5), "binary_crossentropy", metrics=["accuracy"])
        self.d.trainable = False
        self.g = generator()
        z = keras.Input((LATENT_DIM,))
        self.combined = keras.Model(z, self.d(self.g(z)))
        self.combined.compile(keras.optimizers.Adam(2e-4, 0.5), "binary_crossentropy")

    def __call__(self) -> None:
        real = self.images[self.rng.integers(0, len(self.images), self.batch_size)]
        z = self.rng.normal(size=(self.batch_size, LATENT_DIM))
        fake = self.g.predict(z, verbose=0)
        self.d.train_on_batch(real, self.valid)
        self.d.train_on_batch(fake, self.fake)
        self.combined.train_on_batch(z, self.valid)
