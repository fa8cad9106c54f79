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

import sys
from collections.abc import Callable

from optuna.exceptions import StorageInternalError
from rich.panel import Panel
from rich.text import Text

from experiments.cli import entry
from experiments.cli.compose import settings_help
from experiments.cli.entry import FAILED
from experiments.cli.environment import say_what_is_set_aside
from experiments.cli.progress import Output
from experiments.cli.signals import first_collected
from experiments.records.folders import RunFolder, make_folder
from experiments.runs.start import find_extractor, load_data
from experiments.tracking.address import fix_tracking_uri
from sweeps.search.dry_run import dry_run
from sweeps.search.session import SearchSession, resume_command
from sweeps.spec.plan import DEFAULTS, plan_warnings, read_plan
from sweeps.spec.schema import Settings
from sweeps.study import identity, samplers, storage
from sweeps.workers.launchers import check_launcher
from sweeps.workers.worker import join


def main(arguments: list[str]) -> int:
    if {"-h", "--help"} & set(arguments):
        print(f"{__doc__}\n== Settings of a search; all others are run.py's ==\n\n{settings_help(Settings)}")
        return 0
    plan = read_plan(arguments)
    if plan.search.role == "worker":
        return join(arguments)
    samplers.check_sampler(plan.search.sampler)
    check_launcher(plan.search.launcher)
    console = Output(highlight=False)
    say_what_is_set_aside(console)
    for notice in plan_warnings(plan):
        console.print(Panel(Text(notice), title="warning", style="yellow"))
    if plan.search.dry_run:
        return dry_run(plan, console)
    fix_tracking_uri()
    plan.records.check_writable()
    config = plan.config
    weights = find_extractor(config.eval.extractor, config.eval.extractor_weights)
    is_file = plan.search.storage is None or plan.search.storage.startswith("sqlite")
    remote = None if is_file else storage.open_storage(plan)  # a server may be away: said before all else
    dataset = load_data(config, plan.records, console)
    folder = RunFolder(plan.records.studies / plan.search.study)
    if plan.search.storage is None and not plan.records.studies_database.exists():
        identity.check_runs_left(plan, ())  # before a database is made
    make_folder(plan.records.root, "records.root")
    database = remote or storage.open_storage(plan)
    if identity.starts_from_defaults(database, plan.search.study) and not plan.names_preset:
        plan = read_plan([*arguments, f"experiment={DEFAULTS}"])
    folder.path.mkdir(parents=True, exist_ok=True)
    with folder.owned("search.study"):
        facts = {**plan.identity(), "dataset_sha256": dataset.sha256, "fid_proxy_id": weights.id}
        with storage.turn(plan):
            study = identity.open_study(database, plan, facts, lambda words: console.print(words, markup=False))
        with first_collected(resume_command(plan)) as caught:
            return SearchSession(plan, study, folder, console, lambda: bool(caught)).run(dataset, weights) or (
                128 + caught[0] if caught else 0
            )


def start(main: Callable[[list[str]], int] = main) -> None:
    """A program with every mistake of the user's as one line and exit code 2."""

    def checked(arguments: list[str]) -> int:
        try:
            return main(arguments)
        except StorageInternalError as error:
            print(f"error: {storage.problem(error)}", file=sys.stderr)
            return FAILED

    entry.run(checked)


if __name__ == "__main__":
    start()
