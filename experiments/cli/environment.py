"""What a program finds around it, brought to what it needs: a working directory, a home, Keras' settings."""

import contextlib
import json
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

import gan
from experiments import ROOT
from experiments.cli.signals import is_ours
from experiments.records.folders import read_json
from gan.downloads import USER_HOME
from gan.errors import ConfigError

CONF = ROOT / "conf"
KERAS_HOME = Path(__file__).resolve().parent / "keras_home"  # its keras.json has the settings that we need
LEGACY_KERAS = "TF_USE_LEGACY_KERAS"  # makes tf.keras, which MLflow asks, a package that we do not use
# Others of a user's for all of Keras: they end its import where a package is missing, or passes before their end.
UNWANTED = ("KERAS_NNX_ENABLED", "KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH")

_set_aside: list[str] = []  # what the user should know of


def prepare() -> None:
    """Let libraries find what they need, before any of them is imported.

    It is all in the environment, which processes that we start inherit: they find nothing left to do.
    """
    try:
        Path.home()
    except RuntimeError:  # a container's user may have neither HOME nor a name
        os.environ["HOME"] = "/"  # as Docker has it; MLflow cannot be imported without one
    if not os.access(Path.home(), os.W_OK):  # Matplotlib would warn in each process, and list all fonts anew
        os.environ.setdefault("MPLCONFIGDIR", str(_own_folder("matplotlib")))
    if os.environ.get("COLUMNS") == "0":  # Rich would print nothing
        del os.environ["COLUMNS"]
    if is_ours():
        logging.raiseExceptions = False  # a log on a full disk: a trace for each line of it would hide what matters
    if is_ours() and os.environ.get("KERAS_HOME") != str(KERAS_HOME):
        _set_aside.extend(_settings_unlike_ours())
        os.environ.setdefault(USER_HOME, os.environ.get("KERAS_HOME", ""))
        os.environ["KERAS_HOME"] = str(KERAS_HOME)
        for name in UNWANTED:
            os.environ.pop(name, None)
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # or a process takes all memory of a GPU
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # the numbers of GPUs are those that nvidia-smi shows
    if "tensorflow" not in sys.modules:
        os.environ.pop(LEGACY_KERAS, None)


def check_checkout() -> None:
    """Raise ConfigError if the program was installed without its checkout, which holds conf/ and docs/."""
    if not CONF.is_dir():
        rule = "run from its checkout, where `pip install -e .` installs it from"
        raise ConfigError("the program", rule, str(ROOT), "its conf/ is not there")


def check_working_directory() -> None:
    """Raise ConfigError if the working directory was deleted."""
    try:
        os.getcwd()
    except FileNotFoundError:
        remedy = "it was deleted: cd to another one, or to the new one of its name"
        raise ConfigError("the working directory", "a folder that is there", os.environ.get("PWD"), remedy) from None


def say_what_is_set_aside(console: Console) -> None:
    """Name, once, the user's own settings of Keras that a program does without."""
    if _set_aside:
        words = f"keras    set aside for this program: {', '.join(_set_aside)}"
        console.print(words, markup=False, highlight=False, soft_wrap=True)
        _set_aside.clear()


def _own_folder(name: str) -> Path:
    """A folder for temporary files that no other user can have made."""
    folder = Path(tempfile.gettempdir()) / f"{name}-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    return folder if folder.stat().st_uid == os.getuid() else Path(tempfile.mkdtemp(prefix=f"{name}-"))


def _settings_unlike_ours() -> Iterator[str]:
    """Of the environment and of keras.json, as a user knows them."""
    ours = read_json(KERAS_HOME / "keras.json")
    if gan.USER_BACKEND not in ("", ours["backend"]):
        yield f"KERAS_BACKEND={gan.USER_BACKEND}"
    yield from (f"{name}={os.environ[name]}" for name in (LEGACY_KERAS, *UNWANTED) if os.environ.get(name))
    file = Path(os.path.expanduser(os.environ.get("KERAS_HOME") or "~/.keras")) / "keras.json"
    try:
        user_settings = read_json(file)
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        yield f"{file}, which cannot be read ({getattr(error, 'strerror', None) or 'no JSON object'})"
        return
    if gan.USER_BACKEND:  # which goes before the file
        user_settings.pop("backend", None)
    unlike = [
        f"{key} {json.dumps(user_settings[key])}"
        for key in ours
        if key in user_settings and user_settings[key] != ours[key]
    ]
    if unlike:
        yield f"{' and '.join(unlike)} of {file}"
