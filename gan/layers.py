"""Keras layers with the results of Keras' own, for less work.

`UpsampleConv2D` is a layer for anyone's model. `Conv2D`, `BatchNormalization` and
`Dropout` replace Keras' layers of those names, weights and configuration included.
`SpectralConv2D` and `SpectralDense` are layers whose kernels are kept at spectral norm 1.
"""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from gan import devices, xla
from gan.randomness import uniform

# Of three neighbouring pixels in an image shown twice as large, two are the same one. Rows: the taps of a 4-tap
# kernel of stride 2; columns: those of the 3-tap kernel that meet there.
_SHARED = np.array([[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]], np.float32)
SHARED_TAPS = np.kron(_SHARED, _SHARED)  # (16, 9)


@keras.saving.register_keras_serializable("gan")
class UpsampleConv2D(keras.layers.Layer):
    """`UpSampling2D()` and `Conv2D(filters, 3, padding="same")` in one, at 16/36 of the multiply-adds.

    (B, H, W, C) -> (B, 2H, 2W, filters), channels last. The 3x3 window of an output pixel
    sees 2x2 pixels of the input, so the two layers equal one transposed convolution of
    stride 2 whose 4x4 kernel holds sums of the 3x3 taps. That kernel is made on the fly:
    the weights are those of the plain `Conv2D`, `kernel` (3, 3, C, filters) and `bias`
    (filters,), and load from and into it. Results and gradients differ by rounding alone;
    under mixed precision the sums are taken in the weights' precision.

    Args:
        filters: channels of the output, at least 1.
        activation: a function or its name in Keras; None for none.
        use_bias: whether a bias is added before the activation.
        kernel_initializer: of `kernel`; whatever Keras takes for one.
        bias_initializer: of `bias`; likewise.
        options: of `keras.layers.Layer` (name, dtype and so on), but for `autocast`.

    Raises:
        ValueError: if filters is below 1.
    """

    def __init__(
        self,
        filters: int,
        *,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        **options: Any,
    ) -> None:
        super().__init__(autocast=False, **options)  # or the taps would be rounded before they are summed
        if filters < 1:
            raise ValueError(f"filters must be at least 1; got {filters}")
        self.filters = filters
        self.activation = keras.activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        channels = input_shape[-1]
        if channels is None:
            raise ValueError("the last dimension, the channels, must be known")
        self.kernel = self.add_weight(
            shape=(3, 3, channels, self.filters), initializer=self.kernel_initializer, name="kernel"
        )
        if self.use_bias:
            self.bias = self.add_weight(shape=(self.filters,), initializer=self.bias_initializer, name="bias")

    def call(self, inputs: Any) -> Any:
        taps = ops.reshape(ops.transpose(self.kernel, (0, 1, 3, 2)), (9, -1))
        summed = ops.matmul(ops.cast(SHARED_TAPS, self.variable_dtype), taps)
        kernel = ops.cast(ops.reshape(summed, (4, 4, self.filters, -1)), self.compute_dtype)
        images = ops.conv_transpose(
            ops.cast(inputs, self.compute_dtype), kernel, 2, padding="same", data_format="channels_last"
        )
        if self.use_bias:
            images = _add_bias(images, ops.cast(self.bias, self.compute_dtype))
        return self.activation(images)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        batch, height, width, _ = input_shape
        return batch, height and 2 * height, width and 2 * width, self.filters

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
        }


@keras.saving.register_keras_serializable("gan")
class Conv2D(keras.layers.Conv2D):
    """Keras' layer, channels last, with gradients to the bias that are right in half precision too."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        images = self.convolution_op(inputs, self.kernel)
        if self.use_bias:
            images = _add_bias(images, ops.cast(self.bias, self.compute_dtype))
        return self.activation(images)


@keras.saving.register_keras_serializable("gan")
class BatchNormalization(keras.layers.BatchNormalization):
    """Keras' layer for (B, H, W, C), scale and offset included, in TensorFlow's fused operation.

    In any precision the statistics are float32, and so are scale, offset and the moving
    statistics. These move by the batch's biased variance, as Keras 3 has it. Devices that
    share a batch (`gan.devices`) normalise with the statistics of all of it.
    """

    def __init__(self, momentum: float = 0.99, epsilon: float = 1e-3, **options: Any) -> None:
        super().__init__(momentum=momentum, epsilon=epsilon, autocast=False, **options)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        if len(input_shape) != 4 or self.axis not in (-1, 3) or not (self.scale and self.center) or self.renorm:
            raise ValueError("for (B, H, W, C) on the last axis, with scale and offset; use Keras' layer otherwise")
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: None = None) -> tf.Tensor:
        training = bool(training and self.trainable)
        moving = (tf.convert_to_tensor(self.moving_mean), tf.convert_to_tensor(self.moving_variance))
        inputs = tf.cast(inputs, self.compute_dtype)
        if training and devices.sharing() > 1:
            outputs, mean, variance = self._normalise_shared(inputs)
            self._move(moving, mean, variance)
            return outputs
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=self.gamma,
            offset=self.beta,
            mean=[] if training else moving[0],
            variance=[] if training else moving[1],
            epsilon=self.epsilon,
            is_training=training,
        )
        if training:
            static_count = inputs.shape[:-1].num_elements()  # a constant adds fewer operations
            count = (
                np.float32(static_count) if static_count else tf.cast(tf.reduce_prod(tf.shape(inputs)[:-1]), tf.float32)
            )
            biased = variance * ((count - 1) / count)  # the operation gives the unbiased one
            self._move(moving, mean, biased)
        return outputs

    def _normalise_shared(self, inputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Normalise this device's rows with the mean and biased variance of all devices' rows."""
        x = tf.cast(inputs, tf.float32)
        mean = devices.mean(tf.reduce_mean(x, (0, 1, 2)))
        variance = devices.mean(tf.reduce_mean(tf.math.squared_difference(x, mean), (0, 1, 2)))
        outputs = tf.nn.batch_normalization(x, mean, variance, self.beta, self.gamma, self.epsilon)
        return tf.cast(outputs, inputs.dtype), mean, variance

    def _move(self, old: tuple[tf.Tensor, tf.Tensor], mean: tf.Tensor, variance: tf.Tensor) -> None:
        momentum = xla.number(self.momentum)
        for variable, past, new in zip((self.moving_mean, self.moving_variance), old, (mean, variance), strict=True):
            variable.assign(past * momentum + new * (1.0 - momentum))


@keras.saving.register_keras_serializable("gan")
class Dropout(keras.layers.Dropout):
    """Keras' layer in cheaper operations: in float32 the very same masks, in half precision 16 random bits a value."""

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        if not training or self.rate == 0:
            return inputs
        shape, seed = devices.whole_shape(inputs), tf.cast(self.seed_generator.next(), tf.int32)
        if inputs.dtype.size == 2:
            size = tf.reduce_prod(shape)
            pairs = tf.random.stateless_uniform([(size + 1) // 2], seed, None, None, tf.uint32)
            bits = tf.reshape(tf.reshape(tf.bitcast(pairs, tf.uint16), [-1])[:size], shape)
            kept = tf.cast(bits >= tf.cast(xla.number(min(round(self.rate * 2**16), 2**16 - 1)), tf.uint16), tf.float32)
        else:  # floor is vectorised, a comparison of floats is not
            kept = tf.floor(uniform(shape, seed) + xla.number(1 - self.rate))
        return inputs * tf.cast(devices.share(kept) * xla.number(1 / (1 - self.rate)), inputs.dtype)


@keras.saving.register_keras_serializable("gan")
class LeakyReLU(keras.layers.LeakyReLU):
    """Keras' layer, whose slope is an input of a program that XLA compiles."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        if not xla.is_tracing():
            return super().call(inputs)
        return tf.where(inputs > 0, inputs, inputs * tf.cast(xla.number(self.negative_slope), inputs.dtype))


@keras.saving.register_keras_serializable("gan")
class MinibatchStddev(keras.layers.Layer):
    """Append a channel with the standard deviation over the batch, averaged over all features.

    (B, H, W, C) -> (B, H, W, C + 1), the same number everywhere. Karras et al. (2018), Progressive Growing of GANs,
    section 3, over the whole batch. It shows the discriminator a generator whose images all look alike.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        x = tf.cast(inputs, tf.float32)
        mean = devices.mean(tf.reduce_mean(x, 0))
        variance = devices.mean(tf.reduce_mean(tf.math.squared_difference(x, mean), 0))
        deviation = tf.cast(tf.reduce_mean(tf.sqrt(variance + 1e-8)), inputs.dtype)
        return tf.concat([inputs, tf.fill(tf.concat([tf.shape(inputs)[:-1], [1]], 0), deviation)], -1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        *others, channels = input_shape
        return (*others, None if channels is None else channels + 1)


class _Spectral(keras.layers.Layer):
    """A layer that computes with its kernel divided by the estimate of its largest singular value.

    Miyato et al. (2018), Spectral Normalization for Generative Adversarial Networks; the kernel
    is a matrix of all inputs of an output by outputs. `u` (outputs,) has norm 1: no pass
    changes it, `iterate` does. It starts along the diagonal, to which no random kernel is orthogonal.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, autocast=False, **options)  # or the norm would be rounded

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        super().build(input_shape)
        outputs = self._kernel.shape[-1]
        diagonal = keras.initializers.Constant(outputs**-0.5)
        self.u = self.add_weight(shape=(outputs,), initializer=diagonal, trainable=False, name="u")

    @property
    def kernel(self) -> tf.Tensor:
        kernel = self._kernel.value
        # |Wu| is u'W'v with v = Wu / |Wu|, and so is its gradient to W: as if u and v were constants.
        norm = tf.norm(tf.linalg.matvec(self._matrix(), self.u.value))
        return ops.cast(kernel / norm, self.compute_dtype)

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return super().call(ops.cast(inputs, self.compute_dtype))

    def iterate(self) -> None:
        """Take one step of the power iteration."""
        matrix = self._matrix()
        v = tf.math.l2_normalize(tf.linalg.matvec(matrix, self.u.value))
        self.u.assign(tf.math.l2_normalize(tf.linalg.matvec(matrix, v, transpose_a=True)))

    def _matrix(self) -> tf.Tensor:
        return tf.reshape(self._kernel.value, (-1, self._kernel.shape[-1]))


@keras.saving.register_keras_serializable("gan")
class SpectralConv2D(_Spectral, Conv2D):
    """`Conv2D` at spectral norm 1."""


@keras.saving.register_keras_serializable("gan")
class SpectralDense(_Spectral, keras.layers.Dense):
    """Keras' `Dense` at spectral norm 1."""


def power_iteration(model: keras.Model) -> None:
    """Bring the norms of a model's spectral layers nearer to their kernels' by one step."""
    for layer in model.layers:
        if isinstance(layer, _Spectral):
            layer.iterate()


def _add_bias(images: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """Add a bias (C,) to images (B, H, W, C), both of one dtype.

    TensorFlow's gradient to the bias is a sum in the precision of its terms: in bfloat16 it
    came out 3 to 40 % too small (batch 32). Ours is summed in float32.
    """
    if images.dtype.size == 4:
        return tf.nn.bias_add(images, bias)

    def add(images: tf.Tensor, bias: tf.Tensor) -> tuple[tf.Tensor, Any]:
        # reduce_sum, unlike BiasAddGrad, keeps its running sums in float32.
        return tf.nn.bias_add(images, bias), lambda gradient: (gradient, tf.reduce_sum(gradient, (0, 1, 2)))

    return tf.custom_gradient(add)(images, bias)
