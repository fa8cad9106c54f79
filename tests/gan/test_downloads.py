"""Where Keras keeps its downloads, and servers that do not answer."""

import socket
import time
from pathlib import Path

import pytest

from gan import downloads
from gan.downloads import DownloadError, download, keras_homes


def test_downloads_are_looked_for_where_keras_puts_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("KERAS_HOME", "")  # as Keras, this takes it for none
    assert keras_homes() == [home / ".keras"]
    monkeypatch.setenv("KERAS_HOME", "~/other")
    assert keras_homes() == [home / "other"]
    monkeypatch.setattr(downloads.os, "access", lambda place, mode: False)  # root may write anywhere
    assert keras_homes() == [home / "other", Path("/tmp/.keras")]


def test_a_silent_server_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(downloads, "SILENT_SECONDS", 0.2)
    before, begin = socket.getdefaulttimeout(), time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as server:
        origin = f"http://127.0.0.1:{server.getsockname()[1]}/weights.h5"
        with pytest.raises(DownloadError, match="timed out"):
            download(origin, "models", "0" * 32)
    assert time.monotonic() - begin < 30
    assert socket.getdefaulttimeout() == before
