"""Readers of images, one a kind of place; all give uint8 arrays by name.

`train_images` and `test_images` are (N, 32, 32, 3) uint8; `train_labels` and
`test_labels`, (N,) integers, are there where the place has labels.
"""

from gan.errors import InputError

SIZE = 32  # height and width of every image, in pixels
MIN_IMAGES = 40  # plots/training_images.png shows as many


class DataError(InputError):
    """Images that cannot be had or used, in one line: key, rule, value, remedy."""


class DataWarning(UserWarning):
    """Something about the images that the user should know before looking at results."""
