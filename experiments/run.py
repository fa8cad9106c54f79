"""Train one GAN, or several one after the other.

    python experiments/run.py model.bn_momentum=0.8
    python experiments/run.py -m seed=0,1,2
    python experiments/run.py resume=last

Settings come from conf/ and the command line, through Hydra. They and the data are
checked before anything is written.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from rich.console import Console

from experiments import training
from experiments.compose import complete, compose_config, expand_sweep, parse
from experiments.records import Records
from gan.checkpoint import CheckpointError
from gan.config import ConfigError, describe

USAGE_ERROR = 2


def main(arguments: list[str]) -> int:
    args = get_args_parser().parse_intermixed_args(arguments)
    # Hydra itself takes overrides only in one piece.
    flags = [argument for argument in arguments if argument not in args.overrides]
    if args.help or args.hydra_help or args.shell_completion:
        return _hydra(arguments, lambda _: None)
    if args.multirun:
        jobs = expand_sweep(args.overrides)
        for job in jobs:
            compose_config(job, args.config_dir)
        return _multirun([*flags, *args.overrides], jobs, args.config_dir)
    config = compose_config(args.overrides, args.config_dir)
    arguments = [*flags, *complete(args.overrides, args.config_dir)]
    if args.cfg or args.info:
        return _hydra(arguments, lambda _: None)

    records = Records.at(config.records.root)
    records.check_writable()
    console = Console()
    given = {override.key_or_group: override for override in parse(args.overrides)}
    if config.resume is not None:
        if groups := {"data", "experiment"} & given.keys():
            raise ConfigError("resume", f"without {min(groups)}=, the run has its own", config.resume)
        keys = {key for key in describe() for name in given if key == name or key.startswith(f"{name}.")}
        run = training.resumed_run(config, keys, args.overrides, console)
    else:
        preset = given["experiment"].get_value_element_as_str() if "experiment" in given else None
        dataset = training.load_data(config, records, console)
        run = training.new_run(config, dataset, preset, args.overrides)
    # Hydra keeps its own record of a new run, .hydra/, in the folder that is ready for it.
    place = [f"hydra.run.dir='{_escaped(run.folder.path)}'"]
    if config.resume is not None:
        place.append("hydra.output_subdir=null")
    codes: list[int] = []
    with run.folder.owned():
        _hydra([*arguments, *place], lambda _: codes.append(training.train(run, console)))
    return codes[0]


def _hydra(arguments: list[str], task: "hydra.types.TaskFunction") -> int:
    """Let Hydra do what the arguments say, with its errors raised and not printed."""
    os.environ["HYDRA_FULL_ERROR"] = "1"
    sys.argv[1:] = arguments
    # Hydra finds conf/ relative to the file of the function that it is given.
    hydra.main(version_base="1.3", config_path="../conf", config_name="config")(_in_this_file(task))()
    return 0


def _in_this_file(task: "hydra.types.TaskFunction") -> "hydra.types.TaskFunction":
    def run(config: DictConfig) -> None:
        task(config)

    return run


def _multirun(arguments: list[str], jobs: list[list[str]], config_dir: str | None) -> int:
    """Each run in a process of its own: Keras leaves memory and graphs behind in one."""
    common = set(jobs[0]).intersection(*jobs)
    failures: list[str] = []

    def task(_: DictConfig) -> None:
        assert HydraConfig.get().mode == RunMode.MULTIRUN
        overrides = list(HydraConfig.get().overrides.task)
        flags = ["--config-dir", config_dir] if config_dir else []
        code = _child([sys.executable, str(Path(__file__).resolve()), *flags, *overrides])
        if code in (128 + signal.SIGINT, 128 + signal.SIGTERM):
            sys.exit(code)  # and no run after it
        if code:
            swept = " ".join(each for each in overrides if each not in common)
            failures.append(f"{swept} (exit code {code})")

    _hydra(arguments, task)
    if failures:
        print(f"error: {len(failures)} of {len(jobs)} runs failed: " + "; ".join(failures), file=sys.stderr)
        return 1
    return 0


def _child(command: list[str]) -> int:
    """Run to the end, also when a signal reaches this process: the child then saves its state."""
    process = subprocess.Popen(command)
    before = {
        signal.SIGINT: signal.signal(signal.SIGINT, lambda *_: None),  # the terminal sends it to both
        signal.SIGTERM: signal.signal(signal.SIGTERM, lambda *_: process.terminate()),
    }
    try:
        return process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _escaped(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace("'", "\\'")


def entry() -> None:
    """main() with every mistake of the user's as one line and exit code 2."""
    try:
        sys.exit(main(sys.argv[1:]))
    except (ConfigError, CheckpointError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(USAGE_ERROR)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    entry()
