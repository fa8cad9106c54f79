"""What a run takes of this machine: the processor and the memory of its process."""

from collections.abc import Mapping

import psutil

from experiments.hardware.gpus import MEGABYTE
from gan import metric_names
from gan.tracker import NullTracker, Tracker

CPU = "system/process_cpu_percentage"  # 100 for each core that is busy all the time
MEMORY = "system/process_memory_megabytes"  # resident


class ProcessMetrics(NullTracker):
    """A `gan.tracker.Tracker` that records the processor's load and the memory of this process beside its losses.

    They go to the journal as all metrics do, so that a resumed run has each step once.
    """

    def __init__(self, records: Tracker) -> None:
        """
        Args:
            records: where they are recorded.
        """
        self._records, self._process = records, psutil.Process()
        self._process.cpu_percent()  # the next call gives the load since this one

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        if metric_names.D_LOSS in values:
            with self._process.oneshot():
                memory = self._process.memory_info().rss / MEGABYTE
                self._records.scalars(step, {CPU: self._process.cpu_percent(), MEMORY: memory})
