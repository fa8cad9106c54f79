"""Is the winner better, or was it lucky? The best trials and the tutorial's settings on fresh seeds."""

import contextlib
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial

from experiments import journal
from experiments.records import RunFolder
from experiments.threads import available_cores
from experiments.training import NO_RECORDS
from gan import metrics
from sweeps import study as studies
from sweeps.plan import Plan
from sweeps.pool import CannotGoOn
from sweeps.process import TrialProcess, ending
from sweeps.space import Value
from sweeps.trial import Job

CONFIDENCE = 0.95


@dataclass
class Candidate:
    """Settings that are trained again."""

    title: str  # trial-0007, or tutorial
    params: dict[str, Value]  # none for the tutorial's own settings
    search_score: float | None  # the objective in the search
    seeds: list[int] = field(default_factory=list)  # those that came to their end
    scores: list[float] = field(default_factory=list)  # the objective of each
    final: list[float] = field(default_factory=list)  # and the score at its end, of more images
    failures: list[str] = field(default_factory=list)

    @property
    def mean(self) -> float:
        return float(np.mean(self.scores)) if self.scores else float("nan")

    @property
    def spread(self) -> float:
        """Standard deviation over seeds."""
        return float(np.std(self.scores, ddof=1)) if len(self.scores) > 1 else float("nan")


@dataclass(frozen=True)
class Verdict:
    """What the confirmation came to."""

    tutorial: Candidate
    candidates: list[Candidate]  # best first
    difference: float  # of the best candidate's mean to the tutorial's; below 0 is better
    low: float  # of its interval, which knows of how many it is the best
    high: float

    @property
    def best(self) -> Candidate:
        return self.candidates[0]

    @property
    def better(self) -> bool:
        return self.high < 0 and not self.best.failures

    def words(self) -> str:
        seeds = f"{len(self.best.scores)} and {len(self.tutorial.scores)} fresh seeds"
        if failed := len(self.best.failures):
            seeds += f", {failed} more failed"
        interval = f"difference {self.difference:+.3g}, {CONFIDENCE:.0%} interval {self.low:+.3g} to {self.high:+.3g}"
        means = (
            f"{self.best.mean:.4g} against {self.tutorial.mean:.4g} for the tutorial's settings ({seeds}; {interval})"
        )
        if self.better:
            return f"{self.best.title} is better: {means}"
        if np.isnan(self.high):
            return f"{self.best.title} is not shown to be better: {means}; an interval takes two seeds or more of each"
        if self.difference >= 0 or self.best.failures:
            return f"{self.best.title} is NOT better than the tutorial's settings: {means}; lower is better"
        return f"{self.best.title} is not shown to be better: {means}; that may be luck, as the interval holds 0"


class Stopped(Exception):
    """The user stopped it; what was done is kept."""


def candidates(plan: Plan, trials: Sequence[FrozenTrial]) -> list[Candidate]:
    """The best trials of a study, and the tutorial's settings first."""
    done = studies.finished(trials)
    first = [trial.value for trial in done if studies.origin(trial) == 0 and plan.is_tutorial(trial.params)]
    found = [Candidate("tutorial", {}, first[0] if first else None)]
    for trial in done:
        again = any(trial.params == each.params for each in found)
        if not again and not plan.is_tutorial(trial.params) and len(found) <= plan.search.confirm.top:
            found.append(Candidate(f"trial-{studies.origin(trial):04d}", dict(trial.params), trial.value))
    return found


def confirm(
    plan: Plan,
    folder: RunFolder,
    wanted: Sequence[Candidate],
    told: Callable[[str], None],
    should_stop: Callable[[], bool],
) -> None:
    """Train what is not trained yet, and fill in the candidates' scores. Raises Stopped and CannotGoOn."""
    seeds = [plan.config.seed + 1 + k for k in range(plan.search.confirm.seeds)]
    jobs = [(candidate, seed) for seed in seeds for candidate in wanted]
    running: set[TrialProcess] = set()
    lock = threading.Lock()
    events: queue.Queue[str] = queue.Queue()
    stopped: list[str] = []  # what every training would fail of
    given_up: dict[str, str] = {}  # by run: why it has no score, though its settings did not fail

    def train(candidate: Candidate, seed: int) -> None:
        run = _run(plan, folder, candidate, seed)
        for _ in range(plan.search.retries + 1):
            if should_stop() or stopped or _is_done(run) or _failure(run):
                break
            with lock:
                process = TrialProcess(_job(plan, folder, candidate, seed), folder.path / "logs" / f"{run.name}.log")
                running.add(process)
            events.put(f"{candidate.title} seed {seed}: training")
            outcome: dict[str, Any] = {}
            for event in process.events():
                outcome = event if "outcome" in event else outcome
            with lock:
                running.discard(process)
            if outcome.get("no_records"):
                stopped.append(outcome["failure"])
            if not outcome and not should_stop():
                events.put(f"{candidate.title} seed {seed}: {ending(process)}")
            given_up[run.name] = outcome.get("failure") or ending(process)
        if _is_done(run):
            score = studies.objective(studies.scores_of(run)[1])
            events.put(f"{candidate.title} seed {seed}: score {score:.4g}")

    with ThreadPoolExecutor(_at_a_time(plan)) as threads:
        waiting = [threads.submit(train, *job) for job in jobs]
        while not all(each.done() for each in waiting) or not events.empty():
            with contextlib.suppress(queue.Empty):
                told(events.get(timeout=0.25))
            if should_stop() or stopped:
                with lock:
                    for process in running:
                        process.interrupt()
        for each in waiting:
            each.result()
    if stopped:
        raise CannotGoOn(f"{stopped[0]}; the same command goes on when that is mended")
    if should_stop():
        raise Stopped
    for candidate in wanted:
        runs = [(seed, _run(plan, folder, candidate, seed)) for seed in seeds]
        done = [(seed, run) for seed, run in runs if _is_done(run)]
        failures = [(s, _failure(run) or ("" if _is_done(run) else given_up.get(run.name, ""))) for s, run in runs]
        candidate.failures = [f"seed {seed}: {words}" for seed, words in failures if words]
        candidate.seeds = [seed for seed, _ in done]
        candidate.scores = [studies.objective(studies.scores_of(run)[1]) for _, run in done]
        candidate.final = [journal.curve(run.journal, metrics.FINAL_FID_PROXY)[1][-1] for _, run in done]


def judge(wanted: Sequence[Candidate]) -> Verdict | None:
    """The best of the candidates against the tutorial's settings; None where either could not be trained.

    One that fails on a seed comes after those that do not, and is not better, whatever its other seeds say.
    """
    tutorial, *others = wanted
    others = sorted((each for each in others if each.scores), key=lambda each: (len(each.failures), each.mean))
    if not tutorial.scores or not others:
        return None
    low, high = _interval([each.scores for each in others], tutorial.scores)
    return Verdict(tutorial, others, others[0].mean - tutorial.mean, low, high)


def _interval(others: Sequence[Sequence[float]], tutorial: Sequence[float]) -> tuple[float, float]:
    """Of the first one's difference of means to the tutorial's; NaN where either has but one score.

    Student's t, with the spread over seeds pooled from all settings, as three seeds of one say
    little of it, and Bonferroni's correction, as the first is the best of several.
    """
    if min(len(others[0]), len(tutorial)) < 2:
        return float("nan"), float("nan")
    from scipy.stats import t  # slow to import: a mistake should be answered before

    groups = [np.asarray(scores) for scores in (*others, tutorial)]
    freedom = sum(len(group) - 1 for group in groups)
    variance = sum(((group - group.mean()) ** 2).sum() for group in groups) / freedom
    quantile = t.ppf(1 - (1 - CONFIDENCE) / 2 / len(others), freedom)
    margin = float(quantile * np.sqrt(variance * (1 / len(others[0]) + 1 / len(tutorial))))
    difference = float(groups[0].mean() - groups[-1].mean())
    return difference - margin, difference + margin


def best_run(plan: Plan, folder: RunFolder, candidate: Candidate) -> RunFolder:
    """That of the seed with the best final score."""
    return _run(plan, folder, candidate, candidate.seeds[int(np.argmin(candidate.final))])


def _run(plan: Plan, folder: RunFolder, candidate: Candidate, seed: int) -> RunFolder:
    return RunFolder(folder.records.runs / f"{plan.search.study}-confirm-{candidate.title}-seed-{seed}")


def _at_a_time(plan: Plan) -> int:
    """They are trained on this host, whatever the trials ran on."""
    if plan.search.launcher == "local":
        return plan.workers
    return min(plan.workers, max(available_cores() // plan.threads, 1))


def _is_done(run: RunFolder) -> bool:
    return journal.last_status(run.journal) == "FINISHED" and bool(
        journal.curve(run.journal, metrics.FINAL_FID_PROXY)[1]
    )


def _failure(run: RunFolder) -> str:
    """Why a training failed by its settings; nothing if it did not, or for want of disk."""
    if journal.last_status(run.journal) != "FAILED":
        return ""
    tags = [record["tags"] for record, _ in journal.read(run.journal, 0) if "failure" in record.get("tags", {})]
    words = str(tags[-1]["failure"]) if tags else "failed"
    return "" if words.startswith(NO_RECORDS) else words


def _job(plan: Plan, folder: RunFolder, candidate: Candidate, seed: int) -> Job:
    overrides = [*plan.trial_overrides(candidate.params), f"train.threads={min(plan.threads, available_cores())}"]
    return Job(
        overrides=[*(o for o in overrides if not o.startswith("seed=")), f"seed={seed}"],
        config_dir=plan.config_dir,
        study=str(folder.path),
        name=_run(plan, folder, candidate, seed).name,
        title=f"confirm {candidate.title}, seed {seed}",
        params={"confirms": candidate.title},
        tags={"optuna.study_name": plan.search.study, "confirms": candidate.title},
        final=True,
    )
