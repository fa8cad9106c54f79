"""A thread that brings a run's journal to MLflow while the run trains."""

import logging
import threading
import traceback
from typing import Any

from experiments.records.folders import RunFolder
from experiments.tracking.address import public, tracking_uri
from experiments.tracking.delivery import Delivery
from experiments.tracking.sync import reason

_log = logging.getLogger(__name__)

INTERVAL = 1.0  # seconds between two looks at the journal


class Feeder:
    """Keeps MLflow up to date from a background thread while a run trains."""

    def __init__(self, folder: RunFolder) -> None:
        self.delivery = Delivery(folder)
        self.problem: str | None = None  # why MLflow is behind, if it is
        self._records, self._uri = folder.records, tracking_uri(folder.records)
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
        monitor = None
        while True:
            last = self._done.is_set()  # looked at first, so that the last delivery misses nothing
            if last and monitor is not None:
                monitor.finish()
            try:
                refused = self.delivery.deliver(again=last)
                self.problem = refused[0] if refused else None
                if (
                    not last
                    and self.delivery.run_id is not None
                    and (monitor is None or not monitor._process.is_alive())
                ):
                    monitor = _system_monitor(self.delivery.run_id, self._uri)  # an outage ends MLflow's own thread
            except Exception as error:  # whatever MLflow, its database or the network raise: training continues
                if self.problem is None:
                    _log.warning("MLflow is behind, will try again\n%s", public(traceback.format_exc()))
                self.problem = reason(error, self._records)
            if last:
                return
            self._done.wait(INTERVAL)


def _system_monitor(run_id: str, uri: str) -> Any:
    """Start MLflow's sampler of CPU, memory, disk and network, one point every 10 s."""
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    monitor = SystemMetricsMonitor(run_id, resume_logging=True, tracking_uri=uri)
    monitor.start()
    return monitor
