"""What native libraries write to descriptor 2 goes to a file for a while."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

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


def test_a_logger_that_is_made_meanwhile_has_a_stream_that_lasts(tmp_path: Path) -> None:
    """As TensorFlow's, whose warnings would end in a trace of logging."""
    code = (
        "import logging, pathlib, sys; from experiments.cli.stderr import native_stderr_to\n"
        f"with native_stderr_to(pathlib.Path({str(tmp_path / 'log')!r})):\n"
        "    handler = logging.StreamHandler()\n"
        "handler.stream.close()\n"  # as absl's handler does, when Hydra sets up logging
        "for k in range(3):\n"
        f"    with native_stderr_to(pathlib.Path({str(tmp_path / 'log')!r})): pass\n"
        "    handler.emit(logging.LogRecord('a', 30, '', 0, f'heard {k}', (), None))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr == "heard 0\nheard 1\nheard 2\n"
