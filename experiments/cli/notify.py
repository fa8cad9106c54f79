"""Tell the user's own program that something long is over: a desktop message, a mail, a web hook."""

import os
import shlex
import shutil
import subprocess

from rich.console import Console

from experiments.cli.progress import say_words
from gan.errors import ConfigError, first_line

PLACE = "{}"  # in the command, for the text
SECONDS = 30.0  # that the program may take


def _words(command: str) -> list[str]:
    """Return the program and its arguments; `~` is the user's home."""
    return [os.path.expanduser(word) for word in shlex.split(command)]


def check_program(key: str, command: str | None) -> None:
    """Check that the program of a command is here.

    Args:
        key: the setting in whose name ConfigError is raised.
        command: of the user; None for no program.

    Raises:
        ConfigError: where it is not.
    """
    if command is not None and shutil.which(_words(command)[0]) is None:
        raise ConfigError(key, "a program that is here, and its arguments", command)


def notify(command: str | None, text: str, console: Console) -> None:
    """Run the user's command with a text, without a shell: on its standard input, and wherever it says {}.

    Args:
        command: of the user; None for no program.
        text: what is over, and how it ended.
        console: where it is said that the program cannot be run or fails: nothing else fails with it.
    """
    if command is None:
        return
    words = [word.replace(PLACE, text) for word in _words(command)]
    try:
        done = subprocess.run(
            words, input=f"{text}\n", capture_output=True, timeout=SECONDS, encoding="utf-8", errors="backslashreplace"
        )
    except (OSError, subprocess.SubprocessError) as error:
        say_words(console, f"notify   {words[0]} was not told: {first_line(error)}")
        return
    if done.returncode:
        last = [f"exit code {done.returncode}", *done.stderr.strip().splitlines()][-1]
        say_words(console, f"notify   {words[0]} failed when it was told: {last}")
