"""Early stopping: signs that a training is hopeless, whatever other trials do."""

from collections.abc import Mapping

from experiments.records.journal import Curves
from gan import metric_names

# In a sound training D gives real images some 0.6 and fake ones 0.4 on average. In a lost one
# it tells every real image from every fake one, and G learns nothing.
FIRST_STEP = 500  # before it nothing is known of a training
SATURATED_GAP = 0.98
SATURATED_UPDATES = 300  # in a row; a point of the loss curves is the mean of the updates since the one before
# Of 5,000 real images, those with a generated one near: 0.03 at the least in sound
# trainings after 500 updates, below 0.005 where all latents give one image.
COLLAPSED_COVERAGE = 0.005
COVERAGE = f"eval/{metric_names.COVERAGE}"
COLLAPSED_SCORES = 2  # in a row; all trials of a study are scored at the same steps


class EarlyStopping:
    """Watches one trial's curves."""

    def __init__(self) -> None:
        self._last_sound: int | None = None  # step at which D was not saturated
        self._collapsed = 0
        self._replayed = 0  # the last step of the attempts before

    def replay(self, curves: Curves) -> None:
        """Look at what the attempts before this one recorded, so that an interruption changes nothing.

        Args:
            curves: of the trial's run; they may be longer than its checkpoint, from which it repeats itself.
        """
        by_step: dict[int, dict[str, float]] = {}
        for key in (metric_names.D_REAL, metric_names.D_FAKE, COVERAGE):
            for step, value in zip(*curves.get(key, ([], [])), strict=True):
                by_step.setdefault(step, {})[key] = value
        for step, scalars in sorted(by_step.items()):
            self.look(step, scalars)
        self._replayed = max(by_step, default=0)

    def look(self, step: int, scalars: Mapping[str, float]) -> str:
        """Return why the trial should end; empty if it should not."""
        if step <= self._replayed:
            return ""
        if step < FIRST_STEP or self._last_sound is None:
            self._last_sound = step
        if step < FIRST_STEP:
            return ""
        if metric_names.D_REAL in scalars:
            gap = scalars[metric_names.D_REAL] - scalars[metric_names.D_FAKE]
            self._last_sound = self._last_sound if gap > SATURATED_GAP else step
            if step - self._last_sound >= SATURATED_UPDATES:
                return "saturated discriminator"
        coverage = scalars.get(COVERAGE)
        if coverage is not None:
            self._collapsed = self._collapsed + 1 if coverage < COLLAPSED_COVERAGE else 0
        if self._collapsed >= COLLAPSED_SCORES:
            return "collapsed variety"
        return ""
