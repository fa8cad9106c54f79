"""Files of arrays."""

import tracemalloc
from pathlib import Path

import numpy as np

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
