"""What takes time to make is made once."""

import threading
from pathlib import Path

import numpy as np
import pytest

from gan import cache
from gan.arrays import Arrays
from gan.cache import prepared


def test_who_asks_while_it_is_made_waits_for_it(tmp_path: Path) -> None:
    begun, go_on = threading.Event(), threading.Event()
    made: list[str] = []

    def build(name: str) -> Arrays:
        made.append(name)
        begun.set()
        assert go_on.wait(10)
        return {"made by": np.array(name)}

    found: list[str] = []

    def ask(name: str) -> None:
        found.append(str(prepared(tmp_path, "data", "key", lambda: build(name))["made by"]))

    first, second = (threading.Thread(target=ask, args=(name,), daemon=True) for name in ("first", "second"))
    first.start()
    assert begun.wait(10)
    second.start()
    second.join(0.3)
    go_on.set()
    for thread in (first, second):
        thread.join(10)
    assert made == ["first"]
    assert found == ["first", "first"]


def test_other_keys_are_made_and_what_fails_is_not_kept(tmp_path: Path) -> None:
    def fail() -> Arrays:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        prepared(tmp_path / "new", "data", "a", fail)
    assert not (tmp_path / "new").exists()
    for key in ("a", "b", "a"):
        assert prepared(tmp_path, "data", key, lambda key=key: {"key": np.array(key)})["key"] == key
    assert len(list(tmp_path.glob("*.npz"))) == 2


def test_what_is_there_is_read_where_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = prepared(tmp_path, "a", "key", lambda: {"x": np.arange(3)})

    def refused(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(cache, "locked", refused)
    np.testing.assert_array_equal(prepared(tmp_path, "a", "key", dict)["x"], made["x"])
