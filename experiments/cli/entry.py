"""How every program begins and ends."""

import sys
from collections.abc import Callable
from typing import NoReturn

from experiments.cli.environment import check_working_directory, prepare
from experiments.cli.signals import leave_at_once_on_interrupt
from experiments.cli.terminal import tolerate_any_text
from gan.errors import ConfigError, explained

FAILED, USAGE_ERROR, INTERRUPTED = 1, 2, 130  # exit codes


def run(main: Callable[[list[str]], int], *mistakes: type[Exception]) -> NoReturn:
    """Call main with the command line and end with its exit code.

    A mistake of the user's, a ConfigError or what `mistakes` names, is one line and exit code 2;
    so is, with exit code 1, what the system refuses half-way.
    """
    tolerate_any_text()
    known: tuple[type[Exception], ...] = (ConfigError, *mistakes)
    try:
        check_working_directory()
        prepare()
        leave_at_once_on_interrupt()
        sys.exit(main(sys.argv[1:]))
    except known as error:
        print("error: " + " ".join(str(error).split()), file=sys.stderr)
        sys.exit(USAGE_ERROR)
    except OSError as error:  # a full or read-only disk, a file of somebody else's
        print(f"error: {explained(error)}", file=sys.stderr)
        sys.exit(FAILED)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
