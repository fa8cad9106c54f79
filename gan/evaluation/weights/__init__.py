"""The weights of the feature extractors: where they are, and the id that names them.

Nothing here needs TensorFlow but the download, which is Keras' own.
"""

import hashlib
import io
import itertools
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from gan.arrays import Arrays, parse_npz
from gan.cache import locked
from gan.downloads import DownloadError, download, is_whole, keras_homes
from gan.errors import InputError, check_name

FOLDER = Path(__file__).parent
WIDTHS = (32, 64, 64, 128, 128, 256)  # channels of the six 3x3 convolutions of cifar_cnn and random_cnn
MEANS = 64 + 128 + 256  # of the activations that become features
DIMENSIONS = 64
CIFAR_CNN_FILE = "cifar_cnn.npz"
INCEPTION_FILE = "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5"
INCEPTION_ORIGIN = "https://storage.googleapis.com/tensorflow/keras-applications/inception_v3"
INCEPTION_MD5 = "bcbd6486424b2319ff4ef7d526e38f63"
HDF5 = b"\x89HDF"  # what such a file begins with
KEY, EXTRACTOR_KEY = "eval.extractor_weights", "eval.extractor"
EXTRACTORS = ("cifar_cnn", "random_cnn", "inception")


@dataclass(frozen=True)
class Weights:
    """The weights of a feature extractor, and the digest that names them."""

    extractor: str  # one of EXTRACTORS
    sha256: str
    file: Path | None = None  # None for those that are made from a seed
    arrays: Arrays = field(default_factory=dict, compare=False, repr=False)  # of cifar_cnn and random_cnn

    @property
    def id(self) -> str:
        """Its name and the start of the SHA-256 of its weights: equal ids give equal features."""
        return f"{self.extractor}-{self.sha256[:8]}"


def find_weights(extractor: str, user_file: str | None = None, key: str = KEY) -> Weights:
    """Find the weights of an extractor: the file given, or its own.

    Args:
        extractor: cifar_cnn, random_cnn or inception. Keras' file of the last is fetched if it is not in Keras' cache.
        user_file: file of weights, `~` allowed: .npz of cifar_cnn, .h5 of inception. None for the extractor's own.
        key: the setting that an error names.

    Returns:
        The weights' digest and file (None for random_cnn), with the arrays, but for inception: its file is only hashed.

    Raises:
        ConfigError: for another extractor.
        InputError: in the name of `key`, for what is not there, cannot be read or cannot be fetched, and for a file for
            random_cnn, whose weights come from a seed.
    """
    check_name(EXTRACTOR_KEY, extractor, EXTRACTORS)
    if extractor == "random_cnn":
        if user_file is not None:
            raise InputError(key, "absent for random_cnn, whose weights come from a seed", user_file)
        arrays = random_weights()
        return Weights(extractor, digest(arrays), None, arrays)
    if user_file is not None:
        file = Path(os.path.expanduser(user_file)).resolve()
    else:
        file = FOLDER / CIFAR_CNN_FILE if extractor == "cifar_cnn" else _inception(key)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(key, "a file of weights", str(file), error.strerror or "") from error
    arrays = {}
    if extractor == "cifar_cnn":
        arrays = _parse_cifar_cnn(content, file, key)
    elif not content.startswith(HDF5):
        raise InputError(key, "weights of Keras' InceptionV3, .h5", str(file))
    return Weights(extractor, hashlib.sha256(content).hexdigest(), file, arrays)


def _parse_cifar_cnn(content: bytes, file: Path, key: str) -> Arrays:
    """Return the arrays of `gan.evaluation.extractors.ConvFeatures`. Raises InputError for another file."""
    rule = "weights made by experiments/train_features.py"
    try:
        arrays = parse_npz(io.BytesIO(content))
    except ValueError as error:
        raise InputError(key, rule, str(file), str(error)) from error
    for name, shape in _shapes().items():
        if name not in arrays or arrays[name].shape != shape:
            raise InputError(key, rule, str(file), f"it has no array {name} of shape {shape}")
    return arrays


def random_weights() -> Arrays:
    """Make weights of the same network from fixed random bits: no training, the same everywhere."""
    # Raw bits: unlike NumPy's distributions, their stream is the same in every release.
    bits = np.random.PCG64(20240229)

    def uniform(shape: tuple[int, ...], variance: float) -> np.ndarray:
        unit = (bits.random_raw(int(np.prod(shape))) >> np.uint64(11)) * 2.0**-53
        return ((unit - 0.5) * np.sqrt(12 * variance)).astype(np.float32).reshape(shape)

    weights = {}
    for name, shape in _shapes().items():
        variance = 2 / (9 * shape[-2]) if name.startswith("kernel") else 100 / DIMENSIONS
        vector = name.startswith(("bias", "offset"))
        weights[name] = np.zeros(shape, np.float32) if vector else uniform(shape, variance)
    return weights


def _shapes() -> dict[str, tuple[int, ...]]:
    kernels = {f"kernel_{k}": (3, 3, c_in, c_out) for k, (c_in, c_out) in enumerate(itertools.pairwise((3, *WIDTHS)))}
    biases = {f"bias_{k}": (width,) for k, width in enumerate(WIDTHS)}
    return {**kernels, **biases, "offset": (MEANS,), "projection": (MEANS, DIMENSIONS)}


def digest(weights: Arrays) -> str:
    """Return the SHA-256 of named arrays."""
    sha = hashlib.sha256()
    for name in sorted(weights):
        sha.update(f"{name} {weights[name].dtype.str} {weights[name].shape}\n".encode() + weights[name].tobytes())
    return sha.hexdigest()


def _inception(key: str) -> Path:
    """Return Keras' own file of InceptionV3's weights, fetched if it is not in the cache."""
    files = [home / "models" / INCEPTION_FILE for home in keras_homes()]
    with locked(files[-1]):  # one process at a time, so that none looks while another downloads
        for file in files:
            if is_whole(file, "md5", INCEPTION_MD5):
                return file
        try:
            download(f"{INCEPTION_ORIGIN}/{INCEPTION_FILE}", "models", INCEPTION_MD5)
        except DownloadError as error:
            rule = f"the file {INCEPTION_FILE}, as it is not in Keras' cache and cannot be fetched"
            raise InputError(key, rule, None, str(error)) from error
        return files[-1]
