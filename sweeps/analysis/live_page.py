"""The page of a search while it runs: report.html, from the first score to the last seed of the confirmation."""

import datetime
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from experiments.reports.page import render
from experiments.reports.slider import as_jpeg
from gan.arrays import write_atomically
from gan.errors import first_line
from sweeps.analysis import trial_rows
from sweeps.analysis.comparison import Candidate, most_trainings
from sweeps.analysis.importances import length
from sweeps.analysis.race_chart import race_chart
from sweeps.analysis.space_charts import space_charts
from sweeps.analysis.trial_charts import trial_charts
from sweeps.display.time_left import time_left
from sweeps.spec.plan import Plan
from sweeps.study import attempts, rungs
from sweeps.study.identity import images_of

TEMPLATE = Path(__file__).with_name("live.html")
LEAST_SECONDS = 5.0  # between two versions of the page; more where it takes long to make one
MOST_OF_TIME = 0.01  # that making it may take
FREE_SECONDS = 5.0  # that it may take besides: the first minutes change most
RELOAD_SECONDS = 10


class LivePage:
    """Writes the page of a search that runs, now and then.

    Args:
        plan: of the search.
        study: with its trials.
        command: that resumes the search.
        say: called with a sentence where the page cannot be drawn.
    """

    def __init__(self, plan: Plan, study: Study, command: str, say: Callable[[str], None] = print) -> None:
        self._plan, self._study, self._command, self._say = plan, study, command, say
        self._failed = False  # it was said that the page cannot be drawn
        self.file = plan.folder.path / "report.html"
        self._next = 0.0  # when it may be written again
        self._free = FREE_SECONDS

    @cached_property
    def _images(self) -> str:
        """The images of the study, in words: asked once, as the database has them."""
        return images_of(self._study)

    def update(self, seconds_left: float, candidates: Sequence[Candidate] = ()) -> None:
        """Write the page, unless that was done a moment ago.

        Args:
            seconds_left: of the whole search, infinite while that is not known.
            candidates: of the confirmation, once that has begun.
        """
        if time.monotonic() >= self._next:
            begin = time.monotonic()
            self.write(time_left(seconds_left, at_most=bool(candidates)), candidates)
            seconds = time.monotonic() - begin
            self._free -= seconds
            rest = LEAST_SECONDS if self._free > 0 else max(LEAST_SECONDS, seconds / MOST_OF_TIME)
            self._next = time.monotonic() + rest

    def write(self, left: str, candidates: Sequence[Candidate] = (), is_over: bool = False) -> None:
        """Write the page now; it appears complete or not at all.

        Args:
            left: the time left in words.
            candidates: of the confirmation, once that has begun.
            is_over: whether this session of the search has ended, so that the page need not reload itself.
        """
        every = self._study.get_trials(deepcopy=False)
        try:
            page = self._draw(every, left, candidates, is_over)
        except Exception as error:  # a mistake of ours in a chart must not end hours of training
            if not self._failed:
                self._say(
                    f"page     cannot be drawn, and the search goes on: {type(error).__name__}: {first_line(error)}"
                )
            self._failed = True
        else:
            write_atomically(self.file, page.encode())

    def _draw(self, every: Sequence[FrozenTrial], left: str, candidates: Sequence[Candidate], is_over: bool) -> str:
        plan = self._plan
        trials = [trial for trial in attempts.counted(every) if attempts.ORIGIN in trial.user_attrs]
        finished = [trial for trial in trials if trial.state.is_finished()]
        best = next(iter(attempts.finished(every)), None)
        spent: float = len(finished)
        budget: float = plan.budget
        unit = "trials"
        if plan.search.updates is not None:
            spent, budget, unit = rungs.updates_spent(plan, every), plan.search.updates, "updates"
        elif plan.search.hours is not None and plan.is_limited_by_hours_alone:
            hours = self._study.user_attrs.get(attempts.SECONDS, 0.0) / 3600
            spent, budget, unit = round(hours, 1), plan.search.hours, "hours"
        if candidates:
            spent = sum(len(each.scores) + len(each.failures) for each in candidates)
            budget, unit = most_trainings(candidates, plan.search.confirm.seeds), "trainings at most"
        parallel, slice_charts = space_charts(plan, every)
        return render(
            TEMPLATE,
            study=plan.search.study,
            reload=None if is_over else RELOAD_SECONDS,
            command=self._command,
            images=self._images,
            written=datetime.datetime.now().astimezone(),
            spent=spent,
            budget=budget,
            unit=unit,
            left=left,
            best=trial_rows.row(plan, best) if best is not None else None,
            baseline=plan.baseline_name,
            candidates=candidates,
            seeds=plan.search.confirm.seeds,
            race=race_chart(candidates) if candidates else None,
            rungs=trial_rows.rung_rows(plan, every),
            charts=trial_charts(plan, every) if any(trial.intermediate_values for trial in every) else [],
            parallel=parallel,
            slice_charts=slice_charts,
            steps=length(plan, every),
            pictures=[_sample_image(plan, trial) for trial in trials if trial.state == TrialState.RUNNING],
            keys=[dimension.key for dimension in plan.space],
            rows=[trial_rows.row(plan, trial) for trial in sorted(trials, key=trial_rows.by_score)],
        )


def _sample_image(plan: Plan, trial: FrozenTrial) -> tuple[int, str, str]:
    """Return a running trial's number, what it is called, and its newest samples as the source of an <img>."""
    samples = attempts.run_of(plan, trial).sample_files
    newest = max(samples, default=None)
    words = f"trial {attempts.origin(trial)}" + (f", step {newest:,}" if newest is not None else "")
    return attempts.origin(trial), words, as_jpeg(samples[newest]) if newest is not None else ""
