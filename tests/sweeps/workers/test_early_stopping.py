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


@pytest.mark.parametrize("stop", [550, 700, 749])
def test_an_interruption_changes_nothing(stop: int) -> None:
    """The attempt before recorded all up to `stop`; this one repeats what came after its checkpoint of step 500."""
    before = [step for step in range(50, 10_000, 50) if step <= stop]
    resumed = EarlyStopping()
    resumed.replay({key: (before, [value] * len(before)) for key, value in SATURATED.items()})
    ends = [step for step in range(550, 10_000, 50) if resumed.look(step, SATURATED)]
    assert ends[0] == ends_at(50, 50) == 750


def test_a_collapsed_score_before_an_interruption_counts_once() -> None:
    resumed = EarlyStopping()
    resumed.replay({"eval/coverage": ([FIRST_STEP], [0.001])})
    assert resumed.look(FIRST_STEP, {"eval/coverage": 0.001}) == ""  # the same one, repeated
    assert resumed.look(FIRST_STEP + 1, {"eval/coverage": 0.001}) == "collapsed variety"


@pytest.mark.parametrize(("gap", "ends"), [(0.97, False), (0.985, True)])
def test_how_sure_a_saturated_discriminator_is(gap: float, ends: bool) -> None:
    early_stopping = EarlyStopping()
    scalars = {"train/d_real": 0.5 + gap / 2, "train/d_fake": 0.5 - gap / 2}
    assert any(early_stopping.look(step, scalars) for step in range(0, 3000, 50)) == ends


@pytest.mark.parametrize(("coverage", "ends"), [(0.0051, False), (0.0049, True)])
def test_how_little_variety_is_a_collapse(coverage: float, ends: bool) -> None:
    early_stopping = EarlyStopping()
    looks = [early_stopping.look(step, {"eval/coverage": coverage}) for step in (600, 700, 800)]
    assert any(looks) == ends


def test_two_collapsed_scores_end_a_trial() -> None:
    early_stopping = EarlyStopping()
    looks = [early_stopping.look(FIRST_STEP, {"eval/coverage": 0.001}) for _ in range(COLLAPSED_SCORES)]
    assert looks == [""] * (COLLAPSED_SCORES - 1) + ["collapsed variety"]
    assert early_stopping.look(FIRST_STEP, {"eval/coverage": 0.03}) == ""
