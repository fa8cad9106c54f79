"""Search for settings that beat the tutorial's, and find out whether they do.

    python sweeps/optuna_search.py
    python sweeps/optuna_search.py search=quick
    python sweeps/optuna_search.py 'model.bn_momentum=interval(0.5,0.99)' 'train.batch_size=choice(16,32,64)'
    python sweeps/optuna_search.py search=custom 'optim.learning_rate=tag(log,interval(5e-5,1e-3))' search.trials=30

A setting of run.py with several values is a dimension of the space, beside those of
conf/search/; one with a single value holds for all trials. The same command again goes
on where the search was stopped.

With search.storage=postgresql+psycopg://... workers on many hosts share a study; one more joins it by

    python sweeps/optuna_search.py search.role=worker search.study=<name> search.storage=...
"""

import contextlib
import math
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.study import Study
from optuna.trial import TrialState
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from experiments.cli import entry
from experiments.cli.compose import settings_help
from experiments.cli.entry import FAILED
from experiments.cli.environment import say_what_is_set_aside
from experiments.cli.paths import shown
from experiments.cli.progress import Output, say, say_words, stage
from experiments.cli.signals import first_collected
from experiments.records import journal
from experiments.records.folders import RunFolder, make_folder, write_json
from experiments.records.journal import Journal
from experiments.runs.facts import described, run_facts, settings
from experiments.runs.start import find_extractor, load_data
from experiments.tracking.address import fix_tracking_uri, serve_command
from experiments.tracking.delivery import deliver
from experiments.tracking.feeder import Feeder
from gan.data.dataset import Dataset
from gan.errors import ConfigError, first_line
from gan.evaluation.weights import Weights
from sweeps import pace
from sweeps import shared_study as shared
from sweeps import study as studies
from sweeps.champion import Winner, register, rescore
from sweeps.confirm import Stopped, Verdict, candidates, confirm, judge
from sweeps.confirm_display import ConfirmDisplay
from sweeps.crew import Crew
from sweeps.display import SearchDisplay, short
from sweeps.joined_worker import join
from sweeps.launchers import check_launcher
from sweeps.plan import DEFAULTS, Plan, notices, read_plan
from sweeps.pool import CannotGoOn, Pool, adopt_orphans
from sweeps.settings import Settings
from sweeps.space import Value, brief_value, sampled_params
from sweeps.time_left import duration

if TYPE_CHECKING:
    from sweeps.report import Report

SUGGESTIONS = 5  # that a dry run shows
DELIVERY_SECONDS = 120.0  # how long a finished search waits for MLflow
BEST_SCORE = "search/best_score"  # of the trials so far, at the number of those completed


def main(arguments: list[str]) -> int:
    if {"-h", "--help"} & set(arguments):
        print(f"{__doc__}\n== Settings of a search; all others are run.py's ==\n\n{settings_help(Settings)}")
        return 0
    plan = read_plan(arguments)
    if plan.search.role == "worker":
        return join(arguments)
    studies.check_sampler(plan.search.sampler)
    check_launcher(plan.search.launcher)
    console = Output(highlight=False)
    say_what_is_set_aside(console)
    for notice in notices(plan):
        console.print(Panel(Text(notice), title="warning", style="yellow"))
    if plan.search.dry_run:
        return _dry_run(plan, console)
    fix_tracking_uri()
    plan.records.check_writable()
    config = plan.config
    weights = find_extractor(config.eval.extractor, config.eval.extractor_weights)
    is_file = plan.search.storage is None or plan.search.storage.startswith("sqlite")
    remote = None if is_file else open_storage(plan)  # a server may be away: said before all else
    dataset = load_data(config, plan.records, console)
    folder = RunFolder(plan.records.studies / plan.search.study)
    if plan.search.storage is None and not plan.records.studies_database.exists():
        studies.check_runs_left(plan, ())  # before a database is made
    make_folder(plan.records.root, "records.root")
    storage = remote or open_storage(plan)
    if studies.starts_from_defaults(storage, plan.search.study) and not plan.names_preset:
        plan = read_plan([*arguments, f"experiment={DEFAULTS}"])
    folder.path.mkdir(parents=True, exist_ok=True)
    with folder.owned("search.study"):
        identity = {**plan.identity(), "dataset_sha256": dataset.sha256, "fid_proxy_id": weights.id}
        with _turn(plan):
            study = studies.open_study(storage, plan, identity, lambda words: console.print(words, markup=False))
        with first_collected(_command(plan)) as caught:
            return _Search(plan, study, folder, console, lambda: bool(caught)).run(dataset, weights) or (
                128 + caught[0] if caught else 0
            )


def open_storage(plan: Plan) -> RDBStorage:
    """Where the study is kept. Raises ConfigError."""
    search = plan.search
    if search.storage is None:
        return studies.open_storage(plan.records, search.retries)
    return shared.open_storage(search.storage, search.retries, search.grace_seconds)


def _turn(plan: Plan) -> contextlib.AbstractContextManager[None]:
    """A shared study is begun by one host alone."""
    address = plan.search.storage
    return shared.turn(address, plan.search.study) if address is not None else contextlib.nullcontext()


class _Search:
    """One session of a search."""

    def __init__(
        self, plan: Plan, study: Study, folder: RunFolder, console: Console, should_stop: Callable[[], bool]
    ) -> None:
        self.plan, self.study, self.folder, self.console = plan, study, folder, console
        self.should_stop = should_stop
        self.registered: RunFolder | None = None  # the winner's run
        self.alias = ""  # of its model
        self.rate = 0.0  # updates a second, of all trials together

    def run(self, dataset: Dataset, weights: Weights) -> int:
        """The exit code, but for a signal's."""
        if not self.folder.facts.exists():
            self._write_facts(dataset, weights)
        self.journal = Journal(self.folder)
        self.journal.status("RUNNING")
        feeder = Feeder(self.folder)
        feeder.start()
        status, code = "FAILED", FAILED
        try:
            status, code = self._search()
        except (CannotGoOn, OSError) as error:
            print(f"error: {first_line(error)}", file=sys.stderr)
        except StorageInternalError as error:
            print(f"error: {studies.problem(error)}", file=sys.stderr)
        finally:
            with contextlib.suppress(OSError):  # a full disk was the failure itself, and is reported
                self.journal.status(status)
                self.journal.close()
            delivered = feeder.finish(DELIVERY_SECONDS if status == "FINISHED" else 5.0)
        if status == "KILLED":
            say(self.console, f"stopped; go on with\n         {_command(self.plan)}")
        problem = feeder.problem
        if delivered and status == "FINISHED":  # a trial cannot be delivered before its study is
            quiet = Console(quiet=True)
            runs = self._trial_runs() + ([self.registered] if self.registered is not None else [])
            with stage(self.console, "bringing MLflow up to date"):
                behind = [run.name for run in runs if not deliver(run, quiet)]
            delivered, problem = not behind, ", ".join(behind)
        if not delivered:
            self._say(f"MLflow is behind ({problem}); nothing is lost, deliver the records with")
            say(self.console, "         python experiments/sync.py all")
        if status == "FINISHED":
            self._say_where(feeder)
        return code

    def _search(self) -> tuple[str, int]:
        """MLflow's word for how it ended, and the exit code."""
        plan = self.plan
        if plan.search.storage is None:
            adopt_orphans(self.study, plan.search.retries)
        else:
            shared.publish(self.study, plan, self.folder)
        trials = self.study.get_trials(deepcopy=False)
        done = len([t for t in studies.counted(trials) if t.state.is_finished()])
        goes_on = f", {done} of {plan.budget} trials done" if done else ""
        self._say(f"study    {plan.search.study}{goes_on}")
        cores = f"{plan.threads} core{'s' if plan.threads > 1 else ''}"
        self._say(
            f"search   {plan.budget} trials of up to {plan.search.steps:,} updates, {plan.workers} at a time on {cores} each"
        )
        searched = float(self.study.user_attrs.get(studies.SECONDS, 0.0))
        with SearchDisplay(self.console, plan, trials, searched) as display:
            pool = Pool if plan.search.storage is None else Crew
            finished = pool(plan, self.study, self.folder, _Listeners(display, self)).run(self.should_stop)
            self.rate = display.throughput.rate
        if not finished:
            return "KILLED", 0
        self._close_runs()
        from sweeps.report import write_report  # slow to import: a mistake should be answered before

        done_trials = studies.finished(self.study.get_trials(deepcopy=False))
        if not done_trials:
            print("error: no trial came to its end; the reasons are in the table above", file=sys.stderr)
            write_report(plan, self.study, self.folder, None, None)
            return "FAILED", FAILED
        try:
            with stage(self.console, "scoring the best trial with fresh latents"):
                best = studies.run_of(plan, done_trials[0])
                rescored = rescore(best, plan.config.eval.final_num_images, self._say)
            verdict = self._confirm()
        except Stopped:
            return "KILLED", 0
        with stage(self.console, "drawing the report"):
            report = write_report(plan, self.study, self.folder, verdict, rescored)
        self._record(report, verdict)
        if report.winner is not None:
            with stage(self.console, "registering the winner's generator"):
                self.registered = register(report.winner, plan.search.study, self._say)
            self.alias = report.winner.alias
            self._say_verdict(verdict, report.winner)
        return "FINISHED", 0

    def note(self, event: Mapping[str, Any]) -> None:
        """Keep the best score so far as a curve."""
        if event.get("state") == "COMPLETE":
            done = studies.finished(self.study.get_trials(deepcopy=False))
            scores = {t.number: t.value for t in done if t.value is not None}
            scores[event["trial"]] = event["score"]  # Optuna may know it already, or not yet
            self.journal.scalars(len(scores), {BEST_SCORE: min(scores.values())})

    def _close_runs(self) -> None:
        """No trial that was given up stays RUNNING in MLflow."""
        for run in self._trial_runs():
            if journal.last_status(run.journal) in ("", "RUNNING"):
                with contextlib.suppress(ConfigError), run.owned():  # else it is no orphan: another process is at it
                    records = Journal(run)
                    records.tags({"optuna.trial_state": "FAIL"})
                    records.status("FAILED")
                    records.close()

    def _trial_runs(self) -> list[RunFolder]:
        trials = self.study.get_trials(deepcopy=False)
        states = {studies.run_of(self.plan, trial).name: trial.state for trial in studies.counted(trials)}
        runs = [RunFolder(self.plan.records.runs / name) for name in states]
        # Not those with the settings of an earlier trial again, nor what another host took up and ended.
        return [run for run in runs if run.journal.exists() and not self._ended_elsewhere(run, states[run.name])]

    def _ended_elsewhere(self, run: RunFolder, state: TrialState) -> bool:
        ends = {TrialState.COMPLETE: "FINISHED", TrialState.PRUNED: "KILLED"}.get(state)
        return self.plan.search.storage is not None and ends not in (None, journal.last_status(run.journal))

    def _confirm(self) -> Verdict | None:
        plan = self.plan
        if not plan.search.confirm.seeds:
            return None
        wanted = candidates(plan, self.study.get_trials(deepcopy=False))
        if len(wanted) < 2:
            self._say("confirm  nothing to confirm: no trial but the baseline came to its end")
            return None
        seeds = plan.search.confirm.seeds
        self._say(
            f"confirm  {', '.join(each.title for each in wanted)} on {seeds} fresh seed{'s' if seeds > 1 else ''} each"
        )
        with ConfirmDisplay(self.console, len(wanted) * seeds, plan.search.steps, self.rate) as display:
            confirm(plan, self.folder, wanted, display.event, self.should_stop)
        return judge(wanted, plan.baseline_words)

    def _record(self, report: "Report", verdict: Verdict | None) -> None:
        words = verdict.words() if verdict is not None else "not confirmed"
        self.journal.tags({"verdict": words, "verdict.better": str(verdict is not None and verdict.better).lower()})
        for file in (report.best, report.trials, report.page, *(each.light for each in report.figures.values())):
            if file.exists():
                self.journal.artifact(file)

    def _write_facts(self, dataset: Dataset, weights: Weights) -> None:
        plan = self.plan
        facts = run_facts(plan.config, dataset, weights, self.folder, _command(self.plan))
        space = {f"space.{dimension.key}": dimension.text for dimension in plan.space}
        search = {
            f"search.{key}": value for key, value in vars(plan.search).items() if isinstance(value, int | float | str)
        }
        searched = {dimension.key for dimension in plan.space}
        fixed = {key: value for key, value in settings(plan.config).items() if key not in searched}
        facts["params"] = {**fixed, **search, **space}
        facts["title"] = f"study {plan.search.study}"
        facts["tags"] |= {
            "optuna.study_name": plan.search.study,
            "mlflow.note.content": described(
                _command(self.plan),
                f"A search: its trials are the runs below this one. On {dataset.description}.",
                self.folder,
            ),
        }
        write_json(self.folder.facts, facts)

    def _say(self, text: str) -> None:
        say_words(self.console, text)

    def _say_verdict(self, verdict: Verdict | None, winner: Winner) -> None:
        if verdict is None:
            title = self.plan.baseline_words if winner.is_baseline else f"trial {winner.origin}"
            self._say(f"best     {title}, score {winner.search_score:.4g}: {short(winner.shown)}")
            self._say(f"verdict  {winner.words}")
            return
        table = Table("settings", "mean", "±", "fresh seeds", "in the search", box=None, header_style="bold")
        for each in (verdict.baseline, *verdict.candidates):
            found = f"{each.search_score:.4g}" if each.search_score is not None else ""
            scores = ", ".join(f"{score:.4g}" for score in each.scores)
            spread = "" if math.isnan(each.spread) else f"{each.spread:.2g}"
            table.add_row(each.title, f"{each.mean:.4g}", spread, scores, found)
        self.console.print(table)
        self._say(f"verdict  {winner.words}")
        self._say(f"         {short(winner.shown)}")

    def _say_where(self, feeder: Feeder) -> None:
        folder = self.folder.path
        say(self.console, f"report   {shown(folder / 'report.html')}\nsettings {shown(folder / 'best.yaml')}")
        if (picture := self.folder.plots / "map.png").exists():
            say(self.console, f"map      {shown(picture)}")
        if self.registered is not None:
            say(self.console, f'model    mlflow.pyfunc.load_model("models:/{self.plan.search.study}@{self.alias}")')
        if feeder.delivery.url is not None:
            serve = serve_command(self.plan.records)
            say(self.console, f"browse   {f'{serve}, then ' if serve else ''}{feeder.delivery.url}")


class _Listeners:
    """A `sweeps.pool.Listener` for both who want to know."""

    def __init__(self, display: SearchDisplay, search: _Search) -> None:
        self._display, self._search = display, search

    def event(self, event: dict[str, Any]) -> None:
        self._display.event(event)
        self._search.note(event)

    def refresh(self) -> None:
        self._display.refresh()

    def stopping(self) -> None:
        self._display.stopping()


def _dry_run(plan: Plan, console: Console) -> int:
    table = Table("setting", "space", plan.preset, box=None, header_style="bold")
    for dimension in plan.space:
        table.add_row(dimension.key, dimension.text, brief_value(plan.baseline_shown[dimension.key]))
    console.print(table)
    first = "" if plan.search.sampler == "grid" else f"{plan.baseline_words}, and "
    say(console, f"{first}some of the kind that come first:")
    for number, params in enumerate(_suggestions(plan)):
        say_words(console, f"trial {number}  {short(params)}")
    with stage(console, f"measuring the pace of {plan.workers} trials side by side"):
        try:
            measured = pace.measure(plan)
        except RuntimeError as error:
            print(f"error: the pace cannot be measured: {error}", file=sys.stderr)
            return FAILED
    trial = measured.trial_seconds(plan.search.steps)
    rounds = math.ceil(plan.budget / plan.workers)
    confirm = plan.search.confirm
    again = math.ceil((confirm.top + 1) * confirm.seeds / plan.workers) if confirm.seeds else 0
    say_words(
        console,
        f"time     {1000 * measured.update_seconds:.0f} ms an update with {plan.workers} at a time: about "
        f"{duration(trial)} a trial, {duration(rounds * trial)} for {plan.budget} trials, less what pruning saves, "
        f"and {duration(again * trial)} to confirm",
    )
    return 0


def _suggestions(plan: Plan) -> Iterator[dict[str, Value]]:
    study = optuna.create_study()
    if plan.search.sampler != "grid":
        study.enqueue_trial(plan.baseline, user_attrs={studies.BASELINE: True})
    for number in range(min(SUGGESTIONS, plan.budget)):
        study.sampler = studies.make_sampler(plan, 0, number)
        trial = study.ask()
        sampled_params(plan.space, trial)
        yield dict(studies.shown_params(plan, trial))


def _command(plan: Plan) -> str:
    """What goes on with a search."""
    return shlex.join(["python", "sweeps/optuna_search.py", *plan.command])


def start(main: Callable[[list[str]], int] = main) -> None:
    """A program with every mistake of the user's as one line and exit code 2."""

    def checked(arguments: list[str]) -> int:
        try:
            return main(arguments)
        except StorageInternalError as error:
            print(f"error: {studies.problem(error)}", file=sys.stderr)
            return FAILED

    entry.run(checked)


if __name__ == "__main__":
    start()
