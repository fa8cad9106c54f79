"""All runs: list them, remove some, free disk, and check that the records are whole.

    python experiments/runs.py                                # runs and searches, the newest first
    python experiments/runs.py study=ships state=paused sort=score
    python experiments/runs.py rm first 'quick-lr*'           # folder, MLflow's run and its files; asks first
    python experiments/runs.py rm study=ships                 # a whole search
    python experiments/runs.py tidy dry_run=true              # what disk could be freed: checkpoints that nothing needs
    python experiments/runs.py repair                         # after a move, or a removal that was interrupted

The first word says what is done: list (the default), rm, tidy or repair. Each has its own --help. A search is one line of the
list, the winner's score in it, the mean over its seeds; study=<name> lists its trials.
"""

from collections.abc import Callable

from experiments.cli import entry
from experiments.cli.arguments import with_arguments
from experiments.housekeeping.listing import Listing, list_runs
from experiments.housekeeping.removing import Removal, remove
from experiments.housekeeping.repairing import Repair, repair
from experiments.housekeeping.tidying import Tidying, tidy
from gan.errors import check_name

COMMANDS: dict[str, tuple[type, Callable[..., int]]] = {
    "list": (Listing, list_runs),
    "rm": (Removal, remove),
    "tidy": (Tidying, tidy),
    "repair": (Repair, repair),
}


def parse(arguments: list[str]) -> tuple[type, Callable[..., int], list[str]]:
    """Return the settings of a command, what does it, and its arguments. Raises ConfigError."""
    word = arguments[0] if arguments and "=" not in arguments[0] and not arguments[0].startswith("-") else None
    if word is not None:
        check_name("the command", word, COMMANDS)
    settings, command = COMMANDS[word or "list"]
    return settings, command, arguments[word is not None :]


def main(arguments: list[str]) -> int:
    settings, command, rest = parse(arguments)
    return with_arguments(settings, command, __doc__)(rest)


if __name__ == "__main__":
    entry.run(main)
