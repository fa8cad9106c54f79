"""Files of arrays."""

import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from gan.arrays import read_npz, write_npz


def test_reading_takes_the_memory_of_the_arrays_once(tmp_path: Path) -> None:
    arrays = {"train_images": np.arange(8_000_000, dtype=np.uint8), "few": np.arange(3)}
    write_npz(tmp_path / "a.npz", arrays)
    tracemalloc.start()
    read = read_npz(tmp_path / "a.npz")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 9_000_000
    np.testing.assert_equal(read, arrays)


def test_a_foreign_file_among_the_arrays_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("images", b"words")  # NumPy returns it as bytes
    with pytest.raises(ValueError, match="something else than plain arrays"):
        read_npz(tmp_path / "a.npz")
