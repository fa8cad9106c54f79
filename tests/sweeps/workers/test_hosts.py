"""Hosts that share a database and an MLflow server, but no folder."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import processes_of
from mlflow import MlflowClient
from optuna.trial import TrialState
from servers import Postgres, mlflow_server
from shared_study import Shared, wait_for

from experiments.records import journal
from experiments.records.folders import RunFolder
from experiments.tracking.delivery import in_mlflow
from gan import metric_names
from sweeps.study import attempts


@pytest.mark.parametrize("minutes", ["0.01", pytest.param("null", marks=pytest.mark.slow)])
def test_a_dead_hosts_trial_goes_on_elsewhere(
    minutes: str,
    make: Callable[..., Shared],
    server: Postgres,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From its uploaded state, in the same MLflow run and without a point twice; or from step 0, and the record says so."""
    with mlflow_server(tmp_path, server.fresh()) as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        study = make(
            "search.trials=3", "search.workers=1", "search.steps=160", "eval.every_steps=8",
            f"search.checkpoint_upload_minutes={minutes}",
        )  # fmt: skip
        study.stub = "recorded_trial.py"
        search = study.search(root="a")
        wait_for(lambda: any(t.intermediate_values for t in study.trials), search, study)
        monkeypatch.delenv("MLFLOW_TRACKING_URI")  # the study knows
        worker = study.worker(root="b")
        client = MlflowClient(address)
        taken: list[int] = []

        def handed_over() -> bool:
            for trial in study.trials:
                run = trial.user_attrs.get(attempts.MLFLOW_RUN)
                is_its = str(trial.user_attrs.get(attempts.WORKER)).endswith(f":{worker.pid}")
                if is_its and run and len(trial.intermediate_values) > 4:
                    taken[:] = [trial.number]
                    return minutes == "null" or bool(client.list_artifacts(run, "state"))
            return False

        wait_for(handed_over, worker, study)
        for process in (worker, *processes_of(tmp_path / "b")):
            process.kill()
        assert search.wait(300) == 0, study.log(search)

        (again,) = [t for t in study.trials if taken[0] in t.system_attrs.get("retry_history", [])]
        assert again.state == TrialState.COMPLETE
        words = again.user_attrs[attempts.RESUMED]
        run = RunFolder(tmp_path / "a" / "runs" / attempts.run_name("gan", attempts.origin(again)))
        (run_id,) = run.mlflow_run_ids()
        first = study.attempts()[taken[0]].user_attrs[attempts.MLFLOW_RUN]
        if minutes == "null":
            assert words.startswith("from step 0 on ")
            assert first != run_id
            assert client.get_run(first).info.status == "FAILED"
            assert client.get_run(first).data.tags["taken_up"] == words
        else:
            assert words.startswith("from step_0") and "uploaded to MLflow" in words
            assert first == run_id
        tags = client.get_run(run_id).data.tags
        assert tags["taken_up"] == words
        assert tags["optuna.trial_state"] == "COMPLETE"
        steps, scores = journal.curve(run.journal, metric_names.FID_PROXY)
        assert steps == list(range(8, 161, 8))
        history = client.get_metric_history(run_id, metric_names.FID_PROXY)
        points = [(step, in_mlflow(metric_names.FID_PROXY, score)) for step, score in zip(steps, scores, strict=True)]
        assert [(point.step, point.value) for point in history] == points
        assert again.value == pytest.approx(np.mean(scores[-3:]))
        (experiment,) = [e for e in client.search_experiments() if e.name == "gan"]
        runs = client.search_runs([experiment.experiment_id])
        (parent,) = [r for r in runs if r.info.run_name == "study gan"]
        others = [r for r in runs if r is not parent]
        assert {r.data.tags["mlflow.parentRunId"] for r in others} == {parent.info.run_id}
        assert all(r.info.status in ("FINISHED", "FAILED") for r in runs)
        assert study.password not in "".join(str(r.data) for r in runs)
