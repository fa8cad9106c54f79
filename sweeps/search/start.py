"""A search from its command line to its exit code: what every program that searches does."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from optuna.exceptions import StorageInternalError
from rich.panel import Panel
from rich.text import Text

from experiments.cli.entry import stopped_by
from experiments.cli.environment import say_what_is_set_aside
from experiments.cli.notify import check_program, notify
from experiments.cli.progress import Output, say_words
from experiments.cli.signals import first_collected
from experiments.processes.process import fork_server
from experiments.records.folders import make_folder
from experiments.records.status import RunStatus
from experiments.reports.ending import say_next
from experiments.tracking.address import fix_tracking_uri
from experiments.training.ancestor import KEY as INIT_FROM
from experiments.training.ancestor import Ancestor, find_ancestor, settings_of
from experiments.training.start import find_extractor, load_data
from gan.errors import ConfigError, first_line
from sweeps.search.dry_run import dry_run
from sweeps.search.session import SearchSession
from sweeps.search.throughput import CannotMeasure
from sweeps.spec.plan import DEFAULTS, Plan, plan_warnings, resume_command
from sweeps.spec.read_plan import read_plan
from sweeps.study import identity, samplers, storage
from sweeps.study.learn_from import learn_from
from sweeps.study.learned import Learned
from sweeps.workers.launchers import check_launcher
from sweeps.workers.protocol import CannotGoOn

PRELOAD_WORKERS = "sweeps.workers.preload"
# What ends a search half-way, and the words for it.
FAILURES: Mapping[type[Exception], Callable[[Any], str]] = {
    **storage.FAILURES,
    CannotGoOn: first_line,
    CannotMeasure: first_line,
}


def search(plan: Plan, arguments: list[str]) -> int:
    """Search as planned, by the plan of these arguments, and return the exit code. Raises ConfigError and FAILURES."""
    samplers.check_sampler(plan.search.sampler)
    check_launcher(plan.search.launcher)
    plan.start_points()  # a mistake in them is said before anything else
    learned = learn_from(plan)
    ancestor = _ancestor(plan)
    check_program("search.notify", plan.search.notify)
    console = Output(highlight=False)
    say_what_is_set_aside(console)
    for notice in plan_warnings(plan):
        console.print(Panel(Text(notice), title="warning", style="yellow"))
    if plan.search.dry_run:
        dry_run(plan, console, learned)
        say_next(console, resume_command(plan))
        return 0
    with _fork_server(plan):
        return _search(plan, arguments, console, learned, ancestor)


def _ancestor(plan: Plan) -> Ancestor | None:
    """Find the checkpoint that all trials start from, unless the study has its copy.

    Raises:
        ConfigError: if there is none, or the space has networks of other shapes.
    """
    file, reference = plan.ancestor_file, plan.config.train.init_from
    if file is None or reference is None or file.exists():
        return None
    ancestor = find_ancestor(reference, plan.records, plan.config)
    for key in settings_of(ancestor.checkpoint.arrays):
        if any(dimension.key == key for dimension in plan.space):
            raise ConfigError(key, "one value, as all trials start from networks of one shape", "several", INIT_FROM)
    return ancestor


def _fork_server(plan: Plan) -> AbstractContextManager[None]:
    """Return the server that forks workers and trials of this machine."""
    return fork_server([PRELOAD_WORKERS]) if plan.search.launcher == "local" else nullcontext()


def _search(
    plan: Plan, arguments: list[str], console: Output, learned: Learned, ancestor: Ancestor | None = None
) -> int:
    fix_tracking_uri()
    plan.records.check_writable()
    config = plan.config
    weights = find_extractor(config.eval.extractor, config.eval.extractor_weights)
    is_file = plan.search.storage is None or plan.search.storage.startswith("sqlite")
    remote = None if is_file else storage.open_storage(plan)  # a server may be away: said before all else
    dataset = load_data(config, plan.records, console)
    if plan.search.storage is None and not plan.records.studies_database.exists():
        identity.check_runs_left(plan, ())  # before a database is made
    make_folder(plan.records.root, "records.root")
    database = remote or storage.open_storage(plan)
    if identity.starts_from_defaults(database, plan.search.study) and not plan.names_preset:
        arguments = [*arguments, f"experiment={DEFAULTS}"]
        plan = read_plan(arguments)
    if former := identity.settings_of_former_searches(database, plan):
        console.print(
            f"study    {plan.search.study}: begun without promotions, resumed with {' '.join(former)}", markup=False
        )
        plan = read_plan([*arguments, *former])
    for name, points in learned.items():
        say_words(console, f"learns   from {name}, {len(points)} trials in this space")
    plan.folder.path.mkdir(parents=True, exist_ok=True)
    with plan.folder.owned("search.study"):
        facts = {**plan.identity(), "dataset_sha256": dataset.sha256, "fid_proxy_id": weights.id}
        with storage.turn(plan):
            study = identity.open_study(
                database, plan, facts, lambda words: console.print(words, markup=False), learned
            )
        if ancestor is not None and plan.ancestor_file is not None:
            ancestor.copy_to(plan.ancestor_file)
        with (
            first_collected(resume_command(plan)) as caught,
            storage.patient_while(lambda: not caught, lambda words: say_words(console, f"waits    {words}")),
        ):
            session = SearchSession(plan, study, console, lambda: bool(caught))
            try:
                status = session.run(dataset, weights)
            except Exception as error:  # whatever it is, who went away wants to know
                words = next(
                    (say(error) for kind, say in FAILURES.items() if isinstance(error, kind)), first_line(error)
                )
                if caught and isinstance(error, StorageInternalError):
                    say_words(console, f"stopped  while it waited: {words}")
                    say_next(console, resume_command(plan))
                    return stopped_by(caught[0])
                _notify(plan, f"stopped: {words}", console)
                raise
            if status == RunStatus.KILLED:
                return stopped_by(caught[0])
            _notify(plan, session.result, console)
            return 0


def _notify(plan: Plan, words: str, console: Output) -> None:
    notify(plan.search.notify, f"Study {plan.search.study}: {words}", console)
