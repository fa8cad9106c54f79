"""The loop around the update: when to log, draw, score and save.

Everything it does between two updates depends on the step alone, so a run resumed from
a checkpoint does what it would have done.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from gan import metric_names, randomness
from gan.averaging import recalibrated
from gan.checkpoint import Checkpoint, Checkpoints
from gan.evaluation.scorer import Scorer
from gan.images import grid, unscale
from gan.tracker import Tracker
from gan.update import ALIVE, VALUES, Update, variables_by_name

DEAD_UPDATES = 50  # in a row without any gradient, after which none can come any more
CALL_SECONDS = 1.0  # that a call of several updates should take at most: how long a signal waits
GRID = (4, 4)  # rows and columns of the sample grid, as in the tutorial


class Diverged(Exception):
    """Training that cannot recover; says where, why, and what to go back to.

    Args:
        step: the update at which it was noticed; kept as `step`.
        reason: what happened, in words.
        last_checkpoint: step of the last checkpoint, whose state is finite; None where there is none.
    """

    def __init__(self, step: int, reason: str, last_checkpoint: int | None) -> None:
        self.step, self.reason, self.last_checkpoint = step, reason, last_checkpoint
        last = f"step {last_checkpoint}" if last_checkpoint is not None else "none"
        super().__init__(f"{reason} at step {step}; last finite checkpoint: {last}")

    def __reduce__(self) -> tuple[Any, ...]:  # or it could not come back from another process
        return type(self), (self.step, self.reason, self.last_checkpoint)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What happens at which steps; all in updates but the last three."""

    steps: int
    steps_per_call: int = 10  # at most, from one look at signals to the next; fewer where they take long
    log_every_steps: int = 50
    grid_every_steps: int = 250
    score_every_steps: int = 500
    checkpoint_every_steps: int = 500
    keep_checkpoints: int = 3
    num_images: int = 2000  # of an in-run score
    final_num_images: int = 5000  # of `final_scores`; 0 for none


class Trainer:
    """Trains until the schedule ends or it is asked to stop.

    `restore` loads a checkpoint; without it a run starts at step 0.

    Args:
        update: changes the networks, and holds all of their state.
        scorer: scores the eval generator. Its extractor's id is written into checkpoints.
        checkpoints: where state is kept.
        tracker: told of every event.
        schedule: what happens at which steps.
        recalibrate: whether images are drawn with `recalibrated` statistics.
    """

    def __init__(
        self,
        update: Update,
        scorer: Scorer,
        checkpoints: Checkpoints,
        tracker: Tracker,
        schedule: Schedule,
        *,
        recalibrate: bool = False,
    ) -> None:
        self.update, self.scorer, self.checkpoints, self.tracker = update, scorer, checkpoints, tracker
        self.schedule, self.recalibrate = schedule, recalibrate
        self.step = 0
        self.best_score = math.inf
        self._window: list[np.ndarray] = []  # values of the updates since the last log, (5,) each
        self._dead = 0  # updates in a row without a gradient
        self._seconds = 0.0  # spent in them by this process
        self._timed = 0  # how many of them
        self._seconds_per_update = math.inf  # in the last call
        self._saved_step: int | None = None
        self._recalibrated: tuple[int, keras.Model] | None = None  # the step, and the recalibrated model
        self._final_features = np.empty((0, 0), np.float32)
        self._latents = randomness.latents(0, "grid", GRID[0] * GRID[1], update.generator.input_shape[-1])

    def restore(self, checkpoint: Checkpoint) -> None:
        """Restore a checkpoint. Raises ValueError, and changes nothing, for one of other networks or another extractor."""
        if (scored_in := checkpoint.meta["fid_proxy_id"]) != self.scorer.extractor.id:
            raise ValueError(
                f"its best score is in {scored_in}, which {self.scorer.extractor.id} cannot be compared with"
            )
        arrays = dict(checkpoint.arrays)
        window = list(arrays.pop("window"))
        self.update.restore(arrays)
        self._window = window
        self.step = self._saved_step = checkpoint.step
        self._dead = checkpoint.meta["dead_updates"]
        best = checkpoint.meta["best_score"]
        # The state that a run has on another host may come without its best checkpoint: then the best since is kept.
        self.best_score = best if best is not None and self.checkpoints.best_file.exists() else math.inf

    def run(self, should_stop: Callable[[], bool] = lambda: False) -> bool:
        """Train to the end; True if it was reached, False if `should_stop` said so before.

        Raises Diverged when a loss is not finite or no gradient flows any more, and ValueError where a training that
        begins would remove the checkpoints of another.
        """
        if self._saved_step is None and self.checkpoints.all_files():
            raise ValueError(
                f"{self.checkpoints.folder} has checkpoints of another training: restore one, or use another folder"
            )
        if self.step == 0:
            self._draw_grid()
        while self.step < self.schedule.steps:
            if self.step and should_stop():  # a resumed run may be where it is to stop
                if self._saved_step != self.step:
                    self.save()
                return False
            self._update()
            self._after_update()
        return True

    def final_scores(self) -> dict[str, float]:
        """Score the trained generator, by the names in `gan.metric_names`.

        Raises Diverged for a score that is no number.
        """
        scores = self._scores("final", self.schedule.final_num_images)
        self.tracker.scalars(self.step, scores)
        return scores

    def eval_generator(self) -> keras.Model:
        """Return the generator that is scored, drawn and saved."""
        if not self.recalibrate:
            return self.update.eval_generator
        step, copy = self._recalibrated or (None, None)
        if copy is None or step != self.step:
            copy = recalibrated(self.update.eval_generator, copy)
            self._recalibrated = self.step, copy
        return copy

    def _update(self) -> None:
        """Run as many updates in one call as possible, never past a step at which something is due."""
        in_time = max(1, int(CALL_SECONDS / self._seconds_per_update))
        count = min(self._steps_to_go(), self.schedule.steps_per_call, in_time)
        start = time.perf_counter()
        rows = self.update.run(self.step + 1, count).numpy()
        seconds = time.perf_counter() - start
        self._seconds_per_update = seconds / count
        self._seconds += seconds
        self._timed += count
        self.step += count
        self._window.extend(rows)
        for alive in rows[:, VALUES.index(ALIVE)]:
            self._dead = 0 if alive > 0 else self._dead + 1
        self.tracker.tick(self.step)

    def _steps_to_go(self) -> int:
        ends = [interval - self.step % interval for interval in self._intervals().values()]
        return min(*ends, self.schedule.steps - self.step)

    def _after_update(self) -> None:
        """Do what is due. Saving comes last: a checkpoint says that all before it was done."""
        last = self.step == self.schedule.steps
        due = {name: last or self.step % interval == 0 for name, interval in self._intervals().items()}
        if due["log"]:
            self._log()
        if due["grid"]:
            self._draw_grid()
        if due["score"]:
            self._score()
        if due["checkpoint"]:
            self.save()

    def _intervals(self) -> dict[str, int]:
        s = self.schedule
        return {
            "log": s.log_every_steps,
            "grid": s.grid_every_steps,
            "score": s.score_every_steps,
            "checkpoint": s.checkpoint_every_steps,
        }

    def _log(self) -> None:
        self._check_health()
        means = self._rows().mean(axis=0, dtype=np.float64)
        values = {name: float(mean) for name, mean in zip(VALUES, means, strict=True) if name != ALIVE}
        if (adaptive := self.update.adaptive) is not None:
            values[metric_names.AUGMENT_PROBABILITY] = float(adaptive.probability.numpy())
        self.tracker.scalars(self.step, {**values, metric_names.STEPS_PER_SECOND: self._timed / self._seconds})
        if self.step % self.schedule.log_every_steps == 0:  # at the end the last window may be part of one
            self._window, self._seconds, self._timed = [], 0.0, 0

    def _check_health(self) -> None:
        first = self.step - len(self._window) + 1
        bad = ~np.isfinite(self._rows())
        if bad.any():
            row = int(bad.any(axis=1).argmax())
            name = VALUES[int(bad[row].argmax())]
            raise Diverged(first + row, f"{name} is {self._window[row][bad[row]][0]}", self._saved_step)
        if self._dead >= DEAD_UPDATES:
            reason = f"no gradient in {self._dead} updates (every logit of the discriminator is beyond the loss's clip)"
            raise Diverged(self.step, reason, self._saved_step)

    def _check_finite(self, arrays: Mapping[str, np.ndarray]) -> None:
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                raise Diverged(self.step, f"{name} is not finite", self._saved_step)

    def _rows(self) -> np.ndarray:
        """Return the window as (updates, 5) float32; it may be empty."""
        return np.array(self._window, np.float32).reshape(-1, len(VALUES))

    def _draw_grid(self) -> None:
        images = unscale(self.eval_generator().predict_on_batch(self._latents))
        self.tracker.image(self.step, metric_names.SAMPLES, grid(images, *GRID))

    def _score(self) -> None:
        self._check_health()
        scores = self._scores("eval", self.schedule.num_images)
        self.tracker.scalars(self.step, scores)
        if scores[metric_names.FID_PROXY] < self.best_score:
            self.best_score = scores[metric_names.FID_PROXY]
            self.checkpoints.save_best(self._checkpoint())

    def _scores(self, when: str, num_images: int) -> dict[str, float]:
        """Return scores by the names in `gan.metric_names`; a generator that is not finite would draw images, too."""
        self._check_finite({n: v.numpy() for n, v in variables_by_name("generator", self.eval_generator()).items()})
        scores = metric_names.with_prefix(when, self.scorer.of_features(self._features(num_images)))
        for name, value in scores.items():
            if not math.isfinite(value):
                raise Diverged(self.step, f"{name} is {value}", self._saved_step)
        return scores

    def _features(self, num_images: int) -> np.ndarray:
        """Return the features of so many images; at the end the last score and the final one share them."""
        if self.step < self.schedule.steps:
            return self.scorer.features(self.eval_generator(), num_images)
        if len(self._final_features) < num_images:
            most = max(self.schedule.num_images, self.schedule.final_num_images)
            self._final_features = self.scorer.features(self.eval_generator(), most)
        return self._final_features[:num_images]

    def save(self) -> None:
        """Write a checkpoint of the present state."""
        self._check_health()
        self.checkpoints.save(self._checkpoint(), self.schedule.keep_checkpoints)
        self._saved_step = self.step

    def _checkpoint(self) -> Checkpoint:
        arrays = self.update.state()
        self._check_finite(arrays)
        best = None if math.isinf(self.best_score) else self.best_score
        return Checkpoint(
            self.step,
            {**arrays, "window": self._rows()},
            {"best_score": best, "dead_updates": self._dead, "fid_proxy_id": self.scorer.extractor.id},
        )
