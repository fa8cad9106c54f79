"""What sweeps/reproduce.py can be told, and what it tells the programs that it runs."""

from dataclasses import dataclass, field

from experiments.cli.overrides import as_text
from experiments.settings.rules import COUNT, POSITIVE, Choice, NotEmpty, setting
from experiments.settings.schema import Cifar10Place, RecordsConfig

PRESETS = ("tutorial", "tuned_four", "tuned")
# Of all trainings: 1.4 times as fast, scores within the standard deviation over seeds.
PRECISION = "train.precision=mixed_bfloat16"


@dataclass
class Images(Cifar10Place):
    """CIFAR-10, or the drawings that come with the program."""

    source: str = setting("cifar10", "where images come from", Choice(("cifar10", "embedded")))


@dataclass
class Reproduction:
    out: str | None = setting(
        None,
        "folder of results.md, results/ and images/; by default one in the records, out=docs continues ours",
        NotEmpty(),
    )
    presets: list[str] = setting(list(PRESETS), "of conf/experiment/, those to train")
    quick: bool = setting(False, "a few updates of everything, to see that it works")
    searches: bool = setting(True, "make the searches, too")
    workers: int | None = setting(None, "trainings at a time, which share the cores; by default one a core", COUNT)
    hours: float | None = setting(None, "after which no more searches and trainings are begun", POSITIVE)
    dry_run: bool = setting(False, "say what is left to do and how long it would take; train nothing")
    data: Images = field(default_factory=Images)
    records: RecordsConfig = field(default_factory=RecordsConfig)


def data_arguments(args: Reproduction) -> list[str]:
    """Return where images come from and where records are, as arguments of the other programs."""
    return [f"data={args.data.source}", *place_arguments(args)]


def place_arguments(args: Reproduction) -> list[str]:
    """Return where images and records are, as arguments of the other programs."""
    places = {"data.path": args.data.path, "records.root": args.records.root}
    return [as_text(f"{key}={place}") for key, place in places.items() if place is not None]
