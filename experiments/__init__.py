"""Programs around the library: train, record, resume."""

import signal
from pathlib import Path

from experiments.cli.signals import leave_at_once_on_interrupt

ROOT = Path(__file__).resolve().parents[1]  # of the checkout

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # while a program imports libraries, for seconds
    leave_at_once_on_interrupt()
