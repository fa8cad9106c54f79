"""How every program begins and ends: its exit code, its errors in one line, signals and broken pipes."""

import contextlib
import sys
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from experiments.cli.environment import check_checkout, check_working_directory, prepare
from experiments.cli.signals import leave_at_once_on_interrupt
from experiments.cli.terminal import (
    discard_broken_output,
    open_closed_streams,
    outlive_terminal,
    tolerate_any_text,
)
from gan.errors import ConfigError, explained, in_one_line

FINISHED, FAILED, USAGE_ERROR = 0, 1, 2  # exit codes; a signal's is `stopped_by`
INTERRUPTED = 130

Failures = Mapping[type[Exception], Callable[[Any], str]]


def run(
    main: Callable[[list[str]], int], *, mistakes: tuple[type[Exception], ...] = (), failures: Failures | None = None
) -> NoReturn:
    """Call a program's main with the command line, and end the process with its exit code.

    Where nobody reads the standard output any more, as after `| head`, the program ends quietly.

    Args:
        main: takes the arguments and returns an exit code.
        mistakes: exceptions of the user's making, beside ConfigError: one line, exit code 2.
        failures: exceptions that end the program half-way, beside OSError, each with the function that says in one
            line what is wrong: exit code 1.

    Raises:
        SystemExit: always.
    """
    open_closed_streams()
    outlive_terminal()
    tolerate_any_text()
    try:
        code = _code_of(main, (ConfigError, *mistakes), failures or {})
        sys.stdout.flush()  # here, as Python itself would end with a trace
    except BrokenPipeError as error:
        code = FINISHED if discard_broken_output() else _say(explained(error), FAILED)
    except OSError as error:  # a full or read-only disk, a file of somebody else's
        code = _say(explained(error), FAILED)
    sys.exit(code)


def stopped_by(number: int) -> int:
    """Return the exit code of a program that a signal stopped: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP."""
    return 128 + number


def _code_of(main: Callable[[list[str]], int], mistakes: tuple[type[Exception], ...], failures: Failures) -> int:
    try:
        check_working_directory()
        check_checkout()
        prepare()
        leave_at_once_on_interrupt()
        return main(sys.argv[1:])
    except SystemExit as end:  # of argparse's or Hydra's, as after --help
        if not isinstance(end.code, int):
            raise
        return end.code
    except mistakes as error:
        return _say(str(error), USAGE_ERROR)
    except tuple(failures) as error:
        return _say(next(words for kind, words in failures.items() if isinstance(error, kind))(error), FAILED)
    except KeyboardInterrupt:
        return INTERRUPTED


def _say(problem: str, code: int) -> int:
    """Print a problem in one line and return the exit code."""
    with contextlib.suppress(BrokenPipeError):  # as after `2>&1 | head`
        print("error: " + in_one_line(problem), file=sys.stderr)
    return code
