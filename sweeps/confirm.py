"""Is the winner better, or was it lucky? The best trials and the baseline on fresh seeds."""

import contextlib
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial

from experiments.records import journal
from experiments.records.folders import RunFolder
from experiments.runs.threads import available_cores
from experiments.runs.train import NO_RECORDS
from gan import metric_names
from sweeps import study as studies
from sweeps.plan import DEFAULTS, Plan
from sweeps.pool import CannotGoOn
from sweeps.process import TrialProcess, ending
from sweeps.space import Value
from sweeps.trial import Job

CONFIDENCE = 0.95


@dataclass
class Candidate:
    """Settings that are trained again."""

    title: str  # trial-0007, or the baseline's preset
    params: dict[str, Value]  # none for the baseline
    search_score: float | None  # the objective in the search
    seeds: list[int] = field(default_factory=list)  # those that came to their end
    scores: list[float] = field(default_factory=list)  # the objective of each
    final: list[float] = field(default_factory=list)  # and the score at its end, of more images
    failures: list[str] = field(default_factory=list)
    origin: int | None = None  # of the trial; None for the baseline

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

    baseline: Candidate
    candidates: list[Candidate]  # best first
    difference: float  # of the best candidate's mean to the baseline's; below 0 is better
    low: float  # of its interval, which knows of how many it is the best; NaN where there is none
    high: float
    baseline_words: str = "the tutorial's settings"

    @property
    def best(self) -> Candidate:
        """The best of the trials."""
        return self.candidates[0]

    @property
    def winner(self) -> Candidate:
        """The settings to train with: a trial's only where it has the lower mean, and failed on no more seeds."""
        return min((self.baseline, self.best), key=_rank)

    @property
    def better(self) -> bool:
        """Whether the best trial is known to be better than the baseline."""
        return self.high < 0 and self.winner is self.best and not self.best.failures

    def words(self) -> str:
        best, baseline, usual = self.best, self.baseline, self.baseline_words
        facts = f"{self._seeds()}; difference {self.difference:+.3g}, {self._interval()}"
        if self.winner is baseline:
            means = f"{baseline.mean:.4g} against {best.mean:.4g} for the best trial, {best.title}"
            return f"Keep {usual}: {means} ({facts}; lower is better)"
        means = f"{best.mean:.4g} against {baseline.mean:.4g} for {usual} ({facts})"
        if self.better:
            return f"{best.title} is better: {means}"
        luck = "" if np.isnan(self.high) or best.failures else "; that may be luck, as the interval holds 0"
        return f"{best.title} is not shown to be better: {means}{luck}"

    def _seeds(self) -> str:
        first, second = (self.best, self.baseline) if self.winner is self.best else (self.baseline, self.best)
        counts = [len(first.scores), len(second.scores)]
        words = f"{counts[0]} and {counts[1]} fresh seeds"
        if counts[0] == counts[1]:
            words = f"{counts[0]} fresh seed{'s' if counts[0] > 1 else ''} each"
        failed = [f"{len(c.failures)} of {c.title} failed" for c in (self.baseline, self.best) if c.failures]
        return ", ".join([words, *failed])

    def _interval(self) -> str:
        if np.isnan(self.high):
            return "no interval, which takes two seeds or more of each"
        return f"{CONFIDENCE:.0%} interval {self.low:+.3g} to {self.high:+.3g}"


def _rank(candidate: Candidate) -> tuple[int, float]:
    return len(candidate.failures), candidate.mean


class Stopped(Exception):
    """The user stopped it; what was done is kept."""


def candidates(plan: Plan, trials: Sequence[FrozenTrial]) -> list[Candidate]:
    """The best trials of a study, and the baseline first."""
    done = studies.finished(trials)
    first = [trial.value for trial in done if studies.is_baseline(plan, trial)]
    found = [Candidate(plan.preset, {}, first[0] if first else None)]
    for trial in done:
        again = any(trial.params == each.params for each in found)
        if not again and not studies.is_baseline(plan, trial) and len(found) <= plan.search.confirm.top:
            origin = studies.origin(trial)
            found.append(Candidate(f"trial-{origin:04d}", dict(trial.params), trial.value, origin=origin))
    return found


def confirm(
    plan: Plan,
    folder: RunFolder,
    wanted: Sequence[Candidate],
    on_event: Callable[[dict[str, Any]], None],
    should_stop: Callable[[], bool],
) -> None:
    """Train what is not trained yet, and fill in the candidates' scores.

    Args:
        plan: of the search.
        folder: of the study.
        wanted: what is to be trained, on as many seeds as the plan says.
        on_event: called with `{"training": name}` and how far it is: a "step", "words", and whether it is "over".
        should_stop: asked again and again.

    Raises:
        Stopped: if the user stopped it.
        CannotGoOn: if every training would fail.
    """
    seeds = [plan.config.seed + 1 + k for k in range(plan.search.confirm.seeds)]
    jobs = [(candidate, seed) for seed in seeds for candidate in wanted]
    running: set[TrialProcess] = set()
    lock = threading.Lock()
    events: queue.Queue[dict[str, Any]] = queue.Queue()
    stopped: list[str] = []  # what every training would fail of
    given_up: dict[str, str] = {}  # by run: why it has no score, though its settings did not fail

    def train(candidate: Candidate, seed: int) -> None:
        run = _run(plan, folder, candidate, seed)
        training = {"training": f"{candidate.title} seed {seed}"}
        for _ in range(plan.search.retries + 1):
            if should_stop() or stopped or _is_done(run) or _failure(run):
                break
            with lock:
                process = TrialProcess(_job(plan, folder, candidate, seed), folder.path / "logs" / f"{run.name}.log")
                running.add(process)
            events.put({**training, "words": "training"})
            outcome: dict[str, Any] = {}
            for event in process.events():
                outcome = event if "outcome" in event else outcome
                events.put({**training, "step": event.get("step", event.get("started", 0))})
            with lock:
                running.discard(process)
            if outcome.get("no_records"):
                stopped.append(outcome["failure"])
            if not outcome and not should_stop():
                events.put({**training, "words": ending(process)})
            given_up[run.name] = outcome.get("failure") or ending(process)
        if _is_done(run):
            score = studies.objective(studies.scores_of(run)[1])
            events.put({**training, "words": f"score {score:.4g}", "over": True})
        elif not should_stop() and not stopped:
            events.put({**training, "words": f"failed: {_failure(run) or given_up.get(run.name, '')}", "over": True})

    with ThreadPoolExecutor(_at_a_time(plan)) as threads:
        waiting = [threads.submit(train, *job) for job in jobs]
        while not all(each.done() for each in waiting) or not events.empty():
            with contextlib.suppress(queue.Empty):
                on_event(events.get(timeout=0.25))
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
        candidate.final = [journal.curve(run.journal, metric_names.FINAL_FID_PROXY)[1][-1] for _, run in done]


def judge(wanted: Sequence[Candidate], baseline_words: str = "the tutorial's settings") -> Verdict | None:
    """The best of the candidates against the baseline, the first of them; None where either could not be trained.

    One that fails on a seed comes after those that do not, and is not better, whatever its other seeds say.
    """
    baseline, *others = wanted
    others = sorted((each for each in others if each.scores), key=_rank)
    if not baseline.scores or not others:
        return None
    low, high = _interval([each.scores for each in others], baseline.scores)
    return Verdict(baseline, others, others[0].mean - baseline.mean, low, high, baseline_words)


def _interval(others: Sequence[Sequence[float]], baseline: Sequence[float]) -> tuple[float, float]:
    """Of the first one's difference of means to the baseline's; NaN where either has but one score.

    Student's t, with the spread over seeds pooled from all settings, as three seeds of one say
    little of it, and Bonferroni's correction, as the first is the best of several.
    """
    if min(len(others[0]), len(baseline)) < 2:
        return float("nan"), float("nan")
    from scipy.stats import t  # slow to import: a mistake should be answered before

    groups = [np.asarray(scores) for scores in (*others, baseline)]
    freedom = sum(len(group) - 1 for group in groups)
    variance = sum(((group - group.mean()) ** 2).sum() for group in groups) / freedom
    quantile = t.ppf(1 - (1 - CONFIDENCE) / 2 / len(others), freedom)
    margin = float(quantile * np.sqrt(variance * (1 / len(others[0]) + 1 / len(baseline))))
    difference = float(groups[0].mean() - groups[-1].mean())
    return difference - margin, difference + margin


def best_run(plan: Plan, folder: RunFolder, candidate: Candidate) -> RunFolder:
    """That of the seed with the best final score."""
    return _run(plan, folder, candidate, candidate.seeds[int(np.argmin(candidate.final))])


def _run(plan: Plan, folder: RunFolder, candidate: Candidate, seed: int) -> RunFolder:
    before = folder.records.runs / f"{plan.search.study}-confirm-tutorial-seed-{seed}"
    if candidate.title == DEFAULTS and before.exists():  # what a version called so that started from the defaults
        return RunFolder(before)
    return RunFolder(folder.records.runs / f"{plan.search.study}-confirm-{candidate.title}-seed-{seed}")


def _at_a_time(plan: Plan) -> int:
    """They are trained on this host, whatever the trials ran on."""
    if plan.search.launcher == "local":
        return plan.workers
    return min(plan.workers, max(available_cores() // plan.threads, 1))


def _is_done(run: RunFolder) -> bool:
    return journal.last_status(run.journal) == "FINISHED" and bool(
        journal.curve(run.journal, metric_names.FINAL_FID_PROXY)[1]
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
