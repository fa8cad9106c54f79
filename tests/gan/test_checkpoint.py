import zipfile
from pathlib import Path

import numpy as np
import pytest

from gan.arrays import write_atomically, written_atomically
from gan.checkpoint import Checkpoint, CheckpointError, Checkpoints, read


def checkpoint(step: int) -> Checkpoint:
    return Checkpoint(step, {"generator/a": np.arange(5.0) + step, "b": np.float32(step)}, {"best_score": None})


def test_what_was_saved_is_read_back(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path / "checkpoints")
    store.save(checkpoint(7))
    latest = store.latest()
    assert (latest.step, latest.meta["best_score"]) == (7, None)
    assert latest.arrays.keys() == {"generator/a", "b"}
    np.testing.assert_array_equal(latest.arrays["generator/a"], np.arange(5.0) + 7)


def test_the_last_three_and_the_best_are_kept(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path)
    for step in (500, 1000, 1500, 2000, 10000):
        store.save(checkpoint(step))
        if step == 1000:
            store.save_best(checkpoint(step))
    assert [read(f).step for f in store.files()] == [1500, 2000, 10000]
    assert read(store.best_file).step == 1000
    assert store.latest().step == 10000
    assert not list(tmp_path.glob(".*"))


def test_the_one_just_written_stays_whatever_else_is_there(tmp_path: Path) -> None:
    """A run resumed from step 1500, as a later file was damaged, and trains these steps again."""
    store = Checkpoints(tmp_path)
    for step in (1500, 2000):
        store.save(checkpoint(step))
    store.save(checkpoint(1600), keep=1)
    assert [read(file).step for file in store.files()] == [1600]


def test_steps_are_in_order_of_their_numbers(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path)
    for step in (99_999_500, 100_000_000):  # one digit more than the names have
        store.save(checkpoint(step))
    (tmp_path / "step_half.npz").touch()  # somebody else's
    assert [read(file).step for file in store.files()] == [99_999_500, 100_000_000]


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "text", "pickle"])
def test_a_damaged_newest_is_passed_over_with_a_warning(tmp_path: Path, damage: str) -> None:
    store = Checkpoints(tmp_path)
    store.save(checkpoint(1))
    file = store.save(checkpoint(2))
    content = bytearray(file.read_bytes())
    if damage == "truncated":
        content = content[: len(content) // 2]
    elif damage == "flipped":  # one bit of an array: its CRC-32 tells
        content[content.index((np.arange(5.0) + 2).tobytes()) + 12] ^= 1
    elif damage == "empty":
        content = bytearray()
    elif damage == "text":
        content = bytearray(b"hello")
    file.write_bytes(content)
    if damage == "pickle":
        np.savez(file, x=np.array([{}], object))
    with pytest.warns(UserWarning, match=r"step_00000002.*cannot be read"):
        assert store.latest().step == 1


def test_none_left_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no readable checkpoint in"):
        Checkpoints(tmp_path).latest()
    with pytest.raises(CheckpointError, match="cannot be read"):
        read(tmp_path / "none.npz")


def test_members_are_plain_arrays_with_checksums(tmp_path: Path) -> None:
    file = Checkpoints(tmp_path).save(checkpoint(1))
    with zipfile.ZipFile(file) as archive:
        assert all(info.CRC for info in archive.infolist())
        assert archive.testzip() is None


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a"
    write_atomically(file, b"old")

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write_atomically(file, b"new")
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_one_is_found_by_its_step_the_last_or_the_best(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path)
    for step in (3, 12):
        store.save(checkpoint(step))
    with pytest.raises(CheckpointError, match=r"there is no best checkpoint in .* yet"):
        store.find("best")
    store.save_best(checkpoint(3))
    assert [store.find(step).step for step in ("3", "12", "last", "best")] == [3, 12, 12, 3]
    for step in ("4", "-3", "first"):
        with pytest.raises(CheckpointError, match=f"no checkpoint of step {step} in .* but of 3, 12"):
            store.find(step)


def test_processes_of_one_number_on_two_hosts_write_beside_each_other(tmp_path: Path) -> None:
    """As in two containers that share a disk, where both are process 7."""
    file = tmp_path / "page.html"
    with written_atomically(file) as first:
        first.write(b"first")
        write_atomically(file, b"second")
        assert file.read_bytes() == b"second"
    assert file.read_bytes() == b"first"
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
