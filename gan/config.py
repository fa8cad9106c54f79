"""Every setting of the program: its type, default, unit and range, checked in one place.

Plain dataclasses without Hydra or OmegaConf. The outermost, `Config`, checks all of its
keys when it is made and then fills in those that default to another key, so whoever
holds a `Config` holds a complete and valid one. The rules stand in the fields' metadata;
documentation and search spaces read them from there too (`describe`).
"""

import copy
import dataclasses
import difflib
import itertools
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

CIFAR10_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)


# What an editor or a web page makes of plain characters.
PLAIN = {"\u2212": "-", "\u00ad": "-", **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015", "-")}
PLAIN |= dict.fromkeys("\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u00ab\u00bb\u2039\u203a", "'")
CONTROL_NAMES = {
    "\r": "CARRIAGE RETURN, as in a file with Windows line ends, which dos2unix takes out",
    "\n": "LINE FEED",
    "\t": "CHARACTER TABULATION",
}
QUOTE = "a text: put it in quotation marks"
NONE, NULL = "none", "write null for none"  # the word that people type for it, in any case; and what to say then

EXTRACTORS = ("cifar_cnn", "random_cnn", "inception")


def without_password(text: str) -> str:
    """A text without the passwords of the addresses in it."""
    text = re.sub(r"(://[^/\s:@]*):\S*@", r"\1@", text)
    return re.sub(r"(?i)([?&]password=)[^&\s'\"]*", r"\1", text)


class ConfigError(ValueError):
    """A setting that cannot be used. The message is one line: key, rule, value, remedy; no password gets into it."""

    def __init__(self, key: str, rule: str, value: object, remedy: str = "") -> None:
        self.key, self.rule, self.value, self.remedy = key, rule, value, remedy
        shown = repr(value).replace(2 * "\\", "\\")  # a path with backslashes reads as it was typed
        text = f"{key} must be {rule}; got {shown}" + (f" ({remedy})" if remedy else "")
        super().__init__(without_password(" ".join(text.split())))


@dataclass(frozen=True)
class Interval:
    """Finite numbers from `low` to `high`; an open end excludes its bound."""

    low: float
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False

    def __str__(self) -> str:
        if math.isinf(self.high):
            return f"{'greater than' if self.low_open else 'at least'} {self.low:g}"
        return f"in {'(' if self.low_open else '['}{self.low:g}, {self.high:.10g}{')' if self.high_open else ']'}"

    def admits(self, value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return False
        above = value > self.low if self.low_open else value >= self.low
        return above and (value < self.high if self.high_open else value <= self.high)


@dataclass(frozen=True)
class Choice:
    """One of a few words."""

    options: tuple[str, ...]

    def __str__(self) -> str:
        return "one of " + ", ".join(self.options)

    def admits(self, value: Any) -> bool:
        return value in self.options


CIFAR10_RULE = "0 to 9, all, or one of " + ", ".join(CIFAR10_CLASSES)


@dataclass(frozen=True)
class ClassId:
    """A class by index or name, or all. Which there are the data say."""

    def __str__(self) -> str:
        return f"{CIFAR10_RULE} (of an own npz also above 9, of a folder the name of a sub-folder)"

    def admits(self, value: Any) -> bool:
        if isinstance(value, int) and not isinstance(value, bool):
            return value >= 0
        return isinstance(value, str) and bool(value.strip())


@dataclass(frozen=True)
class PerLayer:
    """A number for every layer or a list with one for each; absent, another key's number."""

    layers: int
    each: Interval

    def __str__(self) -> str:
        return f"a number {self.each} or a list of {self.layers} of them, one a layer"

    def admits(self, value: Any) -> bool:
        if self.each.admits(value):
            return True
        return isinstance(value, list) and len(value) == self.layers and all(map(self.each.admits, value))


@dataclass(frozen=True)
class FolderName:
    """A word that can name a folder and cannot leave it."""

    def __str__(self) -> str:
        return "letters a to z, digits, '.', '_' and '-', the first a letter or digit, at most 100, and not last or all"

    def admits(self, value: Any) -> bool:
        return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", value) is not None and value not in ("last", "all")


@dataclass(frozen=True)
class NotEmpty:
    """Any text but none at all (an unset shell variable)."""

    def __str__(self) -> str:
        return "absent or not empty"

    def admits(self, value: Any) -> bool:
        return bool(value.strip())


@dataclass(frozen=True)
class Utf8(NotEmpty):
    """A path that goes into databases and web addresses."""

    def __str__(self) -> str:
        return "absent or not empty, and all of its bytes UTF-8"

    def admits(self, value: Any) -> bool:
        return super().admits(value) and is_utf8(value)


def is_utf8(text: str) -> bool:
    """Whether the bytes of a file name were: Python keeps others as lone surrogates."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


@dataclass(frozen=True)
class Devices:
    """A number of devices, or as many as there are."""

    options = ("auto",)

    def __str__(self) -> str:
        return "at least 1, or auto"

    def admits(self, value: Any) -> bool:
        return value in self.options or (isinstance(value, int) and not isinstance(value, bool) and value >= 1)


class Rule(Protocol):
    """What a value must be; its text completes "must be ..."."""

    def admits(self, value: Any) -> bool: ...


def setting(default: Any, doc: str, rule: Rule | None = None, same_as: str = "") -> Any:
    """A field of settings with its meaning, its rule and the key that it takes its value from when absent."""
    metadata = {"doc": doc, "rule": rule, "same_as": same_as}
    if isinstance(default, list | dict):
        return field(default_factory=lambda: copy.copy(default), metadata=metadata)
    return field(default=default, metadata=metadata)


AUGMENTATIONS = tuple(
    "+".join(kinds)
    for count in (1, 2, 3)
    for kinds in itertools.combinations(("color", "translation", "cutout"), count)
)
FRACTION = Interval(0, 1, high_open=True)
COUNT = Interval(1)
POSITIVE = Interval(0, low_open=True)


@dataclass
class GeneratorConfig:
    # Any, as OmegaConf's structured configs know no union of number and list.
    bn_momentum: Any = setting(
        None, "the generator's batch normalisations, input to output", PerLayer(2, FRACTION), "model.bn_momentum"
    )
    width: int = setting(
        128, "channels of the generator's 8x8 and 16x16 feature maps; the 32x32 one has half as many", Interval(2, 4096)
    )


@dataclass
class DiscriminatorConfig:
    bn_momentum: Any = setting(
        None, "the discriminator's batch normalisations, input to output", PerLayer(3, FRACTION), "model.bn_momentum"
    )
    leaky_relu_alpha: Any = setting(
        None, "the discriminator's LeakyReLUs, input to output", PerLayer(4, FRACTION), "model.leaky_relu_alpha"
    )
    width: int = setting(
        32, "channels of the discriminator's first convolution; each of the three others doubles them", Interval(1, 512)
    )
    batch_norm: bool = setting(True, "whether the discriminator has batch normalisations")
    spectral_norm: bool = setting(
        False, "keep the discriminator's kernels at spectral norm 1; means little with its batch_norm"
    )


@dataclass
class ModelConfig:
    latent_dim: int = setting(100, "length of the generator's input vector z", Interval(1, 65536))
    bn_momentum: float = setting(0.8, "weight of the past in every batch normalisation's moving statistics", FRACTION)
    leaky_relu_alpha: float = setting(0.2, "slope of every LeakyReLU for negative inputs", FRACTION)
    dropout: float = setting(0.25, "share of the discriminator's activations dropped in training", FRACTION)
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)


@dataclass
class OptimConfig:
    learning_rate: float = setting(2e-4, "Adam's step size, both networks", POSITIVE)
    generator_learning_rate: float | None = setting(
        None, "the generator's own step size", POSITIVE, same_as="optim.learning_rate"
    )
    discriminator_learning_rate: float | None = setting(
        None, "the discriminator's own step size", POSITIVE, same_as="optim.learning_rate"
    )
    beta_1: float = setting(0.5, "Adam's decay of the gradient's running mean", FRACTION)
    beta_2: float = setting(0.999, "Adam's decay of the running mean of its square", FRACTION)
    epsilon: float = setting(1e-7, "what Adam adds to the root of that before it divides by it", POSITIVE)
    decay: str = setting(
        "constant",
        "both learning rates fall to 0 at train.steps, which a resume may then not change",
        Choice(("constant", "linear", "cosine")),
    )
    decay_from: float = setting(0.0, "share of train.steps after which they begin to fall", FRACTION)


@dataclass
class TrainConfig:
    steps: int = setting(15000, "updates of both networks (the tutorial calls them epochs)", Interval(1, 10**9))
    batch_size: int = setting(32, "real images an update, drawn with replacement", Interval(2, 65536))
    loss: str = setting("bce", "what both networks minimise", Choice(("bce", "hinge", "non_saturating")))
    label_noise: float = setting(
        0.05,
        "greatest distance of a label from 0 or 1; acts in loss bce alone, the others have no labels",
        Interval(0, 0.5),
    )
    label_noise_mode: str = setting(
        "fixed", "noise drawn once before training, or afresh each update", Choice(("fixed", "fresh"))
    )
    label_noise_side: str = setting(
        "up", "real labels 1 + noise (up) or 1 - noise (inward); fake 0 + noise", Choice(("up", "inward"))
    )
    label_noise_on: str = setting(
        "both", "labels that are noisy: both, or those of real images alone (one-sided)", Choice(("both", "real"))
    )
    label_flip: float = setting(
        0.0,
        "share of the discriminator's labels that are swapped, drawn afresh each update",
        Interval(0, 0.5, high_open=True),
    )
    r1_gamma: float = setting(
        0.0, "weight of R1, the penalty on the discriminator's gradient at real images; 0 for none", Interval(0)
    )
    r1_every_steps: int = setting(1, "updates from one with R1 to the next; its weight grows by as much", COUNT)
    augment: str = setting(
        "none", "differentiable augmentation of all that the discriminator sees", Choice(("none", *AUGMENTATIONS))
    )
    horizontal_flip: bool = setting(False, "turn half of the real images left to right, drawn afresh each update")
    ema_decay: float = setting(
        0.0,
        "decay of a moving average of the generator, then scored, drawn and saved in its place; 0 for none",
        FRACTION,
    )
    batch_norm: str = setting(
        "tutorial", "recipe of one update: what batch normalisation sees, and when", Choice(("tutorial", "batch"))
    )
    precision: str = setting(
        "float32", "what layers compute in; weights stay float32", Choice(("float32", "mixed_bfloat16"))
    )
    steps_per_call: int = setting(
        10, "updates at most in one call; fewer where a second or a point, picture, score or checkpoint ends it", COUNT
    )
    threads: int | None = setting(
        None, "processor cores to compute on; by default all that this process may use", COUNT
    )
    devices: int | str = setting(
        1, "devices that share every batch: GPUs, or CPUs where there are none; auto: all GPUs, or one CPU", Devices()
    )
    log_every_steps: int = setting(
        50, "updates between two points of the loss curves, each the mean since the last", COUNT
    )
    grid_every_steps: int = setting(250, "updates between two pictures of the same latents", COUNT)
    checkpoint_every_steps: int = setting(500, "updates between two checkpoints", COUNT)
    keep_checkpoints: int = setting(
        3, "checkpoints that stay, about 17 MB each; the best by score stays beside them", COUNT
    )


@dataclass
class DataConfig:
    source: str = setting("auto", "where images come from", Choice(("auto", "cifar10", "embedded", "folder", "npz")))
    path: str | None = setting(None, "file or folder of the images", NotEmpty())
    class_id: int | str = setting(8, "class to train on; all where there are no labels", ClassId())


@dataclass
class EvalConfig:
    every_steps: int = setting(500, "updates between two scores", COUNT)
    num_images: int = setting(2000, "generated images an in-run score", Interval(2))
    final_num_images: int = setting(5000, "generated images of the score at the end", Interval(2))
    recalibrate_batch_norm: bool = setting(
        False, "score, draw and save with statistics of 2,000 latents in the generator's batch normalisations"
    )
    extractor: str = setting("cifar_cnn", "network in whose features images are compared", Choice(EXTRACTORS))
    extractor_weights: str | None = setting(None, "file of its weights, instead of its own", NotEmpty())


@dataclass
class RecordsConfig:
    root: str | None = setting(None, "folder of all records; by default the project's mlruns/", Utf8())


@dataclass
class Config:
    model: ModelConfig = field(default_factory=ModelConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    data: DataConfig = field(default_factory=DataConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    records: RecordsConfig = field(default_factory=RecordsConfig)
    seed: int = setting(0, "seed of every random number of the run", Interval(0))
    name: str | None = setting(None, "name of the run; by default date, time and preset", FolderName())
    resume: str | None = setting(None, "run to go on with: MLflow run id, name, folder or last", NotEmpty())

    def __post_init__(self) -> None:
        check(self)
        if self.resume is None:  # else the run says what its classes are
            _check_class(self.data)
        for key, spec in describe().items():
            if spec["same_as"]:
                _fill(self, key, spec)


def check(settings: Any) -> None:
    """Raises ConfigError for the first value that breaks the rule of its key; where None is the default, it may be."""
    texts = text_keys(type(settings))
    for key, spec in describe(type(settings)).items():
        rule, value = spec["rule"], get(settings, key)
        if value is None and spec["default"] is None:
            continue
        if key in texts and not isinstance(value, str):
            remedy = QUOTE if isinstance(value, int | float) else ""
            raise ConfigError(key, str(rule or "text"), value, remedy)
        if rule is not None and not rule.admits(value):
            raise ConfigError(key, str(rule), value, _hint(spec, value))
        if isinstance(value, str) and (stray := misplaced_character(value)):
            raise ConfigError(key, "text without characters that cannot be seen", value, stray)


def text_keys(settings: type) -> list[str]:
    """Keys whose values are texts."""
    return [key for key, spec in describe(settings).items() if spec["type"] in (str, str | None)]


def _hint(spec: dict[str, Any], value: Any) -> str:
    """What a value that breaks its rule may have been meant for."""
    if spec["default"] is None and str(value).lower() == NONE:
        return NULL
    if isinstance(spec["rule"], ClassId) and isinstance(value, bool | float):
        return QUOTE  # as YAML makes numbers of the names 1.50 and 1e3, and false of no
    stray = stray_character(value) if isinstance(value, str) else ""
    known = isinstance(spec["rule"], Choice | Devices)
    return stray or (nearest(str(value), spec["rule"].options) if known else "")


def stray_character(text: str) -> str:
    """Name the first character of a text that is not plain ASCII, and what to type for it; empty if there is none."""
    for character in text:
        if not (character.isascii() and character.isprintable()):
            name = CONTROL_NAMES.get(character) or unicodedata.name(character, "")
            plain = PLAIN.get(character) or unicodedata.normalize("NFKC", character)
            remedy = f", in the place of {plain!r}" if plain != character and plain.isascii() else ""
            return f"{character!r} is U+{ord(character):04X} {name}".rstrip() + remedy
    return ""


def misplaced_character(text: str) -> str:
    """Name a character that no text has on purpose, at an end or at all: what `stray_character` says of it.

    These are control characters anywhere, and at an end spaces that are not plain, characters without a width, and
    typographic quotation marks around the whole.
    """
    for character in text:
        if unicodedata.category(character) == "Cc":
            return stray_character(character)
    for end in (text[:1], text[-1:]):
        if end and not end.isascii() and unicodedata.category(end) in ("Zs", "Cf"):
            return stray_character(end)
    around = len(text) > 1 and PLAIN.get(text[0]) == PLAIN.get(text[-1]) == "'"
    return stray_character(text) if around else ""


def check_shares(batch_size: int, devices: int) -> None:
    """Raises ConfigError unless so many devices can share a batch evenly."""
    if batch_size % devices:
        raise ConfigError("train.batch_size", f"a multiple of {devices}, the number of devices", batch_size)


def is_cifar10_class(value: int | str) -> bool:
    """Whether this is one of its classes, by index or name, or all of them."""
    return value in (*CIFAR10_CLASSES, "all") or Interval(0, len(CIFAR10_CLASSES) - 1).admits(value)


def _check_class(data: DataConfig) -> None:
    """Raises ConfigError for a class that the source, as far as it is known before data are read, cannot have."""
    may_be_folder = data.source == "folder" or (data.source == "auto" and data.path is not None)
    own_index = data.source == "npz" and isinstance(data.class_id, int)
    if not (may_be_folder or own_index or is_cifar10_class(data.class_id)):
        several = "several are several runs: --multirun" if "," in str(data.class_id) else ""
        remedy = several or nearest(str(data.class_id), (*CIFAR10_CLASSES, "all"))
        raise ConfigError("data.class_id", str(ClassId()), data.class_id, remedy)


def _fill(config: Config, key: str, spec: dict[str, Any]) -> None:
    value = get(config, key)
    if value is None:
        value = get(config, spec["same_as"])
    if isinstance(spec["rule"], PerLayer):
        value = [float(v) for v in (value if isinstance(value, list) else [value] * spec["rule"].layers)]
    put(config, key, value)


def describe(settings: type = Config) -> dict[str, dict[str, Any]]:
    """All keys, dotted, in order, each with its `type`, `default`, `doc`, `rule` and `same_as`."""
    return dict(_describe(settings, ""))


def _describe(cls: type, prefix: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for f in dataclasses.fields(cls):
        if isinstance(f.type, type) and dataclasses.is_dataclass(f.type):
            yield from _describe(f.type, f"{prefix}{f.name}.")
        else:
            plain = {"doc": "", "rule": None, "same_as": ""}  # of a field without `setting`
            default = f.default if f.default_factory is dataclasses.MISSING else f.default_factory()
            yield f"{prefix}{f.name}", {**plain, "type": f.type, "default": default, **f.metadata}


def get(config: Any, key: str) -> Any:
    """The value of a dotted key."""
    for name in key.split("."):
        config = getattr(config, name)
    return config


def put(config: Config, key: str, value: Any) -> None:
    """Set the value of a dotted key."""
    owner, _, name = key.rpartition(".")
    setattr(get(config, owner) if owner else config, name, value)


def effective(config: Config, key: str) -> Any:
    """Return the value of a dotted key as the networks get it.

    Of a shared key it is what the keys that follow it have: one value, or a list of all where
    they differ, as `experiment=tutorial` has [0.78, 0.78, 0.82, 0.82, 0.8] for model.bn_momentum.
    """
    followers = [get(config, name) for name, spec in describe().items() if spec["same_as"] == key]
    values = [each for value in followers for each in (value if isinstance(value, list) else [value])]
    if not values:
        return get(config, key)
    return values[0] if len(set(values)) == 1 else values


def in_brief(value: Any) -> Any:
    """Return a value for a table: of a list the different ones, as 0.78/0.82/0.8."""
    if not isinstance(value, list):
        return value
    distinct = list(dict.fromkeys(value))
    return distinct[0] if len(distinct) == 1 else "/".join(f"{each:.6g}" for each in distinct)


def flatten(config: Config) -> dict[str, Any]:
    """All keys, dotted, with their values."""
    return {key: get(config, key) for key in describe()}


def class_index(class_id: int | str) -> int | None:
    """The index of a class given by index or, of CIFAR-10, by name; None for `all`.

    Raises ConfigError for anything else.
    """
    if isinstance(class_id, int) and ClassId().admits(class_id):
        return class_id
    if not is_cifar10_class(class_id):
        remedy = nearest(str(class_id), (*CIFAR10_CLASSES, "all"))
        raise ConfigError("data.class_id", CIFAR10_RULE, class_id, remedy)
    return None if class_id == "all" else CIFAR10_CLASSES.index(str(class_id))


# What people type who know other programs.
ALIASES = {
    "lr": "optim.learning_rate",
    "epochs": "train.steps",
    "iterations": "train.steps",
    "momentum": "model.bn_momentum",
    "alpha": "model.leaky_relu_alpha",
    "noise": "train.label_noise",
    "z_dim": "model.latent_dim",
    "class": "data.class_id",
}


def nearest(word: str, words: Iterable[str]) -> str:
    """`did you mean 'x'?` for the word that is spelt most alike, or an empty string."""
    words = list(words)
    if (usual := ALIASES.get(word.lower())) in words:
        return f"did you mean {usual!r}?"
    match = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    if not match:  # the last part alone: 'lr' has no neighbour, 'momentun' has
        ends = {w.rpartition(".")[2]: w for w in words}
        match = [ends[end] for end in difflib.get_close_matches(word.rpartition(".")[2], ends, n=1, cutoff=0.6)]
    return f"did you mean {match[0]!r}?" if match else ""
