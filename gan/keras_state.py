"""Keras' defaults, which a user may have changed for all of Keras."""

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def keras_defaults() -> Iterator[None]:
    """Build networks and optimisers with the defaults that Keras ships with; a decorator, too.

    What a user set for all of Keras (floatx, image_data_format, a dtype policy), in a notebook
    or in keras.json, holds again afterwards.
    """
    from keras import config

    before = config.floatx(), config.image_data_format(), config.dtype_policy()
    config.set_floatx("float32")
    config.set_image_data_format("channels_last")
    config.set_dtype_policy("float32")
    try:
        yield
    finally:
        floatx, image_data_format, policy = before
        config.set_floatx(floatx)
        config.set_image_data_format(image_data_format)
        config.set_dtype_policy(policy)
