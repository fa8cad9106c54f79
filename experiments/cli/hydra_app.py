"""What run.py needs of Hydra beside a configuration: its flags, its multirun, its record of a run.

Hydra keeps the parser of its flags, and running an application with other arguments than those of the process, to
itself. This is the only module that uses Hydra's internals; tests/experiments/cli/test_hydra_app.py fails when they
change.
"""

import os
from argparse import ArgumentError, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

from hydra import initialize_config_dir, version
from hydra._internal.callbacks import Callbacks
from hydra._internal.utils import _run_hydra, get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.utils import JobStatus, run_job
from hydra.types import HydraContext, RunMode, TaskFunction
from omegaconf import DictConfig

from experiments.cli.compose import VERSION_BASE
from experiments.cli.environment import CONF
from experiments.cli.overrides import quote
from gan.errors import ConfigError

Result = TypeVar("Result")


def parse_flags(arguments: list[str]) -> Namespace:
    """Return Hydra's flags with the `overrides` among them. Raises ConfigError for a flag that is none."""
    parser = get_args_parser()
    parser.exit_on_error = parser.allow_abbrev = False
    try:
        args, unknown = parser.parse_known_intermixed_args(arguments)
    except ArgumentError as error:
        raise ConfigError(
            error.argument_name or "a flag", "as --help has it", " ".join(arguments), error.message
        ) from error
    if unknown:
        remedy = f"without the dashes: {unknown[0].lstrip('-')}" if "=" in unknown[0] else ""
        raise ConfigError("an argument", "key=value, or a flag that --help lists", unknown[0], remedy)
    return args


def run_command(args: Namespace, overrides: list[str], task: TaskFunction = lambda _: None) -> None:
    """Do what Hydra's flags say: --multirun, --cfg, --info, --help or shell completion.

    Args:
        args: the flags.
        overrides: what Hydra takes in the place of the overrides in `args`.
        task: what a multirun calls for each of its jobs.

    Raises:
        HydraException: as Hydra has it, and prints nothing of it.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"
    version.setbase(VERSION_BASE)
    flags = Namespace(**{**vars(args), "overrides": list(overrides)})
    _run_hydra(flags, get_args_parser(), task, config_path=str(CONF), config_name="config")


def record(node: DictConfig, folder: Path, task: Callable[[], Result], resumed: bool) -> Result:
    """Do a task as a job of Hydra's, with Hydra's record of it in a folder: run.log and, of a new run, .hydra/.

    Args:
        node: the composed configuration with Hydra's own part, which is filled in.
        folder: of the run.
        task: what is done.
        resumed: whether the folder has the .hydra/ of the run's first session.

    Returns:
        What the task returns; what it raises is raised.
    """
    hydra = node.hydra
    hydra.mode = RunMode.RUN
    hydra.run.dir = str(folder)
    hydra.overrides.hydra.extend([f"hydra.run.dir={quote(str(folder))}", "hydra.mode=RUN"])
    if resumed:
        hydra.output_subdir = None
    callbacks = Callbacks(node)
    with initialize_config_dir(str(CONF), version_base=VERSION_BASE):
        context = HydraContext(GlobalHydra.instance().config_loader(), callbacks)
    callbacks.on_run_start(config=node, config_name="config")
    ended = run_job(lambda _: task(), node, job_dir_key="hydra.run.dir", job_subdir_key=None, hydra_context=context)
    callbacks.on_run_end(config=node, config_name="config", job_return=ended)
    if ended.status == JobStatus.FAILED:
        raise ended._return_value  # the property would print words about it
    return cast(Result, ended.return_value)
