"""A thread that brings a run's journal to MLflow while the run trains."""

import logging
import threading
import traceback

from experiments.records.folders import RunFolder
from experiments.tracking.address import public
from experiments.tracking.delivery import Delivery
from experiments.tracking.sync import reason

_log = logging.getLogger(__name__)

INTERVAL = 1.0  # seconds between two looks at the journal


class Feeder:
    """Keeps MLflow up to date from a background thread while a run trains."""

    def __init__(self, folder: RunFolder) -> None:
        self.delivery = Delivery(folder)
        self.problem: str | None = None  # why MLflow is behind, if it is
        self._records = folder.records
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mlflow-feeder", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def finish(self, timeout: float) -> bool:
        """Deliver what is left, and return whether MLflow has everything within `timeout` seconds."""
        self._done.set()
        self._thread.join(timeout)
        if self._thread.is_alive() and self.problem is None:
            self.problem = f"MLflow took more than {timeout:g} s"
        return self.problem is None

    def _run(self) -> None:
        while True:
            last = self._done.is_set()  # looked at first, so that the last delivery misses nothing
            try:
                refused = self.delivery.deliver(again=last)
                self.problem = refused[0] if refused else None
            except Exception as error:  # whatever MLflow, its database or the network raise: training continues
                if self.problem is None:
                    _log.warning("MLflow is behind, will try again\n%s", public(traceback.format_exc()))
                self.problem = reason(error, self._records)
            if last:
                return
            self._done.wait(INTERVAL)
