"""The classes of CIFAR-10, by index and by name."""

from gan.errors import ConfigError, nearest

CIFAR10_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
CIFAR10_RULE = "0 to 9, all, or one of " + ", ".join(CIFAR10_CLASSES)


def is_cifar10_class(value: int | str) -> bool:
    """Return whether this is a class of CIFAR-10, by index or name, or all of them."""
    return value in (*CIFAR10_CLASSES, "all") or _is_index(value, len(CIFAR10_CLASSES))


def class_index(class_id: int | str) -> int | None:
    """Return the index of a class given by index or, of CIFAR-10, by name; None for `all`.

    Raises ConfigError for anything else.
    """
    if isinstance(class_id, int) and _is_index(class_id):
        return class_id
    if not is_cifar10_class(class_id):
        remedy = nearest(str(class_id), (*CIFAR10_CLASSES, "all"))
        raise ConfigError("data.class_id", CIFAR10_RULE, class_id, remedy)
    return None if class_id == "all" else CIFAR10_CLASSES.index(str(class_id))


def _is_index(value: object, count: int | None = None) -> bool:
    """Return whether this is a whole number from 0, below count if that is given."""
    if not isinstance(value, int) or isinstance(value, bool):
        return False
    return value >= 0 and (count is None or value < count)
