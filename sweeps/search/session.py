"""One session of a search, from its study to its report."""

import contextlib
import math
from collections.abc import Callable
from functools import partial

from optuna.exceptions import StorageInternalError
from optuna.study import Study
from optuna.trial import TrialState
from rich.console import Console
from rich.table import Table

from experiments.cli.overrides import as_text
from experiments.cli.paths import shown
from experiments.cli.progress import say, say_words, stage
from experiments.housekeeping.unneeded import free_of_study
from experiments.housekeeping.words import counted
from experiments.records import journal
from experiments.records.folders import RunFolder, read_json, write_json
from experiments.records.journal import Journal
from experiments.records.overview import in_bytes
from experiments.records.status import TRIAL_STATE, RunStatus
from experiments.reports.ending import end, say_next
from experiments.reports.index import refresh
from experiments.tracking.address import serve_command
from experiments.tracking.experiment import NOTE
from experiments.tracking.feeder import Feeder
from experiments.tracking.sync import deliver, why_unreachable
from experiments.training.description import description
from experiments.training.facts import run_facts, settings
from gan.data.dataset import Dataset
from gan.errors import ConfigError
from gan.evaluation.weights import Weights
from sweeps.analysis.champion import Winner, register, rescore
from sweeps.analysis.comparison import Comparison, compare, most_trainings
from sweeps.analysis.confirm import Stopped, at_a_time, candidates, confirm
from sweeps.display.confirmation import ConfirmDisplay
from sweeps.display.events import Event, TrainingChanged, TrialEnded
from sweeps.display.search import SearchDisplay, format_params
from sweeps.search.throughput import crowding
from sweeps.spec.plan import Plan, resume_command
from sweeps.study import attempts, budget, published, rungs
from sweeps.study.states import State
from sweeps.workers.protocol import CannotGoOn
from sweeps.workers.supervisor import Supervisor

DELIVERY_SECONDS = 120.0  # how long a finished search waits for MLflow
NAMED = 3  # runs that MLflow lacks, in one line
BEST_SCORE = "search/best_score"  # of the trials so far, at the number of those completed


class SearchSession:
    """One session of a search.

    Args:
        plan: what is searched, and how; the caller holds `owned()` of its folder.
        study: Optuna's study, open.
        console: where progress and results are printed.
        should_stop: polled during the search; True lets the trials save their state and ends the session.
    """

    def __init__(self, plan: Plan, study: Study, console: Console, should_stop: Callable[[], bool]) -> None:
        self.plan, self.study, self.console, self.should_stop = plan, study, console, should_stop
        self.registered: RunFolder | None = None  # the winner's run
        self.alias = ""  # of its model
        self.result = ""  # in a sentence
        self._scored = 0  # trials with a score, at the last point of that curve
        self.rate = 0.0  # updates a second, of all trials together
        from sweeps.analysis.live_page import LivePage  # slow to import: a mistake should be answered before

        self._page = LivePage(plan, study, resume_command(plan), self._say)

    def run(self, dataset: Dataset, weights: Weights) -> RunStatus:
        """Search, confirm and report; return whether it finished or was stopped.

        Raises:
            CannotGoOn: if all trials failed or would fail for one reason, or workers cannot be started.
            StorageInternalError: where the database is away for too long.
            OSError: if the records cannot be written.
        """
        if not self.plan.folder.facts.exists():
            self._write_facts(dataset, weights)
        elif (note := self.plan.config.note) is not None:
            write_json(self.plan.folder.facts, {**read_json(self.plan.folder.facts), "note": note})
        self.journal = Journal(self.plan.folder)
        self.journal.status(RunStatus.RUNNING)
        feeder = Feeder(self.plan.folder)
        feeder.start()
        status = RunStatus.FAILED
        try:
            status = self._search()
        finally:
            with contextlib.suppress(OSError):  # a full disk was the failure itself, and is reported
                self.journal.status(status)
                self.journal.close()
            self._deliver(feeder, status)
        return status

    def _deliver(self, feeder: Feeder, status: RunStatus) -> None:
        """Let MLflow have the rest, and say where everything is."""
        delivered = feeder.finish(DELIVERY_SECONDS if status == RunStatus.FINISHED else 5.0)
        if status != RunStatus.FINISHED:
            with contextlib.suppress(OSError, StorageInternalError):  # the failure itself, perhaps, which is reported
                self._page.write("", is_over=True)
        if status == RunStatus.KILLED:
            say(self.console, "stopped")
        problem = feeder.problem
        if delivered and status == RunStatus.FINISHED:  # a trial cannot be delivered before its study is
            runs = self._trial_runs() + ([self.registered] if self.registered is not None else [])
            with stage(self.console, "bringing MLflow up to date"):
                behind = self._not_delivered(runs)
            more = len(behind) - NAMED
            delivered, problem = not behind, ", ".join([*behind[:NAMED], *([f"{more} more runs"] if more > 0 else [])])
        if not delivered:
            self._say(f"MLflow is behind ({problem}); nothing is lost, deliver the records with")
            say(self.console, "         python experiments/sync.py all")
        if status == RunStatus.FINISHED:
            self._say_where(feeder)
            self._say_next()
        else:
            refresh(self.plan.records, self.console)
        if status == RunStatus.KILLED:
            say_next(self.console, resume_command(self.plan))

    def _not_delivered(self, runs: list[RunFolder]) -> list[str]:
        """Deliver runs, and name those that MLflow lacks something of.

        After a server that does not answer, or the user's interrupt, those are all that are left.
        """
        behind: list[str] = []
        for place, run in enumerate(runs):
            if self.should_stop():
                return behind + [each.name for each in runs[place:]]
            if not deliver(run, Console(quiet=True)):
                behind.append(run.name)
                if why_unreachable(self.plan.records):
                    return behind + [each.name for each in runs[place + 1 :]]
        return behind

    def _search(self) -> RunStatus:
        """Return MLflow's word for how it ended."""
        plan = self.plan
        published.publish(self.study, plan)
        trials = self.study.get_trials(deepcopy=False)
        done = len([t for t in attempts.counted(trials) if t.state.is_finished()])
        goes_on = f", {done} trials done" if done else ""
        self._say(f"study    {plan.search.study}{goes_on}")
        cores = f"{plan.threads} core{'s' if plan.threads > 1 else ''}"
        self._say(f"search   {rungs.in_words(plan)}, {plan.workers} at a time on {cores} each")
        searched = float(self.study.user_attrs.get(attempts.SECONDS, 0.0))
        if words := crowding(plan):
            self._say(f"         {words}")
        self._page.write("")
        self._say(f"page     {shown(self._page.file)}, which reloads itself")
        refresh(self.plan.records, self.console)
        with SearchDisplay(self.console, plan, trials, searched) as display:

            def on_event(event: Event) -> None:
                display.event(event)
                self.note(event, display.seconds_left())

            finished = Supervisor(plan, self.study, on_event).run(self.should_stop)
            self.rate = display.throughput.rate
        if not finished:
            return RunStatus.KILLED
        self._close_runs()
        if budget.ended_early(plan, self.study.get_trials(deepcopy=False)):
            words = f"the last {budget.TRIED_ALREADY} suggestions had been tried"
            self._say(f"search   ended before its budget, as {words}; search.extend=true with a wider space continues")
        from sweeps.analysis.report import write_report  # slow to import: a mistake should be answered before
        from sweeps.analysis.study_record import record_result

        done_trials = attempts.finished(self.study.get_trials(deepcopy=False))
        if not done_trials:
            write_report(plan, self.study, None, None)
            raise CannotGoOn("no trial came to its end; the reasons are in the table above")
        try:
            with stage(self.console, "scoring the best trial with fresh latents"):
                best = attempts.run_of(plan, done_trials[0])
                rescored = rescore(best, plan.config.eval.final_num_images, self._say)
            comparison = self._confirm()
        except Stopped:
            return RunStatus.KILLED
        with stage(self.console, "drawing the report"):
            report = write_report(plan, self.study, comparison, rescored)
        record_result(plan, self.journal, report, comparison, rescored)
        if report.winner is not None:
            with stage(self.console, "registering the winner's generator"):
                self.registered = register(report.winner, plan.search.study, self._say)
            self.alias, self.result = report.winner.alias, report.winner.words
            self._say_result(comparison, report.winner)
            self._free_checkpoints()
        return RunStatus.FINISHED

    def _free_checkpoints(self) -> None:
        """Remove the checkpoints that nothing needs now: a paused trial may still be promoted, and keeps its own."""
        if self.plan.search.keep_checkpoints == "winners":
            count, size = free_of_study(self.plan.records, self.plan.search.study)
            if size:
                self._say(f"freed    {in_bytes(size)}: checkpoints of {counted(count, 'run')} that never train on")

    def note(self, event: Event, seconds_left: float) -> None:
        """Keep the best score so far as a curve, and the page up to date.

        Args:
            event: of a worker or a trial.
            seconds_left: of the whole search.
        """
        self._page.update(seconds_left)
        if isinstance(event, TrialEnded) and event.state == State.COMPLETE:
            scores = [t.value for t in attempts.finished(self.study.get_trials(deepcopy=False)) if t.value is not None]
            if len(scores) > self._scored:
                self._scored = len(scores)
                self.journal.scalars(self._scored, {BEST_SCORE: min(scores)})

    def _close_runs(self) -> None:
        """No trial that was given up stays RUNNING in MLflow."""
        for run in self._trial_runs():
            if journal.last_status(run.journal) in (None, RunStatus.RUNNING):
                with contextlib.suppress(ConfigError), run.owned():  # else it is no orphan: another process is at it
                    records = Journal(run)
                    records.tags({TRIAL_STATE: State.FAIL.value})
                    records.status(RunStatus.FAILED)
                    records.close()

    def _trial_runs(self) -> list[RunFolder]:
        trials = self.study.get_trials(deepcopy=False)
        states = {attempts.run_of(self.plan, trial).name: trial.state for trial in attempts.counted(trials)}
        runs = [RunFolder(self.plan.records.runs / name) for name in states]
        # Not those with the settings of an earlier trial again, nor what another host took up and ended.
        return [run for run in runs if run.journal.exists() and not self._ended_elsewhere(run, states[run.name])]

    def _ended_elsewhere(self, run: RunFolder, state: TrialState) -> bool:
        ends = {TrialState.COMPLETE: RunStatus.FINISHED, TrialState.PRUNED: RunStatus.KILLED}.get(state)
        return self.plan.search.storage is not None and ends not in (None, journal.last_status(run.journal))

    def _confirm(self) -> Comparison | None:
        plan = self.plan
        if not plan.search.confirm.seeds:
            return None
        racing = candidates(plan, self.study.get_trials(deepcopy=False))
        if len(racing) < 2:
            self._say("confirm  nothing to confirm: no trial but the baseline came to its end")
            return None
        seeds = plan.search.confirm.seeds
        self._say(
            f"confirm  {', '.join(each.title for each in racing)} on "
            + (f"up to {seeds} fresh seeds each, until one is better" if seeds > 1 else "1 fresh seed each")
        )
        most = partial(most_trainings, racing, seeds)
        with ConfirmDisplay(self.console, most, at_a_time(plan), plan.search.steps, self.rate) as display:

            def on_event(event: TrainingChanged) -> None:
                display.event(event)
                self._page.update(display.seconds_left(), racing)

            confirm(plan, racing, on_event, self.should_stop, self._say)
        return compare(racing, plan.baseline_name)

    def _write_facts(self, dataset: Dataset, weights: Weights) -> None:
        plan = self.plan
        facts = run_facts(plan.config, dataset, weights, self.plan.folder, resume_command(self.plan))
        space = {f"space.{dimension.key}": dimension.full_text for dimension in plan.space}
        search = {
            f"search.{key}": value for key, value in vars(plan.search).items() if isinstance(value, int | float | str)
        }
        search.pop("search.notify", None)  # it may hold a secret
        searched = {dimension.key for dimension in plan.space}
        fixed = {
            key: value
            for key, value in settings(plan.config).items()
            if key not in searched and not plan.inherits_from_space(key)
        }
        facts["params"] = {**fixed, **search, **space}
        facts |= {"title": f"study {plan.search.study}", "preset": plan.preset}
        facts["tags"] |= {
            "optuna.study_name": plan.search.study,
            NOTE: description("A search: its trials are the runs below this one. No result yet.", facts),
        }
        write_json(self.plan.folder.facts, facts)

    def _say(self, text: str) -> None:
        say_words(self.console, text)

    def _say_result(self, comparison: Comparison | None, winner: Winner) -> None:
        if comparison is None:
            title = self.plan.baseline_name if winner.is_baseline else f"trial {winner.origin}"
            self._say(f"best     {title}, score {winner.search_score:.4g}: {format_params(winner.shown)}")
            self._say(f"result   {winner.words}")
            return
        table = Table("settings", "mean", "±", "fresh seeds", "in the search", box=None, header_style="bold")
        for each in (comparison.baseline, *comparison.candidates):
            score = f"{each.search_score:.4g}" if each.search_score is not None else ""
            scores = ", ".join(f"{score:.4g}" for score in each.scores)
            std = "" if math.isnan(each.std) else f"{each.std:.2g}"
            table.add_row(each.title, f"{each.mean:.4g}" if each.scores else "failed", std, scores, score)
        self.console.print(table)
        self._say(f"result   {winner.words}")
        self._say(f"         {format_params(winner.shown)}")

    def _say_where(self, feeder: Feeder) -> None:
        folder = self.plan.folder.path
        say(self.console, f"report   {shown(folder / 'report.html')}\nsettings {shown(folder / 'best.yaml')}")
        if (picture := self.plan.folder.plots / "map.png").exists():
            say(self.console, f"map      {shown(picture)}")
        if self.registered is not None:
            say(self.console, f'model    mlflow.pyfunc.load_model("models:/{self.plan.search.study}@{self.alias}")')
        if feeder.delivery.url is not None:
            serve = serve_command(self.plan.records)
            say(self.console, f"browse   {f'{serve}, then ' if serve else ''}{feeder.delivery.url}")

    def _say_next(self) -> None:
        """End with the command that makes sense now."""
        study = self.plan.search.study
        if self.plan.search.sampler == "grid":
            end(self.plan.records, self.console, "experiments/compare.py", as_text(f"study={study}"))
        else:
            end(self.plan.records, self.console, "experiments/generate.py", f"best:{study}")
