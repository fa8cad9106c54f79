"""A finished search to look at, without training: its report, and the page of all runs.

    python sweeps/demo.py            (make demo)

The records of a `search=quick` on CIFAR-10's ships come with the program. They are copied
to demo/ in the records, and the pages are written from them as at the end of a search.
"""

import os
import shutil
import sys
import webbrowser
from dataclasses import dataclass, field, replace

import optuna
from rich.console import Console

from experiments import ROOT
from experiments.cli import entry
from experiments.cli.arguments import with_arguments
from experiments.cli.paths import command, shown
from experiments.cli.progress import Output, say, stage
from experiments.records.folders import Records, make_folder
from experiments.reports.ending import say_next
from experiments.reports.index import file_of, refresh
from experiments.settings.rules import setting
from experiments.settings.schema import RecordsConfig
from gan.errors import ConfigError
from sweeps.analysis.champion import rescore
from sweeps.analysis.comparison import compare
from sweeps.analysis.confirm import candidates, confirm
from sweeps.analysis.report import Report, write_report
from sweeps.spec.plan import Plan
from sweeps.spec.read_plan import read_plan
from sweeps.study import attempts, published, storage

SHIPPED = ROOT / "docs" / "demo"
STUDY = "quick"


@dataclass
class Demo:
    open: bool = setting(True, "open the report in a browser, where there is a screen")
    records: RecordsConfig = field(default_factory=RecordsConfig)


def main(args: Demo) -> int:
    console = Output(highlight=False, soft_wrap=True, markup=False)
    records = Records(Records.at(args.records.root).root / "demo")
    make_folder(records.root.parent, "records.root")
    _copy_records(records)
    with stage(console, "drawing the report"):
        report = report_of(records, console)
    refresh(records, console)
    say(console, f"report   {shown(report.page)}\nindex    {shown(file_of(records))}")
    say_next(console, command(Records.at(args.records.root), "sweeps/optuna_search.py", "search=quick"))
    if args.open and has_screen():
        webbrowser.open(report.page.as_uri())
    return 0


def _copy_records(records: Records) -> None:
    """Put the records that ship in place of those of an earlier demo. Raises ConfigError where others are there."""
    names = {run.name for run in records.all_runs()} - {run.name for run in Records(SHIPPED).all_runs()}
    if records.root.exists() and (names or not records.studies_database.exists()):
        rule = "a folder in which demo/ is new or of an earlier demo"
        raise ConfigError("records.root", rule, str(records.root.parent), f"{records.root} holds something else")
    try:
        if records.root.exists():
            shutil.rmtree(records.root)
        shutil.copytree(SHIPPED, records.root)
    except OSError as error:
        raise ConfigError("records.root", "a folder that can be written", str(records.root), str(error)) from error


def report_of(records: Records, console: Console) -> Report:
    """Write the report of the study that comes with the program, as the end of its search does."""
    plan = _plan(records, [f"search.study={STUDY}"])
    study = optuna.load_study(study_name=STUDY, storage=storage.open_storage(plan))
    plan = _plan(records, study.user_attrs[published.ARGUMENTS])
    trials = study.get_trials(deepcopy=False)
    racing = candidates(plan, trials)
    confirm(plan, racing, lambda event: None, lambda: False)  # all of it is recorded: nothing trains
    best = attempts.run_of(plan, attempts.finished(trials)[0])
    rescored = rescore(best, plan.config.eval.final_num_images, console.print)
    # Its commands work with the images and records of this machine.
    overrides, arguments = (
        [each for each in words if not each.startswith(("data", "records."))]
        for words in (plan.fixed_overrides, plan.command)
    )
    plan = replace(plan, fixed_overrides=overrides, command=arguments)
    return write_report(plan, study, compare(racing, plan.baseline_name), rescored)


def _plan(records: Records, arguments: list[str]) -> Plan:
    return read_plan([*arguments, f"records.root={records.root}"])


def has_screen() -> bool:
    """Return whether a browser could be seen: not where only a terminal is, which a text browser would fill."""
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


if __name__ == "__main__":
    entry.run(with_arguments(Demo, main, __doc__))
