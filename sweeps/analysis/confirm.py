"""Is the winner better, or was it lucky? The best trials and the baseline on fresh seeds."""

import contextlib
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from optuna.trial import FrozenTrial

from experiments.hardware import gpus
from experiments.hardware.cores import available_cores
from experiments.records import journal
from experiments.records.folders import RunFolder
from experiments.records.status import OF_THE_MACHINE, RunStatus
from gan import metric_names
from sweeps.analysis.comparison import Candidate, after_seed, readmitted
from sweeps.display.events import TrainingChanged
from sweeps.spec.plan import DEFAULTS, Plan
from sweeps.study import attempts
from sweeps.workers.protocol import CannotGoOn, Ended, Job
from sweeps.workers.trial_process import TrialProcess


class Stopped(Exception):
    """The user stopped it; what was done is kept."""


def candidates(plan: Plan, trials: Sequence[FrozenTrial]) -> list[Candidate]:
    """Return the baseline and then the best trials of a study."""
    done = attempts.finished(trials)
    first = next((trial for trial in done if attempts.is_baseline(plan, trial)), None)
    chosen = [Candidate(plan.preset, {}, None)]
    if first is not None:
        chosen = [Candidate(plan.preset, {}, first.value, origin=attempts.origin(first))]
    for trial in done:
        again = any(trial.params == candidate.params for candidate in chosen)
        if not again and not attempts.is_baseline(plan, trial) and len(chosen) <= plan.search.confirm.top:
            origin = attempts.origin(trial)
            chosen.append(
                Candidate(f"trial-{origin:04d}", attempts.shown_params(plan, trial), trial.value, origin=origin)
            )
    return chosen


def confirm(
    plan: Plan,
    candidates: Sequence[Candidate],
    on_event: Callable[[TrainingChanged], None],
    should_stop: Callable[[], bool],
    say: Callable[[str], None] = lambda words: None,
) -> None:
    """Train what is not trained yet, and fill in the candidates' scores.

    All train on one seed after the other, until it is decided which is better: see sweeps/analysis/race.py.

    Args:
        plan: of the search.
        candidates: the baseline and those to be compared with it, to be trained on as many seeds as the plan says.
        on_event: called with what happens to a training.
        should_stop: asked again and again.
        say: called with how the race stands after a seed.

    Raises:
        Stopped: if the user stopped it.
        CannotGoOn: if every training would fail.
        Exception: whatever `on_event` raises; the trainings save their state before.
    """
    _Confirmation(plan, on_event, should_stop, say).run(candidates)


class _Confirmation:
    """What `confirm` does; its threads wait for trainings, and tell of them through a queue.

    Args:
        plan: of the search.
        on_event: called with what happens to a training.
        should_stop: asked again and again.
        say: called with how the race stands after a seed.
    """

    def __init__(
        self,
        plan: Plan,
        on_event: Callable[[TrainingChanged], None],
        should_stop: Callable[[], bool],
        say: Callable[[str], None],
    ) -> None:
        self._plan, self._on_event, self._should_stop, self._say = plan, on_event, should_stop, say
        self._running: set[TrialProcess] = set()
        self._lock = threading.Lock()  # of what runs
        self._events: queue.Queue[TrainingChanged] = queue.Queue()
        self._fatal: list[str] = []  # why every training would fail
        self._at_a_time = at_a_time(plan)
        self._unscored: dict[str, str] = {}  # by run: why it has no score, though its settings did not fail

    def run(self, candidates: Sequence[Candidate]) -> None:
        baseline, *racing = candidates
        most = self._plan.search.confirm.seeds
        for count in range(1, most + 1):
            self._train_seed([baseline, *racing], count)
            is_over, words = after_seed(baseline, racing, len(candidates) - 1, most)
            while back := readmitted(baseline, candidates[1:]):
                for missing in range(1, count + 1):
                    self._train_seed([each for each in back if len(each.scores) < missing], missing)
                is_over, more = after_seed(baseline, back, len(candidates) - 1, most)
                words = ", ".join(filter(None, [words, more]))
            if words:
                self._say(f"         after {count} seeds: {words}")
            racing = [candidate for candidate in candidates[1:] if candidate.is_racing]
            if is_over:
                break

    def _train_seed(self, racing: Sequence[Candidate], number: int) -> None:
        """Train candidates on one of the fresh seeds, and add their scores.

        Args:
            racing: the candidates.
            number: of the seed, from 1.
        """
        seed = self._plan.config.seed + number
        left = self._train_all(racing, seed, self._at_a_time)
        if left:  # beside others there may have been too little memory
            self._train_all(left, seed, 1)
            if not all(self._is_open(candidate, seed) for candidate in left):  # there was
                self._at_a_time = 1
        for candidate in racing:
            self._add_result(candidate, seed)

    def _train_all(self, racing: Sequence[Candidate], seed: int, side_by_side: int) -> list[Candidate]:
        """Train candidates on a seed, and return those that may succeed alone: none if they trained one at a time.

        Args:
            racing: the candidates, the baseline included.
            seed: to train on.
            side_by_side: how many train at a time.
        """
        may_try_again = side_by_side > 1 and len(racing) > 1
        open_ones = [each for each in racing if self._is_open(each, seed)]
        alone = len(open_ones) % side_by_side  # at the end so many train, on all cores
        with ThreadPoolExecutor(side_by_side) as pool:
            waiting = []
            for number, each in enumerate(racing):
                threads = threads_of_each(self._plan, alone if each in open_ones[len(open_ones) - alone :] else None)
                waiting.append(pool.submit(self._train, number, each, seed, threads, may_try_again))
            try:
                self._follow(waiting)
            except BaseException as error:  # or the threads would be waited for until all is trained
                with self._lock:
                    self._fatal.append(str(error))
                self._interrupt_all()
                raise
        return [each for each in racing if may_try_again and self._is_open(each, seed)]

    def _is_open(self, candidate: Candidate, seed: int) -> bool:
        """Return whether a training neither finished nor failed by its settings."""
        run = run_of_seed(self._plan, candidate, seed)
        return not _is_done(run) and not _failure(run)

    def _follow(self, waiting: Sequence[Future[None]]) -> None:
        """Tell of trainings until all are over."""
        while not all(future.done() for future in waiting) or not self._events.empty():
            with contextlib.suppress(queue.Empty):
                self._on_event(self._events.get(timeout=0.25))
            if self._should_stop() or self._fatal:
                self._interrupt_all()
        for training in waiting:
            training.result()
        if self._fatal:
            raise CannotGoOn(f"{self._fatal[0]}; the same command resumes when that is fixed")
        if self._should_stop():
            raise Stopped

    def _train(self, number: int, candidate: Candidate, seed: int, threads: int, may_try_again: bool) -> None:
        """Train a candidate on a seed, again if its process dies.

        Args:
            number: of the candidate, for its GPU.
            candidate: to train.
            seed: to train on.
            threads: cores that it trains on.
            may_try_again: whether it is trained alone later, if it does not finish.
        """
        run = run_of_seed(self._plan, candidate, seed)
        name = f"{candidate.title} seed {seed}"
        for _ in range(self._plan.search.retries + 1):
            with self._lock:
                if self._should_stop() or self._fatal or not self._is_open(candidate, seed):
                    break
                process = TrialProcess(
                    _job(self._plan, candidate, seed, threads),
                    self._plan.folder.path / "logs" / f"{run.name}.log",
                    environment=gpus.share_of(number, self._plan.config.train.devices),
                )
                self._running.add(process)
            self._events.put(TrainingChanged(name, words="training"))
            ended: Ended | None = None
            for message in process.messages():
                ended = message if isinstance(message, Ended) else ended
                self._events.put(TrainingChanged(name, message.step))
            with self._lock:
                self._running.discard(process)
            if ended is not None and ended.would_end_all:
                self._fatal.append(ended.failure)
            if ended is None and not self._should_stop():
                self._events.put(TrainingChanged(name, words=process.ending()))
            self._unscored[run.name] = ended.failure if ended is not None and ended.failure else process.ending()
        if _is_done(run):
            words = f"score {attempts.objective_of(run):.4g}"
            self._events.put(TrainingChanged(name, words=words, is_over=True))
        elif not self._should_stop() and not self._fatal:
            why = _failure(run) or self._unscored.get(run.name, "")
            is_over = not (may_try_again and self._is_open(candidate, seed))
            words = f"failed: {why}" if is_over else f"{why}; trains again alone"
            self._events.put(TrainingChanged(name, words=words, is_over=is_over))

    def _interrupt_all(self) -> None:
        with self._lock:
            for process in self._running:
                process.interrupt()

    def _add_result(self, candidate: Candidate, seed: int) -> None:
        run = run_of_seed(self._plan, candidate, seed)
        if _is_done(run):
            candidate.seeds.append(seed)
            candidate.scores.append(attempts.objective_of(run))
            candidate.final.append(journal.curve(run.journal, metric_names.FINAL_FID_PROXY)[1][-1])
        elif words := _failure(run) or self._unscored.get(run.name, ""):
            candidate.failures.append(f"seed {seed}: {words}")


def best_run(plan: Plan, candidate: Candidate) -> RunFolder:
    """Return a candidate's run of the seed with the best final score.

    Args:
        plan: of the search.
        candidate: with the seeds and final scores of its confirmation.
    """
    return run_of_seed(plan, candidate, candidate.seeds[int(np.argmin(candidate.final))])


def run_of_seed(plan: Plan, candidate: Candidate, seed: int) -> RunFolder:
    """Return the run in which a candidate trains on a seed.

    Args:
        plan: of the search.
        candidate: or the baseline.
        seed: one of those that the confirmation trains on.
    """
    before = plan.records.runs / f"{plan.search.study}-confirm-tutorial-seed-{seed}"
    if candidate.title == DEFAULTS and before.exists():  # what a version called so that started from the defaults
        return RunFolder(before)
    return RunFolder(plan.records.runs / f"{plan.search.study}-confirm-{candidate.title}-seed-{seed}")


def at_a_time(plan: Plan) -> int:
    """Return how many candidates are trained at a time: on this host, whatever the trials ran on."""
    if plan.search.launcher == "local":
        return plan.workers
    return min(plan.workers, max(available_cores() // plan.threads, 1))


def threads_of_each(plan: Plan, count: int | None) -> int:
    """Return the cores that each of some trainings has; the user's number goes before.

    Args:
        plan: of the search.
        count: how many train side by side; None for as many as usual.
    """
    if not count or plan.config.train.threads is not None:
        return min(plan.threads, available_cores())
    return max(available_cores() // count, 1)


def _is_done(run: RunFolder) -> bool:
    return journal.last_status(run.journal) == RunStatus.FINISHED and bool(
        journal.curve(run.journal, metric_names.FINAL_FID_PROXY)[1]
    )


def _failure(run: RunFolder) -> str:
    """Return why a training failed by its settings; empty if it did not, or for what this machine lacked."""
    failure = journal.last_failure(run.journal)
    return failure.message if failure is not None and failure.kind not in OF_THE_MACHINE else ""


def _job(plan: Plan, candidate: Candidate, seed: int, threads: int) -> Job:
    overrides = [*plan.trial_overrides(candidate.params), f"train.threads={threads}"]
    return Job(
        overrides=[*(o for o in overrides if not o.startswith("seed=")), f"seed={seed}"],
        config_dir=plan.config_dir,
        study=str(plan.folder.path),
        name=run_of_seed(plan, candidate, seed).name,
        title=f"confirm {candidate.title}, seed {seed}",
        params={"confirms": candidate.title},
        tags={"optuna.study_name": plan.search.study, "confirms": candidate.title},
        final=True,
    )
