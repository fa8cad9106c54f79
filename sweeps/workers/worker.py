"""A worker: takes trials of a study one after the other, each in a process of its own.

Started by a search with a `Task` as the first line of its standard input. Whenever it
has said {"ready": true}, a line `go` lets it begin one trial; the end of the standard
input ends it and interrupts its trial, which is taken up again by the next search. (One of
a shared database waits for no word: sweeps/workers/joined_worker.py.) What happens meanwhile comes
as events on standard output, one JSON object a line:

    {"trial": number, "origin": ..., "params": {...}}   suggested
    {"trial": number, "step": n, "score": ...}          so far
    {"trial": number, "state": "COMPLETE", ...}         over; PRUNED or FAIL with a "reason"

A FAIL with "again" is to be taken up again; with "stop" no other trial could do better.
"""

import json
import queue
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
from optuna.study import Study
from optuna.trial import Trial, TrialState

from experiments.cli.environment import prepare
from experiments.cli.terminal import tolerate_any_text
from experiments.records.folders import RunFolder
from gan import metric_names
from sweeps.spec.plan import Plan, read_plan
from sweeps.spec.space import same_params, sampled_params
from sweeps.study import attempts, optuna_log, pruners, samplers, storage
from sweeps.workers.child import TrialProcess, ending
from sweeps.workers.early_stopping import Guard
from sweeps.workers.protocol import Job, Task


class TrialFailed(Exception):
    """One failed trial, not the end of the search."""


class Worker:
    """Runs the trials that it is let begin."""

    def __init__(self, task: Task) -> None:
        self.number, self.folder, self._program = task.number, RunFolder(Path(task.folder)), Path(task.program)
        self.say: Callable[[dict[str, Any]], None] = say
        self._read_study(task.arguments)
        self._orders: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._ended = threading.Event()
        self._process: TrialProcess | None = None

    def _read_study(self, arguments: list[str]) -> None:
        self.plan: Plan = read_plan(arguments)
        opened = storage.open_storage(self.folder.records, self.plan.search.retries)
        self.study: Study = optuna.load_study(
            study_name=self.plan.search.study, storage=opened, pruner=pruners.make_pruner(self.plan)
        )

    def run(self) -> None:
        threading.Thread(target=self._listen, daemon=True).start()
        say({"ready": True})
        while self._orders.get() is not None and not self.ended:
            count = len(attempts.counted(self.study.get_trials(deepcopy=False)))
            self.study.sampler = samplers.make_sampler(self.plan, self.number, count)
            self.study.optimize(self._objective, n_trials=1, catch=(TrialFailed,))
            say({"ready": True})

    def _listen(self) -> None:
        for line in sys.stdin:
            self._orders.put(line)
        self.end()

    def end(self) -> None:
        """Begin nothing more, and interrupt what is going on."""
        self._ended.set()
        if self._process is not None:
            self._process.interrupt()
        self._orders.put(None)

    def _objective(self, trial: Trial) -> float:
        params = sampled_params(self.plan.space, trial)
        origin = attempts.suggestion(self.study.get_trials(deepcopy=False), trial.number)
        trial.set_user_attr(attempts.ORIGIN, origin)
        self._begun(trial)
        shown, is_baseline = attempts.shown_params(self.plan, trial), attempts.is_baseline(self.plan, trial)
        self.say({"trial": trial.number, "origin": origin, "params": shown, "baseline": is_baseline})
        known = self._known(trial, params)
        if known is not None:
            return self._repeat(trial, known)
        return _Training(self, trial, origin, params).objective()

    def _begun(self, trial: Trial) -> None:
        """Called when a trial's settings are known."""

    def _known(self, trial: Trial, params: dict[str, Any]) -> optuna.trial.FrozenTrial | None:
        """An earlier trial of the very same settings, as happens where there are few: it would give the same."""
        over = (TrialState.COMPLETE, TrialState.PRUNED)
        same = [t for t in self.study.get_trials(deepcopy=False, states=over) if same_params(t.params, params)]
        # The baseline's settings may lie beside the point of the space that it is seen as.
        own = attempts.is_baseline(self.plan, trial)
        same = [t for t in same if attempts.is_baseline(self.plan, t) == own]
        return same[0] if same else None

    def _repeat(self, trial: Trial, known: optuna.trial.FrozenTrial) -> float:
        for step, value in known.intermediate_values.items():
            trial.report(value, step)
        reason = f"{attempts.REPEATS}{attempts.origin(known)}"
        trial.set_user_attr(attempts.OUTCOME, reason)
        self.say({"trial": trial.number, "state": known.state.name, "reason": reason, "score": known.value})
        if known.state == TrialState.PRUNED:
            raise optuna.TrialPruned(reason)
        assert known.value is not None
        return known.value

    def notes(self, trial: Trial, run: RunFolder) -> dict[str, str]:
        """Tags of a trial's run beside those that all have."""
        return {}

    def reported(self, trial: Trial, run: RunFolder) -> None:
        """Called when there is a score."""

    def left(self, trial: Trial) -> None:
        """Called when a trial was interrupted and saved its state."""

    def start(self, job: Job, log: Path) -> TrialProcess:
        self._process = TrialProcess(job, log, self._program)
        if self._ended.is_set():  # meanwhile
            self._process.interrupt()
        return self._process

    @property
    def ended(self) -> bool:
        return self._ended.is_set()


class _Training:
    """One trial from its process to its outcome."""

    def __init__(self, worker: Worker, trial: Trial, origin: int, params: dict[str, Any]) -> None:
        self.worker, self.trial = worker, trial
        plan = worker.plan
        self.is_baseline = attempts.is_baseline(plan, trial)
        name = attempts.run_name(plan.search.study, origin)
        self.folder = RunFolder(worker.folder.records.runs / name)
        tags = {"optuna.study_name": plan.search.study, "optuna.trial_number": str(trial.number)}
        tags |= worker.notes(trial, self.folder)
        self.job = Job(
            overrides=[
                *plan.trial_overrides({} if attempts.BASELINE in trial.user_attrs else params),
                f"train.threads={plan.threads}",
            ],
            config_dir=plan.config_dir,
            study=str(worker.folder.path),
            name=name,
            title=f"trial-{origin:04d}",
            params={"optuna.trial_number": origin},
            tags=tags,
            final=False,
            upload_minutes=plan.search.checkpoint_upload_minutes,
        )
        self.scores: dict[int, float] = {}  # by step
        self.guard = Guard()
        self.pruned = ""

    def objective(self) -> float:
        for step, score in zip(*attempts.scores_of(self.folder), strict=True):  # of an attempt before this one
            self._report(step, score)
        process = self.worker.start(self.job, self.worker.folder.path / "logs" / f"{self.job.title}.log")
        self.worker.say({"trial": self.trial.number, "pid": process.pid})
        ended: dict[str, Any] = {}
        try:
            for event in process.events():
                if "outcome" in event:
                    ended = event
                elif "scalars" in event:
                    self._listen(process, event["step"], event["scalars"])
                else:
                    self.worker.say({"trial": self.trial.number, "step": event.get("step", event.get("started"))})
        finally:  # whatever the database said: no training without its worker
            process.interrupt()
        return self._end(process, ended)

    def _listen(self, process: TrialProcess, step: int, scalars: dict[str, float]) -> None:
        score = scalars.get(metric_names.FID_PROXY)
        reason = self.guard.look(step, scalars)
        if score is not None and step not in self.scores:  # else reported by an attempt before this one
            value = self._report(step, score)
            self.worker.say({"trial": self.trial.number, "step": step, "score": value})
            if not reason and step < self.worker.plan.search.steps and self.trial.should_prune():
                reason = f"behind at step {step}"
        if reason and not self.pruned and not self.is_baseline:  # others are compared with it
            self.pruned = reason
            process.prune(reason)

    def _report(self, step: int, score: float) -> float:
        """What a pruner compares: the objective as it would be if the trial ended here."""
        self.scores[step] = score
        value = attempts.objective(list(self.scores.values()))
        self.trial.report(value, step)
        self.worker.reported(self.trial, self.folder)
        return value

    def _end(self, process: TrialProcess, ended: dict[str, Any]) -> float:
        number, status = self.trial.number, ended.get("outcome")
        if status == "FINISHED":
            value = attempts.objective(attempts.scores_of(self.folder)[1])
            self.trial.set_user_attr(attempts.OUTCOME, "complete")
            self.worker.say({"trial": number, "state": "COMPLETE", "score": value})
            return value
        if status == "KILLED" and self.pruned:
            self.trial.set_user_attr(attempts.OUTCOME, self.pruned)
            self.worker.say({"trial": number, "state": "PRUNED", "reason": self.pruned})
            raise optuna.TrialPruned(self.pruned)
        if status == "FAILED" and not ended["no_records"]:
            self.trial.set_user_attr(attempts.OUTCOME, ended["failure"])
            self.worker.say({"trial": number, "state": "FAIL", "reason": ended["failure"]})
            raise TrialFailed(ended["failure"])
        reason = ended.get("failure") or "interrupted"
        if status is None and not self.worker.ended:
            reason = ending(process)
            self.trial.set_user_attr(f"{attempts.KILLED}{number}", reason)
        else:
            self.worker.left(self.trial)
        self.worker.say({"trial": number, "state": "FAIL", "reason": reason, "again": True, "stop": status == "FAILED"})
        raise TrialFailed(reason)


def say(event: dict[str, Any]) -> None:
    try:
        print(json.dumps(event), flush=True)
    except BrokenPipeError:  # the search is gone; its trial is saved all the same
        return


def main() -> None:
    tolerate_any_text()
    prepare()
    task = Task(**json.loads(sys.stdin.readline()))
    optuna_log.log_to(Path(task.folder) / "logs" / f"worker-{task.number}.log")
    if task.shared:
        from sweeps.workers.joined_worker import join  # which builds on this module

        sys.exit(join(task.arguments, task.number, Path(task.program), sys.stdin))
    worker = Worker(task)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the search says what is to be done
    signal.signal(signal.SIGTERM, lambda number, frame: worker.end())
    worker.run()


if __name__ == "__main__":
    main()
