"""Files of arrays: read as data only, written whole or not at all."""

import io
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

Arrays = dict[str, np.ndarray]

# All that NumPy, zipfile and zlib raise on damaged or foreign bytes; whoever reads turns it into one line.
UNREADABLE = (
    OSError, ValueError, KeyError, TypeError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error,
    SyntaxError, tokenize.TokenError, struct.error, OverflowError, RecursionError, MemoryError,
)  # fmt: skip


def read_npz(file: Path) -> Arrays:
    """All arrays of an .npz; nothing is unpickled. Raises one of `UNREADABLE`."""
    return parse_npz(file.read_bytes())


def parse_npz(content: bytes) -> Arrays:
    """The same of a file's bytes."""
    try:
        stored = np.load(io.BytesIO(content), allow_pickle=False)
    except ValueError as error:  # NumPy would advise to unpickle it
        raise ValueError("it holds no plain arrays") from error
    if isinstance(stored, np.ndarray):
        raise ValueError("it is an .npy; save it with np.savez(images=...)")
    with stored:
        try:
            return {name: stored[name] for name in stored.files}
        except ValueError as error:
            raise ValueError("it holds something else than plain arrays, or a damaged one") from error


def write_npz(file: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """An uncompressed .npz of plain arrays, written as `write_atomically` does."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    write_atomically(file, buffer.getvalue())


def write_atomically(file: Path, content: bytes) -> None:
    """A reader or a crash finds the old file or the new one, never a part of it."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as stream:
            stream.write(content)
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
