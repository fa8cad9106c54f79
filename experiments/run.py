"""Train one GAN, or several one after the other.

    python experiments/run.py model.bn_momentum=0.5
    python experiments/run.py -m seed=0,1,2
    python experiments/run.py resume=last

Settings come from conf/ and the command line, through Hydra. They and the data are
checked before anything is written.
"""

import contextlib
import os
import re
import shlex
import shutil
import sys
from argparse import Namespace
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import cast

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from experiments.cli import entry, hydra_app
from experiments.cli.compose import GROUPS, VERBOSE, compose, compose_config, flags, named_keys, preset_of
from experiments.cli.entry import FAILED, USAGE_ERROR
from experiments.cli.environment import say_what_is_set_aside
from experiments.cli.notify import check_program, notify
from experiments.cli.overrides import (
    as_text,
    clean_ranges,
    expand_sweep,
    parse,
    quote,
    quote_texts,
    quoted_again,
    value_text,
)
from experiments.cli.paths import command
from experiments.cli.progress import Output, say_words
from experiments.cli.signals import first_collected, handled
from experiments.processes.process import PRELOAD, fork_server
from experiments.processes.process import start as start_program
from experiments.records import journal
from experiments.records.folders import Records, new_folder, read_json
from experiments.records.overview import Overview, read_runs
from experiments.records.status import FailureKind, RunState, RunStatus
from experiments.reports.ending import end, end_of_run, say_next
from experiments.reports.groups import MOST_RUNS
from experiments.reports.index import refresh
from experiments.settings.rules import describe, get, text_keys
from experiments.settings.schema import Config
from experiments.tracking.address import fix_tracking_uri
from experiments.training import ancestor, start, train
from gan import metric_names
from gan.checkpoint import CheckpointError
from gan.errors import ConfigError

SHELLS = ("bash", "fish", "zsh")  # that Hydra completes for
RATES = ("optim.learning_rate", "optim.generator_learning_rate", "optim.discriminator_learning_rate")
PART = "GAN_TUNER_PART_OF_MULTIRUN"  # variable of the environment of its runs: which multirun it is
MULTIRUN = "multirun"  # the tag of its runs that says so


def main(arguments: list[str]) -> int:
    args = hydra_app.parse_flags(arguments)
    _check_flags(args)
    if args.help or args.hydra_help or args.shell_completion:
        hydra_app.run_command(args, args.overrides)
        return 0
    fix_tracking_uri()
    overrides = quote_texts(args.overrides, text_keys(Config), GROUPS, args.multirun)
    if args.multirun:
        return _multirun(clean_ranges(overrides), args)

    composed = compose(overrides, args.config_dir)
    if args.cfg or args.info:
        hydra_app.run_command(args, composed.overrides)
        return 0
    if composed.node.hydra.mode == RunMode.MULTIRUN:
        raise ConfigError("hydra.mode", "RUN", "MULTIRUN", "several runs: --multirun")
    config = composed.config
    console = Output()
    say_what_is_set_aside(console)
    check_program("notify", config.notify)
    command, recorded = config.notify, args.overrides
    if command is not None:  # it may hold a secret, and is not recorded
        is_notify = [override.key_or_group == "notify" for override in parse(overrides)]
        recorded = [text for text, is_it in zip(args.overrides, is_notify, strict=True) if not is_it]
        composed = compose(
            [text for text, is_it in zip(overrides, is_notify, strict=True) if not is_it], args.config_dir
        )
        config = composed.config
        config.notify = composed.node.notify = None
    if config.resume is None:
        # What the command on record needs beside overrides, which Hydra takes only in one piece.
        flags = [argument for argument in arguments if argument not in args.overrides]
        run = start.new_run(config, preset_of(overrides), [*flags, *recorded], console)
        with run.folder.owned():
            return _train(run, composed.node, command, console)
    # data={path:...} are settings, and no preset.
    named = {override.key_or_group for override in parse(overrides) if not isinstance(override.value(), dict)}
    if groups := {"data", "experiment"} & named:
        raise ConfigError("resume", f"without {min(groups)}=, the run has its own", config.resume)
    if config.name is not None:
        raise ConfigError("name", "absent with resume, the run keeps its own", config.name)
    folder = Records.at(config.records.root).find_run(config.resume)
    if why := folder.checkpoints.removed_because:
        remedy = f"its checkpoints were removed: {why}; without resume= its settings train anew"
        raise ConfigError("resume", "a run with its checkpoints", config.resume, remedy)
    keys = named_keys(overrides) & describe(Config).keys()
    with folder.owned():
        run = start.resumed_run(folder, config, keys, console)
        return _train(run, composed.node, command, console)


def _check_flags(args: Namespace) -> None:
    for flag, value in (
        ("--config-name", args.config_name),
        ("--config-path", args.config_path),
        ("--experimental-rerun", args.experimental_rerun),
    ):
        if value is not None:
            raise ConfigError(flag, "absent", value, "own presets: --config-dir FOLDER; own runs: resume=")
    if args.config_dir is not None and not Path(args.config_dir).is_dir():
        raise ConfigError("--config-dir", "a folder", args.config_dir)
    asked = {
        "--run": args.run,
        "--multirun": args.multirun,
        "--cfg": args.cfg is not None,
        "--info": args.info is not None,
        "--shell-completion": args.shell_completion,
    }
    several = [flag for flag, is_asked in asked.items() if is_asked]
    if len(several) > 1:
        raise ConfigError("the flags", f"at most one of {', '.join(asked)}", " ".join(several))
    for flag, value in (("--package", args.package), ("--resolve", args.resolve)):
        if value and args.cfg is None and not args.help:
            raise ConfigError(flag, "together with --cfg job", value)
    if args.shell_completion:
        asked_of = [re.fullmatch(f"(install|uninstall|query)=({'|'.join(SHELLS)})", each) for each in args.overrides]
        if not any(asked_of):
            rule = f"with install=, uninstall= or query= and one of {', '.join(SHELLS)}"
            raise ConfigError("--shell-completion", rule, " ".join(args.overrides))
        if any(each.startswith("query=") for each in args.overrides) and "COMP_LINE" not in os.environ:
            remedy = 'which asks by itself after: eval "$(python experiments/run.py -sc install=bash)"'
            raise ConfigError("--shell-completion", "with query= from a shell", " ".join(args.overrides), remedy)


def _train(run: start.Run, node: DictConfig, notified: str | None, console: Console) -> int:
    tags = {journal.BY_HAND: "true"} if run.resumed and run.folder.is_of_study else {}
    if PART in os.environ:
        tags[MULTIRUN] = os.environ[PART]
    with first_collected(run.resume_command) as caught:
        outcome = hydra_app.record(
            node,
            run.folder.path,
            lambda: train.train(run, console, should_stop=lambda: bool(caught), closing_tags=lambda _: tags),
            resumed=run.resumed,
        )
    if PART not in os.environ:  # else the multirun says what is next, and writes the index
        _end(run, outcome, console)
    if outcome.status == RunStatus.KILLED:
        return entry.stopped_by(caught[0])
    notify(notified, outcome_in_words(run.folder.name, outcome), console)
    return 0 if outcome.status == RunStatus.FINISHED else FAILED


def _end(run: start.Run, outcome: train.Outcome, console: Console) -> None:
    """Write the index, and print the command that makes sense now."""
    if outcome.status == RunStatus.FINISHED:
        end_of_run(run.folder.records, console, run.folder.name)
    else:
        refresh(run.folder.records, console)
        say_next(console, run.resume_command if outcome.failure_kind != FailureKind.DIVERGED else _slower(run))


def _slower(run: start.Run) -> str:
    """Return the command of a run that diverged with half of its learning rates."""
    _, program, *arguments = shlex.split(read_json(run.folder.facts)["command"])
    rates = {key: get(run.config, key) for key in RATES}
    shared = rates[RATES[0]]
    halved = [f"{key}={rate / 2:g}" for key, rate in rates.items() if key == RATES[0] or rate not in (None, shared)]
    kept = [word for word in arguments if word.lstrip("+").partition("=")[0] not in ("name", "records.root", *RATES)]
    return command(run.folder.records, program, *kept, *halved)


def outcome_in_words(name: str, outcome: train.Outcome) -> str:
    """Return how a run ended, in a line for a message.

    Args:
        name: of the run.
        outcome: of its training.
    """
    if outcome.status != RunStatus.FINISHED:
        return f"{name} failed at step {outcome.step:,}: {outcome.failure}"
    score = outcome.scores.get(metric_names.FINAL_FID_PROXY)
    return f"{name}: {outcome.step:,} updates" + (f", FID proxy {score:.4g}" if score is not None else "")


def _multirun(overrides: list[str], args: Namespace) -> int:
    """Each run in a process of its own: Keras leaves memory and graphs behind in one."""
    by_text = dict(zip(overrides, parse(overrides), strict=True))
    told = [text for text, override in by_text.items() if override.key_or_group == "notify"]  # Hydra would record it
    if any(by_text[text].is_sweep_override() for text in told):
        raise ConfigError("notify", "one program for all runs", value_text(by_text[told[-1]]), "in quotation marks")
    for override in by_text.values():
        if override.key_or_group == "records.root" and override.is_sweep_override():
            raise ConfigError("records.root", "one folder for all runs", value_text(override))
    # Which is no part of Hydra's jobs.
    verbose = [text for text, override in by_text.items() if override.key_or_group == VERBOSE]
    overrides = [text for text in overrides if text not in told]
    jobs = expand_sweep(overrides)
    lasts: list[dict[str, str]] = []  # of each job
    for job in jobs:
        config = compose_config([*job, *told], args.config_dir)
        lasts.append(_last_by_name(config))
        if len(jobs) > 1 and config.name is not None:
            raise ConfigError("name", "absent in a multirun, where each run gets its own", config.name)
    check_program("notify", config.notify)
    common = {quoted_again(each) for each in set(jobs[0]).intersection(*jobs)}
    codes: list[int] = []
    failures: list[str] = []

    def own_part(job: list[str]) -> str:
        return " ".join([each for each in map(quoted_again, job) if each not in common] or job)

    def task(_: DictConfig) -> None:
        typed = OmegaConf.to_container(HydraConfig.get().overrides.task)  # and not what ${...} in a text would mean
        job = [quoted_again(each) for each in cast(list[str], typed)]
        last = lasts[len(codes)]
        job = [each for each in job if each.partition("=")[0] not in last] + list(last.values())
        code, number = _child([*flags(args.config_dir), *job, *verbose, *told], multirun)
        if number is not None:
            _end_stopped_multirun(records, multirun, [own_part(job) for job in jobs[len(codes) + 1 :]], console)
            sys.exit(entry.stopped_by(number))  # and no run after it
        codes.append(code)
        if code:
            failures.append(f"{own_part(job)} (exit code {code})")

    console = Output()
    say_what_is_set_aside(console)
    records = Records.at(config.records.root)
    multirun = f"{datetime.now():%Y%m%d-%H%M%S}-{os.getpid()}"
    folder: Path | None = None  # of the multirun itself
    if not any(override.key_or_group == "hydra.sweep.dir" for override in parse(overrides)):
        records.check_writable()
        folder = new_folder(records.multiruns)
        overrides = [*overrides, f"hydra.sweep.dir={quote(str(folder))}"]
    with fork_server([PRELOAD]):
        hydra_app.run_command(args, overrides, task)
    if failures:
        print(f"error: {len(failures)} of {len(jobs)} runs failed: " + "; ".join(failures), file=sys.stderr)
    if set(codes) != {USAGE_ERROR}:
        _end_multirun(records, multirun, console)
        return FAILED if failures else 0
    if folder is not None:  # no run began, so there is nothing to record
        shutil.rmtree(folder)
        with contextlib.suppress(OSError):  # others' multiruns are there
            folder.parent.rmdir()
    return USAGE_ERROR


def _last_by_name(config: Config) -> dict[str, str]:
    """Return the settings that are `last`, by key, with the run that this is now: later it is one of the multirun."""
    keys = [key for key in ("resume", ancestor.KEY) if get(config, key) == "last"]
    records = Records.at(config.records.root)
    return {key: as_text(f"{key}={records.find_run('last', key).name}") for key in keys}


def _end_multirun(records: Records, multirun: str, console: Console) -> None:
    """End with the command that compares what was trained.

    Args:
        records: of the runs.
        multirun: the tag of the runs.
        console: where the command is printed.
    """
    made = [run for run in _runs_of(records, multirun) if not run.study and run.score is not None]
    alike = len({run.alike for run in made}) == 1 and 2 <= len(made) <= MOST_RUNS
    words = [run.name for run in reversed(made)] if alike else []
    end(records, console, f"experiments/{'compare' if alike else 'runs'}.py", *words)


def _runs_of(records: Records, multirun: str) -> list[Overview]:
    return [run for run in read_runs(records) if run.tags.get(MULTIRUN) == multirun]


def _end_stopped_multirun(records: Records, multirun: str, not_begun: list[str], console: Console) -> None:
    """Say what was not begun, and end with the command that resumes the run that was stopped."""
    if not_begun:
        say_words(console, f"stopped  before {'; '.join(not_begun)}")
    refresh(records, console)
    stopped = next((run for run in _runs_of(records, multirun) if run.state == RunState.STOPPED), None)
    if stopped is not None:
        say_next(console, command(records, "experiments/run.py", f"resume={stopped.name}"))


def _child(arguments: list[str], multirun: str) -> tuple[int, int | None]:
    """Exit code of a run, and the signal that reached us meanwhile: the run then saves its state."""
    environment = {**os.environ, PART: multirun}
    # In the same session: Ctrl-C and Ctrl-Z are for all.
    process = start_program(Path(__file__), arguments, environment=environment)
    caught: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        process.terminate()  # whether or not it got the same: a terminal sends to both, `kill` to one

    with handled(note):
        code = process.wait()
    return code, caught[0] if caught else None


if __name__ == "__main__":
    entry.run(main, mistakes=(CheckpointError, HydraException))
