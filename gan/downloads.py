"""Files that Keras downloads: where it keeps them, whether they are whole, and the download itself."""

import contextlib
import hashlib
import os
import socket
from pathlib import Path

from gan.errors import in_one_line

USER_HOME = "GAN_TUNER_KERAS_HOME"  # the user's KERAS_HOME, where a program of ours has put its own in its place
SILENT_SECONDS = 20.0  # without a byte, after which a download fails: Keras waits for a dead network for ever


class DownloadError(Exception):
    """A file that cannot be fetched, and why."""


def is_readable(file: Path) -> bool:
    """Return whether there is a file that this user may read."""
    return os.path.isfile(file) and os.access(file, os.R_OK)


def is_whole(file: Path, algorithm: str, digest: str) -> bool:
    """Return whether a file is readable and has a digest, which an interrupted download has not.

    Args:
        file: which need not be there.
        algorithm: a name that hashlib knows.
        digest: in hexadecimal digits.
    """
    if not is_readable(file):
        return False
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, algorithm).hexdigest() == digest


def keras_homes() -> list[Path]:
    """Return the places where Keras may have left its downloads; it puts new ones into the last."""
    folder = os.environ.get(USER_HOME, os.environ.get("KERAS_HOME"))
    home = Path(os.path.expanduser(folder or "~/.keras"))
    homes = [home] if home.is_absolute() else []  # a container's user may have no home
    with contextlib.suppress(OSError):
        home.mkdir(parents=True, exist_ok=True)
    # The last is Keras' own place where the home cannot be written (keras/src/utils/file_utils.py).
    return homes if homes and os.access(home, os.W_OK) else [*homes, Path("/tmp/.keras")]


def download(origin: str, folder: str, digest: str, *, name: str | None = None, extract: bool = False) -> None:
    """Download a file into the last of `keras_homes`, as Keras itself would.

    Args:
        origin: the URL.
        folder: in Keras' home.
        digest: MD5 or SHA-256 of the file.
        name: of the file; None for that in the URL.
        extract: whether it is an archive to unpack.

    Raises:
        DownloadError: if it cannot be fetched.
    """
    import keras

    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SILENT_SECONDS)
    try:
        home = str(keras_homes()[-1])
        # Not keras.datasets, which knows no other place than the KERAS_HOME that Keras was imported with.
        keras.utils.get_file(name, origin, extract=extract, file_hash=digest, cache_dir=home, cache_subdir=folder)
    except Exception as error:  # Keras raises a plain Exception when a URL cannot be fetched
        raise DownloadError(in_one_line(str(error))) from error
    finally:
        socket.setdefaulttimeout(timeout)
