"""What a message says is what the user typed."""

import os
import stat
from pathlib import Path

import pytest

from gan.errors import ConfigError, explained, in_one_line


def test_a_message_is_one_line_and_keeps_its_paths() -> None:
    error = ConfigError("data.path", "an existing folder", "/home/me/My  Pictures", "the system says:\n  no such file")
    assert str(error) == (
        "data.path must be an existing folder; got '/home/me/My  Pictures' (the system says: no such file)"
    )
    assert in_one_line("\n  a  b\n\n\tc \n") == "a  b c"


def test_a_remedy_can_be_pasted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a b" / "it's"
    file.parent.mkdir()
    file.touch()
    mode = stat.filemode(file.stat().st_mode)
    refusal = explained(PermissionError(13, "Permission denied", str(file)))
    quoted = "'" + str(file).replace("'", "'\"'\"'") + "'"
    assert refusal.endswith(f"mode {mode}: chmod u+rwX {quoted})")
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    assert f"chmod -R g+rwX {quoted}, and keep it so" in explained(PermissionError(13, "Permission denied", str(file)))
