"""What every reader of images returns, and the errors that it raises.

Arrays by name: `train_images` and `test_images` (N, 32, 32, 3) uint8; `train_labels` and
`test_labels`, (N,) integers, if the place has labels; `class_names`, (K,) texts by label,
if it has sub-folders.
"""

from gan.errors import InputError

SOURCES = ("auto", "cifar10", "embedded", "folder", "npz")
SIZE = 32  # height and width of every image, in pixels
MIN_IMAGES = 40  # plots/training_images.png shows as many


class DataError(InputError):
    """Images that cannot be had or used, in one line: key, rule, value, remedy."""


class DataWarning(UserWarning):
    """Something about the images that the user should know before looking at results."""
