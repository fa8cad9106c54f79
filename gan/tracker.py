"""The interface through which a training reports its events."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np


class Tracker(Protocol):
    """Something that is told of a training's events.

    It must not wait for anything but the disk. An OSError, where its records cannot be written, ends the training.
    """

    def scalars(self, step: int, values: Mapping[str, float]) -> None: ...

    def image(self, step: int, key: str, pixels: np.ndarray) -> None:
        """Take an image.

        Args:
            step: number of updates so far.
            key: name of the image, such as `samples`.
            pixels: (H, W, 3) uint8.
        """

    def tick(self, step: int) -> None:
        """Take note of progress: called between updates, after every few of them."""


class NullTracker:
    """Listens to nothing."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        pass

    def image(self, step: int, key: str, pixels: np.ndarray) -> None:
        pass

    def tick(self, step: int) -> None:
        pass


class Trackers:
    """Tells several trackers, in order."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._trackers = trackers

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        for tracker in self._trackers:
            tracker.scalars(step, values)

    def image(self, step: int, key: str, pixels: np.ndarray) -> None:
        for tracker in self._trackers:
            tracker.image(step, key, pixels)

    def tick(self, step: int) -> None:
        for tracker in self._trackers:
            tracker.tick(step)
