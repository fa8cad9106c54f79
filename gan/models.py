"""The tutorial's two networks, in Keras layers with Keras' default initialisers."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from gan.errors import check_name
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
from gan.randomness import derive

IMAGE_SHAPE = (32, 32, 3)
PRECISIONS = ("float32", "mixed_bfloat16")  # Keras' dtype policies whose weights are float32


@keras_defaults()
def build_generator(
    latent_dim: int = 100,
    bn_momentum: Sequence[float] = (0.78, 0.78),
    *,
    width: int = 128,
    precision: str = "float32",
    seed: int | None = None,
) -> keras.Sequential:
    """Build the generator: latents (B, latent_dim) float32 -> images (B, 32, 32, 3) float32 in [-1, 1].

    With the defaults it has 1,051,267 parameters.

    Args:
        latent_dim: length of a latent.
        bn_momentum: of the moving statistics of the two batch normalisations, each in [0, 1).
        width: number of channels at 8x8 and 16x16, half of which stay at 32x32; at least 2.
        precision: one of `gan.models.PRECISIONS`. The images are float32 in any.
        seed: fixes the initial weights. With None they are drawn anew.

    Returns:
        The model, named generator, built and not compiled.

    Raises:
        ValueError: if there are not two momenta.
    """
    stack: list[keras.Layer] = [
        keras.Input((latent_dim,), name="latents"),
        layers.Dense(8 * 8 * width, activation="relu", name="dense", **layer_options(seed, "g/dense", precision)),
        layers.Reshape((8, 8, width), name="reshape", dtype=precision),
    ]
    for index, (filters, momentum) in enumerate(zip((width, width // 2), bn_momentum, strict=True), start=1):
        name = f"conv_{index}"
        stack += [
            UpsampleConv2D(filters, name=name, **layer_options(seed, f"g/{name}", precision)),
            BatchNormalization(momentum=momentum, name=f"bn_{index}", dtype=precision),
            layers.ReLU(name=f"relu_{index}", dtype=precision),
        ]
    stack += [_conv(3, 1, "conv_3", seed, "g", precision), layers.Activation("tanh", name="tanh", dtype="float32")]
    model = keras.Sequential(stack, name="generator")  # one by one, each addition builds all before it again
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
) -> keras.Sequential:
    """Build the discriminator: images (B, 32, 32, 3) float32 in [-1, 1] -> logits (B, 1) float32, positive for real.

    With the defaults it has 396,609 parameters. The tutorial ends in a sigmoid; here the loss takes the logits.

    Args:
        bn_momentum: of the moving statistics of the three batch normalisations, each in [0, 1).
        leaky_relu_alpha: slopes of the four leaky ReLUs below 0.
        dropout: fraction of the activations dropped after each convolution, in [0, 1).
        width: number of channels of the first convolution, which each of the others doubles.
        batch_norm: whether batch normalisation follows the second to the fourth convolution.
        spectral_norm: whether all kernels are kept at spectral norm 1.
        minibatch_stddev: whether the last layer sees how much the images of the batch differ, too.
        precision: one of `gan.models.PRECISIONS`. The logits are float32 in any.
        seed: fixes the initial weights and the layers' dropout seeds. With None they are drawn anew.

    Returns:
        The model, named discriminator, built and not compiled.

    Raises:
        ValueError: if there are not three momenta and four slopes.
    """
    filters, strides = (width, 2 * width, 4 * width, 8 * width), (2, 2, 2, 1)
    momenta = (None, *bn_momentum)
    convolution, dense = (SpectralConv2D, SpectralDense) if spectral_norm else (Conv2D, layers.Dense)
    stack: list[keras.Layer] = [keras.Input(IMAGE_SHAPE, name="images")]
    for index, (count, stride, momentum, alpha) in enumerate(
        zip(filters, strides, momenta, leaky_relu_alpha, strict=True), start=1
    ):
        stack.append(_conv(count, stride, f"conv_{index}", seed, "d", precision, convolution))
        if index == 2:  # 8x8 becomes 9x9: the tutorial pads here, and only here
            stack.append(layers.ZeroPadding2D(((0, 1), (0, 1)), name="pad", dtype=precision))
        if batch_norm and momentum is not None:
            stack.append(BatchNormalization(momentum=momentum, name=f"bn_{index}", dtype=precision))
        stack.append(LeakyReLU(negative_slope=alpha, name=f"leaky_relu_{index}", dtype=precision))
        stack.append(
            Dropout(dropout, seed=layer_seed(seed, f"d/dropout_{index}"), name=f"dropout_{index}", dtype=precision)
        )
    if minibatch_stddev:
        stack.append(MinibatchStddev(name="minibatch_stddev", dtype=precision))
    stack += [
        layers.Flatten(name="flatten", dtype=precision),
        dense(1, name="logits", **layer_options(seed, "d/logits", "float32")),
    ]
    return keras.Sequential(stack, name="discriminator")


@keras_defaults()
def in_keras_layers(model: keras.Model) -> keras.Model:
    """Return the same network in Keras' own layers, for use without this package.

    Names and weights are equal, results equal up to rounding; it is slower. What Keras has no layer for, such as
    spectral norm, stays a layer of this package.
    """
    if not isinstance(model, keras.Sequential):
        plain = keras.models.clone_model(model, clone_function=_in_one_keras_layer)
        plain.set_weights(model.get_weights())
        return plain
    stack: list[keras.Layer] = [keras.Input(model.input_shape[1:], name=model.inputs[0].name)]
    for layer in model.layers:
        stack += _keras_layers(layer)
    plain = keras.Sequential(stack, name=model.name)
    plain.set_weights(model.get_weights())
    return plain


def _in_one_keras_layer(layer: keras.Layer) -> keras.Layer:
    """Return a layer in Keras' own ones; several become one model."""
    same = _keras_layers(layer)
    return same[0] if len(same) == 1 else keras.Sequential(same, name=layer.name)


def _keras_layers(layer: keras.Layer) -> list[keras.Layer]:
    """Return Keras' own layers that do what a layer does, one after the other."""
    options = {"name": layer.name, "dtype": layer.dtype_policy}
    if isinstance(layer, UpsampleConv2D):
        return [
            layers.UpSampling2D(name=f"{layer.name}_upsample", dtype=layer.dtype_policy),
            layers.Conv2D(
                layer.filters, 3, padding="same", activation=layer.activation, use_bias=layer.use_bias, **options
            ),
        ]
    if isinstance(layer, BatchNormalization):
        return [layers.BatchNormalization(momentum=layer.momentum, epsilon=layer.epsilon, **options)]
    if isinstance(layer, Dropout):
        return [layers.Dropout(layer.rate, seed=layer.seed, **options)]
    own = {LeakyReLU: layers.LeakyReLU, Conv2D: layers.Conv2D}.get(type(layer), type(layer))
    return [own.from_config(layer.get_config())]


def _conv(
    filters: int, stride: int, name: str, seed: int | None, network: str, precision: str, layer: type = Conv2D
) -> keras.layers.Layer:
    return layer(
        filters, 3, strides=stride, padding="same", name=name, **layer_options(seed, f"{network}/{name}", precision)
    )


def layer_options(seed: int | None, purpose: str, precision: str) -> dict[str, Any]:
    """Return Keras' default kernel initialiser with a seed of the layer's own, and the dtype policy.

    Args:
        seed: of all initial weights; None for weights that are drawn anew.
        purpose: names the layer. Each has weights of its own.
        precision: one of PRECISIONS.

    Raises:
        ConfigError: for another precision.
    """
    check_name("precision", precision, PRECISIONS)
    return {"kernel_initializer": keras.initializers.GlorotUniform(layer_seed(seed, purpose)), "dtype": precision}


def layer_seed(seed: int | None, purpose: str) -> int | None:
    return None if seed is None else derive(seed, f"layers/{purpose}")
