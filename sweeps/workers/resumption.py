"""Where an attempt at a trial resumes, on whatever host the attempt before it was made."""

import shutil
import socket

from optuna.trial import Trial
from rich.console import Console

from experiments.records.folders import RunFolder, write_json
from experiments.tracking.transfer import fetch_file, give_up_run
from experiments.training import snapshot
from experiments.training.start import load_data
from sweeps.spec.plan import Plan
from sweeps.study import attempts, published


def prepare_resumption(plan: Plan, trial: Trial, run: RunFolder) -> dict[str, str]:
    """Fetch what an attempt resumes from, where it is not here.

    Args:
        plan: of the search.
        trial: the attempt.
        run: of the trial, on this host.

    Returns:
        A tag that says where the attempt resumes; none for a first one.

    Raises:
        ConfigError: where the images are not on this host.
    """
    (history,) = attempts.histories([trial.study.get_trials(deepcopy=False)[trial.number]])
    if not history:
        return {}
    words = _bring_here(plan, trial, run)
    trial.set_user_attr(attempts.RESUMED, words)
    return {attempts.RESUMED: words}


def _bring_here(plan: Plan, trial: Trial, run: RunFolder) -> str:
    """Return where the attempt resumes, in words. Raises ConfigError where the images are not on this host."""
    host, files = socket.gethostname(), run.checkpoints.files() if run.config.is_file() else []
    run_id = trial.user_attrs.get(attempts.MLFLOW_RUN)
    # What this host has may be older than what another one has uploaded since.
    may_be_old = plan.search.checkpoint_upload_minutes is not None and _was_elsewhere(trial)
    here = f"from {files[-1].stem} in the run's folder on {host}" if files else ""
    if here and (run_id is None or not may_be_old):
        return here
    if run_id is None or (not here and run_id in run.mlflow_run_ids()):
        return f"from step 0 on {host}: there was no checkpoint"
    content = fetch_file(run.records, run_id, snapshot.ARTIFACT)
    if here and (content is None or snapshot.checkpoint_in(content) <= files[-1].name):
        return here
    if content:
        dataset = load_data(plan.config, plan.records, Console(quiet=True))
        shutil.rmtree(run.path, ignore_errors=True)
        try:
            place = (dataset.source, dataset.path)
            snapshot.unpack(content, run, place, plan.config.eval.extractor_weights)
            return f"from {run.checkpoints.files()[-1].stem}, uploaded to MLflow, on {host}"
        except (ValueError, KeyError):
            words = f"from step 0 on {host}: the run's folder is not here, and what was uploaded to MLflow is damaged"
    else:
        words = f"from step 0 on {host}: the run's folder is not here, and nothing was uploaded"
    give_up_run(run.records, run_id, words)
    return words


def _was_elsewhere(trial: Trial) -> bool:
    """Return whether the attempt before was on another host."""
    trials = trial.study.get_trials(deepcopy=False)
    (history,) = attempts.histories([trials[trial.number]])
    where = str(trials[history[-1]].user_attrs.get(attempts.HOST, "")).partition(" ")[0]
    return where != attempts.host()


def record_mlflow_run(plan: Plan, trial: Trial, run: RunFolder) -> None:
    """Keep in the study where a trial is recorded, for other hosts, and here where the study is.

    Args:
        plan: of the search.
        trial: that is trained.
        run: of the trial, on this host.
    """
    if not plan.folder.delivery.exists():  # this host has records of its own
        if stores := trial.study.user_attrs.get(published.STORES):
            write_json(plan.folder.delivery, stores)
        return
    ids = run.mlflow_run_ids()
    if ids and trial.user_attrs.get(attempts.MLFLOW_RUN) != ids[-1]:
        trial.set_user_attr(attempts.MLFLOW_RUN, ids[-1])
