"""Workers of a shared study that Ray or SLURM place; SLURM's stand-in is submitit's local executor."""

import importlib.util
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import RunProgram
from optuna.trial import TrialState
from shared_study import SCRIPT, Shared, wait_for

from gan.errors import ConfigError
from sweeps.study import attempts
from sweeps.workers import launchers
from sweeps.workers.protocol import Task

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed (extra ray)")
needs_submitit = pytest.mark.skipif(
    importlib.util.find_spec("submitit") is None, reason="submitit is not installed (extra slurm)"
)


@pytest.mark.parametrize("name", ["ray", "slurm"])
def test_a_launcher_that_is_not_installed_names_its_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
    with pytest.raises(
        ConfigError, match=rf'search.launcher must be one that is installed.*pip install -e "\.\[{name}\]"'
    ):
        launchers.check_launcher(name)


@pytest.mark.parametrize(
    ("end", "expected"),
    [("os.kill(os.getpid(), 9)", (-9, "killed by signal 9 (out of memory?)")), ("sys.exit(1)", (1, "out of reach"))],
)
def test_the_reason_of_a_workers_end_is_known(
    end: str, expected: tuple[int, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "worker.py"
    program.write_text(f"import os, sys\nprint('error: out of reach', flush=True)\n{end}\n")
    monkeypatch.setattr(launchers, "WORKER", program)
    worker = launchers.WorkerProcess(Task([], 0, "trial.py"), tmp_path / "log")
    worker.wait()
    worker.interrupt()
    assert worker.exit() == expected


@needs_ray
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search.ray_address=127.0.0.1:1"], "search.ray_address must be of a Ray cluster that can be reached"),
        pytest.param(
            ["search.ray_address=ray:nowhere"],
            "search.ray_address must be of a Ray cluster that can be reached",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["search.resources.cpus=4096"], "search.resources.cpus must be at most ", marks=pytest.mark.slow
        ),  # Ray is started
    ],
)
def test_mistakes(arguments: list[str], message: str, program: RunProgram, tmp_path: Path) -> None:
    common = ["data=embedded", "search.launcher=ray", f"search.storage=sqlite:///{tmp_path}/s.db"]
    result = program(*common, *arguments, f"records.root={tmp_path / 'records'}", script=SCRIPT)
    assert result.returncode == 2, result.stderr
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


@needs_submitit
def test_slurm_without_sbatch_is_one_line(program: RunProgram, tmp_path: Path) -> None:
    common = ["data=embedded", "search.launcher=slurm", f"search.storage=sqlite:///{tmp_path}/s.db"]
    result = program(*common, f"records.root={tmp_path / 'records'}", script=SCRIPT, PATH="/nowhere")
    assert result.returncode == 2, result.stderr
    assert "search.launcher must be slurm where srun is" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "records").exists()


@pytest.mark.slow
@needs_ray
def test_ray_places_workers(make: Callable[..., Shared]) -> None:
    study = make("search.trials=5", "search.workers=2", "search.launcher=ray", "search.resources.cpus=0.5")
    search = study.search()
    assert search.wait(240) == 0, study.log(search)
    assert [t.state for t in study.attempts()] == [TrialState.COMPLETE] * 5
    assert len({t.user_attrs[attempts.WORKER] for t in study.trials}) == 2


@pytest.mark.slow
@needs_ray
def test_a_stopped_search_ends_its_workers_on_ray_in_order(make: Callable[..., Shared]) -> None:
    study = make(
        "search.trials=3", "search.workers=1", "search.launcher=ray", "search.steps=600", "eval.every_steps=50"
    )
    search = study.search()
    wait_for(lambda: any(t.intermediate_values for t in study.trials), search, study)
    search.send_signal(signal.SIGINT)
    assert search.wait(120) == 130, study.log(search)
    assert [t.state for t in study.trials] == [TrialState.WAITING]
    (interrupted,) = [t for t in study.attempts() if t.state == TrialState.FAIL]
    assert f"{attempts.LEFT}{interrupted.number}" in interrupted.user_attrs


@pytest.fixture
def slurm(make: Callable[..., Shared]) -> Callable[..., Shared]:
    """Makes studies of a search with SLURM's jobs on this machine."""

    def one(*arguments: str) -> Shared:
        study = make(*arguments)
        study.environment = {"LOCAL_SLURM": "1"}
        return study

    return one


@needs_submitit
def test_slurm_runs_workers_as_jobs(slurm: Callable[..., Shared]) -> None:
    study = slurm("search.trials=4", "search.workers=2", "search.launcher=slurm")
    search = study.search()
    assert search.wait(240) == 0, study.log(search)
    assert [t.state for t in study.attempts()] == [TrialState.COMPLETE] * 4
    for file in (study.folder / "records").rglob("*"):
        if file.is_file():
            assert study.password.encode() not in file.read_bytes(), file


@pytest.mark.slow
@needs_submitit
def test_a_preempted_job_saves_its_trial_and_comes_again(slurm: Callable[..., Shared]) -> None:
    import psutil

    study = slurm(
        "search.trials=2", "search.workers=1", "search.launcher=slurm", "search.steps=300", "eval.every_steps=50"
    )
    search = study.search()
    wait_for(lambda: any(t.intermediate_values for t in study.trials), search, study)
    children = psutil.Process(search.pid).children(recursive=True)
    job = [child for child in children if "submitit.core._submit" in child.cmdline()]
    assert job, [child.cmdline() for child in children]
    job[0].send_signal(signal.SIGUSR2)
    assert search.wait(240) == 0, study.log(search)
    states = [t.state for t in study.attempts()]
    assert states.count(TrialState.COMPLETE) == 2
    (preempted,) = [t for t in study.attempts() if t.state == TrialState.FAIL]
    assert f"{attempts.LEFT}{preempted.number}" in preempted.user_attrs
