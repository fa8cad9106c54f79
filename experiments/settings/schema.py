"""Every setting of the program: its type, default, unit and range, checked in one place.

Plain dataclasses without Hydra or OmegaConf. The outermost, `Config`, checks all of its
keys when it is made and then fills in those that default to another key, so a
`Config` is always complete and valid. The rules stand in the fields' metadata;
documentation and search spaces read them from there too (`describe`).
"""

import itertools
from dataclasses import dataclass, field
from typing import Any

from experiments.settings.rules import (
    COUNT,
    FRACTION,
    POSITIVE,
    Choice,
    ClassId,
    Command,
    Devices,
    FolderName,
    Interval,
    NotEmpty,
    PerLayer,
    Switch,
    Utf8,
    check,
    describe,
    get,
    put,
    setting,
)
from gan.data.classes import CIFAR10_CLASSES, is_cifar10_class
from gan.data.contract import SOURCES
from gan.errors import ConfigError, nearest
from gan.evaluation.weights import EXTRACTORS

AUTO, FULL, HALF = "auto", "float32", "mixed_bfloat16"  # of train.precision
AUGMENT_CHOICES = tuple(
    "+".join(kinds)
    for count in (1, 2, 3)
    for kinds in itertools.combinations(("color", "translation", "cutout"), count)
)


@dataclass
class GeneratorConfig:
    # Any, as OmegaConf's structured configs know no union of number and list.
    bn_momentum: Any = setting(
        None, "the generator's batch normalisations, input to output", PerLayer(2, FRACTION), "model.bn_momentum"
    )
    width: int = setting(
        128,
        "channels of the generator's 8x8 and 16x16 feature maps, half as many at 32x32; in resnet of every layer",
        Interval(2, 4096),
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
        32,
        "channels of the discriminator's first convolution, each later one has twice as many; in resnet half of every block's",
        Interval(1, 512),
    )
    batch_norm: bool = setting(True, "whether the discriminator has batch normalisations")
    spectral_norm: bool = setting(
        False, "keep the discriminator's kernels at spectral norm 1; means little with its batch_norm"
    )


@dataclass
class ModelConfig:
    architecture: str = setting(
        "dcgan", "the tutorial's networks, or residual ones as those of SNGAN", Choice(("dcgan", "resnet"))
    )
    latent_dim: int = setting(100, "length of the generator's input vector z", Interval(1, 65536))
    bn_momentum: float = setting(0.8, "weight of the past in every batch normalisation's moving statistics", FRACTION)
    leaky_relu_alpha: float = setting(0.2, "slope of every LeakyReLU for negative inputs", FRACTION)
    dropout: float = setting(0.25, "fraction of the discriminator's activations dropped in training", Interval(0, 0.99))
    minibatch_stddev: bool = setting(
        False, "show the discriminator how much the images of a batch differ, as one more channel"
    )
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
    beta_2: float = setting(0.999, "Adam's decay of the running mean of the squared gradient", FRACTION)
    epsilon: float = setting(
        1e-7, "what Adam adds to the root of the mean squared gradient before it divides by it", POSITIVE
    )
    decay: str = setting(
        "constant",
        "both learning rates fall to 0 at train.steps, which a resume may then not change",
        Choice(("constant", "linear", "cosine")),
    )
    decay_from: float = setting(0.0, "fraction of train.steps after which the learning rates begin to fall", FRACTION)


@dataclass
class TrainConfig:
    steps: int = setting(15000, "updates of both networks (the tutorial calls them epochs)", Interval(1, 10**9))
    batch_size: int = setting(32, "real images an update, drawn with replacement", Interval(2, 65536))
    init_from: str | None = setting(
        None, "start from another run's networks: a run, best:<study>, or a checkpoint's file", NotEmpty()
    )
    loss: str = setting(
        "bce", "what both networks minimise", Choice(("bce", "hinge", "non_saturating", "relativistic"))
    )
    d_steps: int = setting(
        1, "the discriminator's updates to each of the generator's, each on batches of its own", Interval(1, 16)
    )
    label_noise: float = setting(
        0.05,
        "greatest distance of a label from 0 or 1; acts only in loss=bce, as other losses round labels to 0 or 1",
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
        "fraction of the discriminator's labels that are swapped, drawn afresh each update",
        Interval(0, 0.5, high_open=True),
    )
    r1_gamma: float = setting(
        0.0, "weight of R1, the penalty on the discriminator's gradient at real images; 0 for none", Interval(0)
    )
    r2_gamma: float = setting(
        0.0, "weight of R2, the penalty on the discriminator's gradient at generated images; 0 for none", Interval(0)
    )
    r1_every_steps: int = setting(
        1, "updates from one with the penalties R1 and R2 to the next; their weights are multiplied by it", COUNT
    )
    lecam: float = setting(
        0.0, "weight of LeCam, the pull of logits to the moving average of the other images'; 0 for none", Interval(0)
    )
    consistency: float = setting(
        0.0, "weight of the change of logits when images are moved and mirrored; 0 for none", Interval(0)
    )
    augment: str = setting(
        "none", "differentiable augmentation of all that the discriminator sees", Choice(("none", *AUGMENT_CHOICES))
    )
    augment_target: float = setting(
        0.0,
        "mean sign of the discriminator's logits of real images that augmentation holds; 0: every image is augmented",
        FRACTION,
    )
    horizontal_flip: bool = setting(False, "turn half of the real images left to right, drawn afresh each update")
    ema_decay: float = setting(
        0.0,
        "decay of a moving average of the generator, then scored, drawn and saved in its place; 0 for none",
        FRACTION,
    )
    update_rule: str = setting(
        "tutorial", "how one update goes: what batch normalisation sees, and when", Choice(("tutorial", "batch"))
    )
    precision: str = setting(
        FULL,
        "what layers compute in; weights stay float32. auto is mixed_bfloat16 where the hardware has it, else float32",
        Choice((FULL, HALF, AUTO)),
    )
    steps_per_call: int = setting(
        10,
        "updates at most in one call; fewer where a second, or a point, sample grid, score or checkpoint ends it",
        COUNT,
    )
    threads: int | None = setting(
        None, "processor cores to compute on; by default all that this process may use", Interval(1, 4096)
    )
    devices: int | str = setting(
        1, "devices that share every batch: GPUs, or CPUs where there are none; auto: all GPUs, or one CPU", Devices()
    )
    jit_compile: bool | str = setting(
        "auto", "whether XLA compiles the update; auto: on a GPU, where it is several times as fast", Switch()
    )
    deterministic: bool = setting(
        True, "on a GPU, only operations whose results repeat to the bit; those of a CPU always do"
    )
    log_every_steps: int = setting(
        50, "updates between two points of the loss curves, each the mean since the last", COUNT
    )
    grid_every_steps: int = setting(250, "updates between two sample grids of the same latents", COUNT)
    checkpoint_every_steps: int = setting(500, "updates between two checkpoints", COUNT)
    keep_checkpoints: int = setting(
        3, "checkpoints that stay, about 17 MB each; the best by score stays beside them", COUNT
    )


@dataclass
class DataConfig:
    source: str = setting("auto", "where images come from", Choice(SOURCES))
    path: str | None = setting(None, "file or folder of the images", NotEmpty())
    class_id: int | str = setting(8, "class to train on; all where there are no labels", ClassId())


@dataclass
class EvalConfig:
    every_steps: int = setting(500, "updates between two scores", COUNT)
    num_images: int = setting(2000, "generated images per score during training", Interval(2, 10**6))
    final_num_images: int = setting(5000, "generated images of the score at the end", Interval(2, 10**6))
    recalibrate_batch_norm: bool = setting(
        False, "score, draw and save with statistics of 2,000 latents in the generator's batch normalisations"
    )
    extractor: str = setting("cifar_cnn", "network in whose features images are compared", Choice(EXTRACTORS))
    extractor_weights: str | None = setting(None, "file of its weights, instead of its own", NotEmpty())


@dataclass
class TrackingConfig:
    system_metrics: bool = setting(False, "record the processor's load and the memory of the process beside the losses")


@dataclass
class RecordsConfig:
    root: str | None = setting(None, "folder of all records; by default the project's mlruns/", Utf8())


@dataclass
class DataPlace:
    """Where images are, for programs that read those of a run."""

    path: str | None = setting(None, "where the images are now, if the program does not find them", NotEmpty())


@dataclass
class Cifar10Place:
    """Where CIFAR-10 is, for programs that need it."""

    path: str | None = setting(
        None, "a folder with cifar-10-batches-py, or the .tar.gz; by default Keras' cache or a download", NotEmpty()
    )


@dataclass
class Config:
    model: ModelConfig = field(default_factory=ModelConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    data: DataConfig = field(default_factory=DataConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    records: RecordsConfig = field(default_factory=RecordsConfig)
    seed: int = setting(0, "seed of every random number of the run", Interval(0))
    name: str | None = setting(
        None, "name of the run; by default the preset and what is changed of it, as quick-lr1e-4-seed1", FolderName()
    )
    resume: str | None = setting(None, "run to resume: MLflow run id, name, folder or last", NotEmpty())
    notify: str | None = setting(
        None,
        "program that is told at the end, by its standard input and where it says {}: 'notify-send GAN {}'",
        Command(),
    )
    note: str | None = setting(None, "what to remember of the run; MLflow, lists and comparisons show it", NotEmpty())

    def __post_init__(self) -> None:
        check(self)
        if self.resume is None:  # else the run says what its classes and other settings are
            _check_class(self.data)
            _check_together(self.train)
        for key, shared in FOLLOWS.items():
            _fill(self, key, shared)


FOLLOWS = {
    key: spec["same_as"] for key, spec in describe(Config).items() if spec["same_as"]
}  # keys, by default as others


def _check_class(data: DataConfig) -> None:
    """Raise ConfigError for a class that the source cannot have, as far as that is known before data are read."""
    may_be_folder = data.source == "folder" or (data.source == "auto" and data.path is not None)
    index_of_npz = data.source == "npz" and isinstance(data.class_id, int)
    if not (may_be_folder or index_of_npz or is_cifar10_class(data.class_id)):
        several = "several are several runs: --multirun" if "," in str(data.class_id) else ""
        remedy = several or nearest(str(data.class_id), (*CIFAR10_CLASSES, "all"))
        raise ConfigError("data.class_id", str(ClassId()), data.class_id, remedy)


def _check_together(train: TrainConfig) -> None:
    """Raise ConfigError for options that mean nothing together."""
    if train.loss == "relativistic" and train.label_flip:
        raise ConfigError("train.label_flip", "0 with train.loss=relativistic, which has no labels", train.label_flip)
    if train.augment_target and train.augment == "none":
        remedy = "train.augment=color+translation+cutout"
        raise ConfigError("train.augment_target", "0 without train.augment", train.augment_target, remedy)


def _fill(config: Config, key: str, shared: str) -> None:
    value, rule = get(config, key), describe(Config)[key]["rule"]
    if value is None:
        value = get(config, shared)
    if isinstance(rule, PerLayer):
        value = [float(v) for v in (value if isinstance(value, list) else [value] * rule.layers)]
    put(config, key, value)


def effective(config: Config, key: str) -> Any:
    """Return the value of a dotted key as the networks get it.

    Of a shared key it is what the keys that follow it have: one value, or a list of all where
    they differ, as `experiment=tutorial` has [0.78, 0.78, 0.82, 0.82, 0.8] for model.bn_momentum.
    """
    followers = [get(config, name) for name, shared in FOLLOWS.items() if shared == key]
    values = [number for value in followers for number in (value if isinstance(value, list) else [value])]
    if not values:
        return get(config, key)
    return values[0] if len(set(values)) == 1 else values


def in_brief(value: Any) -> Any:
    """Return a value for a table: of a list the different ones, as 0.78/0.82/0.8."""
    if not isinstance(value, list):
        return value
    distinct = list(dict.fromkeys(value))
    return distinct[0] if len(distinct) == 1 else "/".join(f"{number:.6g}" for number in distinct)


def flatten(config: Config) -> dict[str, Any]:
    """Return all keys, dotted, with their values."""
    return {key: get(config, key) for key in describe(Config)}


# What a resumed run may change: nothing that its weights or scores depend on. Where the
# images and the extractor's weights lie is free, as pixels and weights are compared.
RESUME_MAY_CHANGE = (
    "train.steps",
    "train.steps_per_call",
    "train.threads",  # moves results by rounding alone
    "train.devices",  # likewise
    "train.jit_compile",  # likewise
    "train.deterministic",  # likewise
    "train.log_every_steps",
    "train.grid_every_steps",
    "train.checkpoint_every_steps",
    "train.keep_checkpoints",
    "eval.every_steps",
    "data.source",
    "data.path",
    "eval.extractor_weights",
    "tracking.system_metrics",
)
# What the result of a run does not depend on, and the seed.
FREE_KEYS = frozenset(RESUME_MAY_CHANGE) - {"train.steps"} | {"seed"}
