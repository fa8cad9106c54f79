"""The page of a search while it runs: report.html, from the first score to the last seed of the confirmation."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from experiments.reports.page import render
from gan import metric_names
from gan.arrays import write_atomically
from sweeps.analysis import trial_rows
from sweeps.analysis.comparison import Candidate
from sweeps.display.time_left import time_left
from sweeps.spec.plan import Plan
from sweeps.study import attempts, rungs

TEMPLATE = Path(__file__).with_name("live.html")
LEAST_SECONDS = 5.0  # between two versions of the page; more where it takes long to make one
MOST_OF_TIME = 0.01  # that making it may take
RELOAD_SECONDS = 10
WIDTH, HEIGHT, MARGIN = 720, 300, 44  # of the curves, in pixels


@dataclass(frozen=True)
class Curve:
    """The scores of one trial as a line of an SVG."""

    title: str
    points: str
    kind: str  # a class of the page's style: best, baseline, running or other


class LivePage:
    """Writes the page of a search that runs, now and then.

    Args:
        plan: of the search.
        study: with its trials.
        command: that resumes the search.
    """

    def __init__(self, plan: Plan, study: Study, command: str) -> None:
        self._plan, self._study, self._command = plan, study, command
        self.file = plan.folder.path / "report.html"
        self._next = 0.0  # when it may be written again

    def update(self, seconds_left: float, candidates: Sequence[Candidate] = ()) -> None:
        """Write the page, unless that was done a moment ago.

        Args:
            seconds_left: of the whole search, infinite while that is not known.
            candidates: of the confirmation, once that has begun.
        """
        if time.monotonic() >= self._next:
            begin = time.monotonic()
            self.write(time_left(seconds_left), candidates)
            seconds = time.monotonic() - begin
            self._next = time.monotonic() + max(LEAST_SECONDS, seconds / MOST_OF_TIME)

    def write(self, left: str, candidates: Sequence[Candidate] = (), is_over: bool = False) -> None:
        """Write the page now; it appears complete or not at all.

        Args:
            left: the time left in words.
            candidates: of the confirmation, once that has begun.
            is_over: whether this session of the search has ended, so that the page need not reload itself.
        """
        plan = self._plan
        every = self._study.get_trials(deepcopy=False)
        trials = [trial for trial in attempts.counted(every) if attempts.ORIGIN in trial.user_attrs]
        finished = [trial for trial in trials if trial.state.is_finished()]
        best = next(iter(attempts.finished(every)), None)
        spent, budget, unit = len(finished), plan.budget, "trials"
        if plan.search.updates is not None:
            spent, budget, unit = rungs.updates_spent(plan, every), plan.search.updates, "updates"
        curves, highest, longest = _curves(plan, trials, best)
        page = render(
            TEMPLATE,
            study=plan.search.study,
            reload=None if is_over else RELOAD_SECONDS,
            command=self._command,
            spent=spent,
            budget=budget,
            unit=unit,
            left=left,
            best=trial_rows.row(plan, best) if best is not None else None,
            baseline=plan.baseline_name,
            candidates=candidates,
            seeds=plan.search.confirm.seeds,
            rungs=rungs.counts(plan, every) if len(plan.rungs) > 1 else {},
            curves=curves,
            size=(WIDTH, HEIGHT, MARGIN),
            highest=highest,
            longest=longest,
            pictures=[_picture(plan, trial) for trial in trials if trial.state == TrialState.RUNNING],
            keys=[dimension.key for dimension in plan.space],
            rows=[trial_rows.row(plan, trial) for trial in sorted(trials, key=trial_rows.by_score)],
        )
        write_atomically(self.file, page.encode())


def _curves(plan: Plan, trials: Sequence[FrozenTrial], best: FrozenTrial | None) -> tuple[list[Curve], float, int]:
    """Return the trials' scores as lines, those that matter last, and the ends of both axes."""
    scores = sorted(score for trial in trials for score in trial.intermediate_values.values())
    highest = (
        scores[int(0.95 * (len(scores) - 1))] * 1.05 if scores else 1.0
    )  # a few that failed do not flatten the rest
    longest = plan.search.steps

    def line(trial: FrozenTrial) -> str:
        across, down = (WIDTH - MARGIN) / longest, (HEIGHT - MARGIN) / highest
        points = sorted(trial.intermediate_values.items())
        return " ".join(f"{MARGIN + s * across:.1f},{(highest - min(v, highest)) * down:.1f}" for s, v in points)

    def kind(trial: FrozenTrial) -> str:
        if best is not None and trial.number == best.number:
            return "best"
        if attempts.is_baseline(plan, trial):
            return "baseline"
        return "running" if trial.state == TrialState.RUNNING else "other"

    curves = []
    for trial in trials:
        if trial.intermediate_values:
            last = trial.intermediate_values[max(trial.intermediate_values)]
            title = f"trial {attempts.origin(trial)}: {last:.4g} after {trial_rows.steps_of(trial):,} updates"
            curves.append(Curve(title, line(trial), kind(trial)))
    order = ("other", "running", "baseline", "best")
    return sorted(curves, key=lambda curve: order.index(curve.kind)), highest, longest


def _picture(plan: Plan, trial: FrozenTrial) -> tuple[str, Path | None]:
    """Return what a running trial is called, and its newest samples."""
    samples = attempts.run_of(plan, trial).sample_files(metric_names.SAMPLES)
    newest = max(samples, default=None)
    words = f"trial {attempts.origin(trial)}" + (f", step {newest:,}" if newest is not None else "")
    return words, samples[newest] if newest is not None else None
