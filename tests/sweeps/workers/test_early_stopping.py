"""Signs that a training is hopeless."""

import pytest

from sweeps.workers.early_stopping import COLLAPSED_SCORES, FIRST_STEP, EarlyStopping

SATURATED = {"train/d_real": 0.995, "train/d_fake": 0.005}
SOUND = {"train/d_real": 0.6, "train/d_fake": 0.4}


def ends_at(every: int, first: int, sound: tuple[int, ...] = ()) -> int:
    """Return the step at which a trial ends that is saturated but for a few points, logged every so many updates."""
    early_stopping = EarlyStopping()
    for step in range(first, 10_000, every):
        if early_stopping.look(step, SOUND if step in sound else SATURATED):
            return step
    return 0


@pytest.mark.parametrize(
    ("every", "first", "sound", "end"),
    [
        (50, 50, (), 750),  # what was before FIRST_STEP does not count
        (10, 10, (), 790),  # however often it is logged
        (100, 100, (), 700),
        (1000, 1000, (1000,), 2000),  # a point is the mean of a thousand updates
        (50, 50, (700, 950), 1250),  # in a row
        (50, 3050, (), 3350),  # a trial that is resumed
    ],
)
def test_three_hundred_saturated_updates_end_a_trial(every: int, first: int, sound: tuple[int, ...], end: int) -> None:
    assert ends_at(every, first, sound) == end


def test_two_collapsed_scores_end_a_trial() -> None:
    early_stopping = EarlyStopping()
    looks = [early_stopping.look(FIRST_STEP, {"eval/coverage": 0.001}) for _ in range(COLLAPSED_SCORES)]
    assert looks == [""] * (COLLAPSED_SCORES - 1) + ["collapsed variety"]
    assert early_stopping.look(FIRST_STEP, {"eval/coverage": 0.03}) == ""
