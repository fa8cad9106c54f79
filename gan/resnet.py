"""Residual networks for 32x32 images, of the kind of SNGAN: Miyato et al. (2018), appendix B.4.

The generator's blocks have `width` channels, the discriminator's twice as many as its `width`. The paper's own are
256 and 64. Weights have Keras' default initialisers, as those of the tutorial's networks.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from gan.keras_state import keras_defaults
from gan.layers import (
    BatchNormalization,
    Conv2D,
    Dropout,
    LeakyReLU,
    MinibatchStddev,
    SpectralConv2D,
    SpectralDense,
    UpsampleConv2D,
)
from gan.models import IMAGE_SHAPE, layer_options, layer_seed

SIDE = 4  # of the generator's first feature map
LAST_SIDE = 8  # of the discriminator's last feature map
BLOCKS = 3  # of the generator, each of which doubles the side
NORMS = 2 * BLOCKS + 1  # batch normalisations of the generator


@keras_defaults()
def build_generator(
    latent_dim: int = 100,
    bn_momentum: Sequence[float] = (0.78, 0.78),
    *,
    width: int = 128,
    precision: str = "float32",
    seed: int | None = None,
) -> keras.Model:
    """Build the generator: latents (B, latent_dim) float32 -> images (B, 32, 32, 3) float32 in [-1, 1].

    Args:
        latent_dim: length of a latent.
        bn_momentum: of the moving statistics, spread evenly over the seven batch normalisations; each in [0, 1).
        width: number of channels of all blocks.
        precision: one of `gan.models.PRECISIONS`. The images are float32 in any.
        seed: fixes the initial weights. With None they are drawn anew.

    Returns:
        The model, named generator, built and not compiled.

    Raises:
        ValueError: for no momentum at all.
    """
    if not bn_momentum:
        raise ValueError("bn_momentum must have at least one value")
    momenta = [bn_momentum[index * len(bn_momentum) // NORMS] for index in range(NORMS)]

    def options(name: str) -> dict[str, Any]:
        return {"name": name, **layer_options(seed, f"g/{name}", precision)}

    def normalised(x: Any, index: int) -> Any:
        x = BatchNormalization(momentum=momenta[index], name=f"bn_{index + 1}", dtype=precision)(x)
        return layers.ReLU(name=f"relu_{index + 1}", dtype=precision)(x)

    latents = keras.Input((latent_dim,), name="latents")
    x = layers.Dense(SIDE * SIDE * width, **options("dense"))(latents)
    x = layers.Reshape((SIDE, SIDE, width), name="reshape", dtype=precision)(x)
    for block in range(1, BLOCKS + 1):
        # A 1x1 convolution before the upsampling is the one after it, at a quarter of the work.
        shortcut = Conv2D(width, 1, **options(f"block_{block}_shortcut"))(x)
        shortcut = layers.UpSampling2D(name=f"block_{block}_upsample", dtype=precision)(shortcut)
        x = UpsampleConv2D(width, **options(f"block_{block}_conv_1"))(normalised(x, 2 * block - 2))
        x = Conv2D(width, 3, padding="same", **options(f"block_{block}_conv_2"))(normalised(x, 2 * block - 1))
        x = layers.Add(name=f"block_{block}_add", dtype=precision)([x, shortcut])
    x = Conv2D(3, 3, padding="same", **options("conv_images"))(normalised(x, NORMS - 1))
    images = layers.Activation("tanh", name="tanh", dtype="float32")(x)
    model = keras.Model(latents, images, name="generator")
    model.jit_compile = False  # or samples are drawn through XLA on GPUs, unlike in the update
    return model


@keras_defaults()
def build_discriminator(
    bn_momentum: Sequence[float] = (0.82, 0.82, 0.8),
    leaky_relu_alpha: Sequence[float] = (0.2, 0.25, 0.2, 0.25),
    dropout: float = 0.25,
    *,
    width: int = 32,
    batch_norm: bool = True,
    spectral_norm: bool = False,
    minibatch_stddev: bool = False,
    precision: str = "float32",
    seed: int | None = None,
) -> keras.Model:
    """Build the discriminator: images (B, 32, 32, 3) float32 in [-1, 1] -> logits (B, 1) float32, positive for real.

    Four residual blocks, of which the first two halve the side; features are summed over places at the end.

    Args:
        bn_momentum: of the moving statistics of the second to the fourth block, each in [0, 1).
        leaky_relu_alpha: slopes of the leaky ReLUs of the four blocks below 0.
        dropout: fraction of the activations dropped after each block, in [0, 1).
        width: half the number of channels of all blocks.
        batch_norm: whether batch normalisation precedes the convolutions of the second to the fourth block.
        spectral_norm: whether all kernels are kept at spectral norm 1.
        minibatch_stddev: whether the last layer sees how much the images of the batch differ, too.
        precision: one of `gan.models.PRECISIONS`. The logits are float32 in any.
        seed: fixes the initial weights and the layers' dropout seeds. With None they are drawn anew.

    Returns:
        The model, named discriminator, built and not compiled.

    Raises:
        ValueError: unless there are three momenta and four slopes.
    """
    if (len(bn_momentum), len(leaky_relu_alpha)) != (3, 4):
        got = f"{len(bn_momentum)} and {len(leaky_relu_alpha)}"
        raise ValueError(f"bn_momentum must have 3 values and leaky_relu_alpha 4; got {got}")
    convolution, dense = (SpectralConv2D, SpectralDense) if spectral_norm else (Conv2D, layers.Dense)
    channels = 2 * width

    def convolved(x: Any, name: str, size: int) -> Any:
        options = layer_options(seed, f"d/{name}", precision)
        return convolution(channels, size, padding="same", name=name, **options)(x)

    def activated(x: Any, block: int, index: int) -> Any:
        if batch_norm and block > 1:
            momentum = bn_momentum[block - 2]
            x = BatchNormalization(momentum=momentum, name=f"block_{block}_bn_{index}", dtype=precision)(x)
        slope = leaky_relu_alpha[block - 1]
        return LeakyReLU(negative_slope=slope, name=f"block_{block}_leaky_relu_{index}", dtype=precision)(x)

    def halved(x: Any, name: str) -> Any:
        return layers.AveragePooling2D(2, name=name, dtype=precision)(x)

    images = keras.Input(IMAGE_SHAPE, name="images")
    x = images
    for block in range(1, 5):
        name = f"block_{block}"
        inner = x if block == 1 else activated(x, block, 1)  # images are not activated
        inner = activated(convolved(inner, f"{name}_conv_1", 3), block, 2)
        inner = convolved(inner, f"{name}_conv_2", 3)
        if block == 1:
            shortcut = convolved(halved(x, f"{name}_shortcut_pool"), f"{name}_shortcut", 1)
            inner = halved(inner, f"{name}_pool")
        elif block == 2:
            shortcut = halved(convolved(x, f"{name}_shortcut", 1), f"{name}_shortcut_pool")
            inner = halved(inner, f"{name}_pool")
        else:
            shortcut = x
        x = layers.Add(name=f"{name}_add", dtype=precision)([inner, shortcut])
        x = Dropout(dropout, seed=layer_seed(seed, f"d/{name}_dropout"), name=f"{name}_dropout", dtype=precision)(x)
    x = LeakyReLU(negative_slope=leaky_relu_alpha[-1], name="leaky_relu", dtype=precision)(x)
    if minibatch_stddev:
        x = MinibatchStddev(name="minibatch_stddev", dtype=precision)(x)
    x = layers.GlobalAveragePooling2D(name="pool", dtype=precision)(x)
    x = layers.Rescaling(float(LAST_SIDE**2), name="sum", dtype=precision)(x)
    logits = dense(1, name="logits", **layer_options(seed, "d/logits", "float32"))(x)
    return keras.Model(images, logits, name="discriminator")
