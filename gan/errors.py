"""Errors of a user's making, in one line: key, rule, value, remedy."""

import difflib
import os
import re
import shlex
import stat
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any


def without_password(text: str) -> str:
    """Return a text without the passwords of the addresses in it."""
    text = re.sub(r"(://[^/\s:@]*):\S*@", r"\1@", text)
    return re.sub(r"(?i)([?&]password=)[^&\s'\"]*", r"\1", text)


def in_one_line(text: str) -> str:
    """Return the lines of a text as one, with what is within them as it is: a path may hold two spaces in a row."""
    return " ".join(filter(None, map(str.strip, text.splitlines())))


class ConfigError(ValueError):
    """A setting that cannot be used. The message is one line: key, rule, value, remedy; no password gets into it.

    Args:
        key: dotted name of the setting, such as train.batch_size.
        rule: what the value must be; it follows "must be" in the message.
        value: what it is; shown by its repr.
        remedy: what helps, or why it is so; left out where it is empty.
    """

    def __init__(self, key: str, rule: str, value: object, remedy: str = "") -> None:
        self.key, self.rule, self.value, self.remedy = key, rule, value, remedy
        value_text = repr(value).replace(2 * "\\", "\\")  # a path with backslashes reads as it was typed
        text = f"{key} must be {rule}; got {value_text}" + (f" ({remedy})" if remedy else "")
        super().__init__(without_password(in_one_line(text)))

    def __reduce__(self) -> tuple[Any, ...]:  # or it could not come back from another process
        return type(self), (self.key, self.rule, self.value, self.remedy)


class InputError(ConfigError):
    """Images, or weights of an extractor, that cannot be had or used: other settings of the training would not help."""


def check_shares(batch_size: int, devices: int) -> None:
    """Raise ConfigError unless so many devices can share a batch evenly."""
    if batch_size % devices:
        raise ConfigError("train.batch_size", f"a multiple of {devices}, the number of devices", batch_size)


def check_name(key: str, name: str, names: Collection[str]) -> None:
    """Check that a name is among others.

    Args:
        key: the setting or argument that it is of.
        name: what was given.
        names: all that there are.

    Raises:
        ConfigError: for another name, with the nearest one.
    """
    if name not in names:
        raise ConfigError(key, f"one of {', '.join(names)}", name, nearest(name, names))


def nearest(word: str, words: Iterable[str]) -> str:
    """Return `did you mean 'x'?` for the word that is spelt most alike, or an empty string."""
    words = [str(word) for word in words]  # or an enum's would be shown as such
    match = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    if not match:  # compare the last part alone, as 'momentun'
        ends = {w.rpartition(".")[2]: w for w in words}
        match = [ends[end] for end in difflib.get_close_matches(word.rpartition(".")[2], ends, n=1, cutoff=0.6)]
    return f"did you mean {match[0]!r}?" if match else ""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text; its name if it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def explained(error: OSError) -> str:
    """Return the system's message; for a file without permission, also who owns it and what helps."""
    if not isinstance(error, PermissionError) or error.filename is None:
        return str(error)
    refused = Path(os.path.abspath(os.fsdecode(error.filename)))
    return f"{error.strerror}: {refused} ({_remedy(refused)})"


def _remedy(refused: Path) -> str:
    """Say who can change the permissions of a file, and how; if it does not exist, those of its folder."""
    place = next((path for path in (refused, *refused.parents) if os.access(path, os.F_OK)), Path("/"))
    try:
        owner, group = place.owner(), place.group()
    except KeyError:  # an id without a name
        owner, group = str(place.stat().st_uid), str(place.stat().st_gid)
    status, quoted = place.stat(), shlex.quote(str(place))
    subject = "it" if place == refused else str(place)
    facts = f"{subject} belongs to {owner}, group {group}, mode {stat.filemode(status.st_mode)}"
    if status.st_uid == os.geteuid():
        return f"{facts}: chmod u+rwX {quoted}"
    return f"{facts}: {owner} can open it to the group with chmod -R g+rwX {quoted}, and keep it so with umask 002"
