"""What native libraries write to descriptor 2 goes to a file for a while."""

import os
from pathlib import Path

import pytest

from experiments.cli.stderr import native_stderr_to


def test_native_words_go_to_the_file_and_then_to_the_terminal_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "tensorflow.log"
    for words in (b"one ", b"two "):
        with native_stderr_to(file):
            os.write(2, words)
    os.write(2, b"three")
    assert file.read_text() == "one two "
    assert capfd.readouterr().err == "three"
