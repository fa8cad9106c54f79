"""Files of arrays: read as data only, written whole or not at all."""

import contextlib
import io
import os
import secrets
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

Arrays = dict[str, np.ndarray]

# What NumPy, zipfile and zlib raise on damaged or foreign bytes, beside ValueError.
_DECODING = (
    OSError, KeyError, TypeError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error,
    SyntaxError, tokenize.TokenError, struct.error, OverflowError, RecursionError, MemoryError,
)  # fmt: skip


def read_npz(file: Path) -> Arrays:
    """Read the arrays of an .npz; nothing is unpickled. Raises OSError, and ValueError for other than plain arrays."""
    with file.open("rb") as stream:  # not its bytes first, which would be as large as the arrays
        return parse_npz(stream)


def parse_npz(stream: BinaryIO) -> Arrays:
    """Return the arrays in a stream of an .npz, as `read_npz` does."""
    with _decoding("it holds no plain arrays"):
        stored = np.load(stream, allow_pickle=False)
    if isinstance(stored, np.ndarray):
        raise ValueError("it is an .npy; save it with np.savez(images=...)")
    with stored, _decoding("it holds something else than plain arrays, or a damaged one"):
        arrays = {name: stored[name] for name in stored.files}
        if not all(isinstance(array, np.ndarray) for array in arrays.values()):  # NumPy returns foreign files as bytes
            raise ValueError("a file in it is no .npy")
        return arrays


def read_npy(file: Path) -> np.ndarray:
    """Read the array of an .npy, as `read_npz` does."""
    content = file.read_bytes()
    with _decoding("it is no .npy of plain numbers"):
        stored = np.load(io.BytesIO(content), allow_pickle=False)
    if not isinstance(stored, np.ndarray):
        raise ValueError("it holds an .npz")
    return stored


@contextlib.contextmanager
def _decoding(problem: str) -> Iterator[None]:
    """Turn the libraries' errors on such bytes into one kind; NumPy's own would advise to unpickle them."""
    try:
        yield
    except (ValueError, *_DECODING) as error:
        raise ValueError(problem) from error


def write_npz(file: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an uncompressed .npz of plain arrays, as `write_atomically` does."""
    with written_atomically(file) as stream:
        np.savez(stream, allow_pickle=False, **arrays)


def write_atomically(file: Path, content: bytes) -> None:
    """Write a file at once, as `written_atomically` does."""
    with written_atomically(file) as stream:
        stream.write(content)


def temporary_name(file: Path, ending: str) -> Path:
    """Return a name beside a file that no other process has, on whatever host, and that says which process of this one."""
    return file.with_name(f".{file.name}.{os.getpid()}-{secrets.token_hex(4)}.{ending}")


@contextlib.contextmanager
def written_atomically(file: Path) -> Iterator[BinaryIO]:
    """Yield a stream to write a file at once: a reader or a crash finds the old file or the new one, no part of it."""
    temporary = temporary_name(file, "tmp")
    try:
        with open(temporary, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, file)
        folder = os.open(file.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the new name as well
        finally:
            os.close(folder)
    finally:
        temporary.unlink(missing_ok=True)
