"""What the arguments of a command change of a preset, in full and as the name of a run."""

import math
import re
from collections.abc import Iterable

from experiments.settings.rules import FolderName
from experiments.settings.schema import RESUME_MAY_CHANGE

# Where a run is kept, how it is watched and what its scores are in: nothing that makes it another run.
LEFT_OUT = {
    "name",
    "resume",
    "notify",
    "note",
    "records.root",
    "experiment",
    "eval.num_images",
    "eval.final_num_images",
}
LEFT_OUT |= {*RESUME_MAY_CHANGE} - {"train.steps"}
SHORT_NAMES = {  # in names of runs
    "optim.learning_rate": "lr",
    "optim.generator_learning_rate": "g_lr",
    "optim.discriminator_learning_rate": "d_lr",
    "optim.beta_1": "beta",
    "model.bn_momentum": "momentum",
    "model.leaky_relu_alpha": "alpha",
    "model.latent_dim": "z",
    "train.batch_size": "batch",
    "train.label_noise": "noise",
    "train.ema_decay": "ema",
    "train.r1_gamma": "r1",
    "model.generator.width": "g_width",
    "model.discriminator.width": "d_width",
}
LONGEST = 60  # characters of a name
LONG_NUMBER = 8  # characters, from which on a number has four digits
NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
LONG_WORD = 4  # letters from which on a word says enough without its key: hinge, translation, horse


def differences(arguments: Iterable[str]) -> dict[str, str]:
    """Return what arguments `key=value` change, by key, without what makes no other run; the last of a key counts."""
    changed: dict[str, str] = {}
    for argument in arguments:
        key, is_setting, value = argument.lstrip("+").partition("=")
        value = value.strip("'\"")
        if is_setting and re.fullmatch(r"[a-z][\w.]*", key) and key not in LEFT_OUT and not key.startswith("hydra"):
            changed.pop(key, None)
            if value != "null":  # a layer that follows the shared key
                changed[key] = value
    return changed


def run_name(preset: str | None, changed: dict[str, str]) -> str:
    """Return a name that says what a run changes of its preset, as quick-lr1e-4-seed1.

    Args:
        preset: of the run; None for none.
        changed: what `differences` returns. Where that is too long, seed and the keys of SHORT_NAMES stay, and the name says
            how many are left out, as -2more.
    """
    parts = {key: _part(key, value) for key, value in changed.items()}
    order = sorted(parts, key=lambda key: (key != "seed", key not in SHORT_NAMES))  # what is kept first
    kept: set[str] = set()
    length = len(start := _plain(preset or "run"))
    for key in order:
        if length + 1 + len(parts[key]) <= LONGEST:
            kept.add(key)
            length += 1 + len(parts[key])
    shown = [*(key for key in parts if key != "seed"), "seed"]
    name = "-".join([start, *(parts[key] for key in shown if key in kept)])[:LONGEST].rstrip("-_.")
    if len(kept) < len(parts):
        name += f"-{len(parts) - len(kept)}more"
    return name if FolderName().admits(name) else f"run-{name}"


def _part(key: str, value: str) -> str:
    short = SHORT_NAMES.get(key, key.rpartition(".")[2])
    plain = _plain(value)
    if value.lower() in ("true", "false"):
        return short if value.lower() == "true" else f"no_{short}"
    if NUMBER.fullmatch(value) and math.isfinite(float(value)):  # 12e45678 is the beginning of an id
        return f"{short}{_short_number(value)}"
    return plain if len(plain) >= LONG_WORD and plain[0].isalpha() else f"{short}_{plain}"


def _short_number(text: str) -> str:
    """Return a number as a person writes it: 1e-4 for 0.0001, which Hydra makes of it; a long one with four digits."""
    if len(text) > LONG_NUMBER:
        text = f"{float(text):.4g}"
    if "e" not in text.lower() and not 0 < abs(float(text)) < 1e-2:
        return text.lstrip("+")
    mantissa, exponent = f"{float(text):e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def _plain(text: str) -> str:
    """Return a text of the characters that a folder's name may have."""
    return re.sub(r"[^A-Za-z0-9.-]+", "_", text).strip("_.-") or "x"
