"""Several trackers are told what one is told."""

from collections.abc import Mapping

import numpy as np

from gan.tracker import Trackers


class Listener:
    """Keeps what it is told in a list that may be shared."""

    def __init__(self, name: str, told: list[tuple[object, ...]]) -> None:
        self.name, self.told = name, told

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self.told.append((self.name, step, dict(values)))

    def image(self, step: int, key: str, pixels: np.ndarray) -> None:
        self.told.append((self.name, step, key, pixels.shape))

    def tick(self, step: int) -> None:
        self.told.append((self.name, step))


def test_each_is_told_everything_in_order() -> None:
    told: list[tuple[object, ...]] = []
    trackers = Trackers([Listener("a", told), Listener("b", told)])
    trackers.scalars(1, {"train/d_loss": 0.5})
    trackers.image(2, "samples", np.zeros((4, 4, 3), np.uint8))
    trackers.tick(3)
    events = [(1, {"train/d_loss": 0.5}), (2, "samples", (4, 4, 3)), (3,)]
    assert told == [(name, *event) for event in events for name in ("a", "b")]
