"""What an attempt resumes from where the run's folder is on another host."""

from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from experiments.records.folders import RunFolder
from experiments.training import snapshot
from gan.errors import ConfigError
from sweeps.spec.read_plan import read_plan
from sweeps.study import attempts
from sweeps.workers import resumption


def resumed(images: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[RunFolder, dict[str, str]]:
    """Prepare a second attempt, whose uploaded state is no archive, in a folder that is not empty."""
    monkeypatch.setattr(resumption, "fetch_file", lambda *_: b"cut off")
    monkeypatch.setattr(resumption, "give_up_run", lambda *_: None)
    space = ["search=custom", "model.dropout=interval(0,0.5)"]
    plan = read_plan([*space, "data=npz", f"data.path={images}", f"records.root={root}"])
    study = optuna.create_study()
    first = study.ask()
    first.set_user_attr(attempts.MLFLOW_RUN, "abc")
    first.set_user_attr(f"{attempts.LEFT}0", "its host died")
    study.tell(first, state=TrialState.FAIL)
    attempts.requeue_lost(plan, study)
    run = RunFolder(plan.records.runs / "gan-trial-0000")
    run.path.mkdir(parents=True)
    run.facts.touch()
    return run, resumption.prepare_resumption(plan, study.ask(), run)


def test_a_damaged_state_is_not_called_missing(npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, tags = resumed(npz, tmp_path / "r", monkeypatch)
    assert "what was uploaded to MLflow is damaged" in tags[attempts.RESUMED]


@pytest.mark.parametrize(("before", "uploaded", "expected"), [
    ("another", 1500, "from step_0001500, uploaded to MLflow"),
    ("another", 500, "from step_0000500 in the run's folder"),
    ("another", None, "from step_0000500 in the run's folder"),
    ("this one", 1500, "from step_0000500 in the run's folder"),
])  # fmt: skip
def test_what_another_host_has_uploaded_since_goes_before_what_is_here(
    before: str, uploaded: int | None, expected: str, npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = read_plan(
        [
            "search=custom", "model.dropout=interval(0,0.5)", "data=npz", f"data.path={npz}",
            f"records.root={tmp_path}", "search.storage=postgresql+psycopg://me@host/db",
            "search.checkpoint_upload_minutes=1",
        ]
    )  # fmt: skip
    runs = [RunFolder(tmp_path / name / "gan-trial-0000") for name in ("runs", "there")]
    for run, step in zip(runs, (500, uploaded or 500), strict=True):
        for file in (run.config, run.facts, run.journal, run.delivery, run.checkpoints.folder / f"step_{step:07d}.npz"):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("{data: {}, eval: {}}" if file == run.config else "{}")
    content = snapshot.pack(runs[1]) if uploaded else None
    monkeypatch.setattr(resumption, "fetch_file", lambda *_: content)
    study = optuna.create_study()
    first = study.ask()
    first.set_user_attr(attempts.MLFLOW_RUN, "abc")
    first.set_user_attr(attempts.HOST, f"{attempts.host() if before == 'this one' else before} 1")
    first.set_user_attr(f"{attempts.LEFT}0", "its host died")
    study.tell(first, state=TrialState.FAIL)
    attempts.requeue_lost(plan, study)
    assert resumption.prepare_resumption(plan, study.ask(), runs[0])[attempts.RESUMED].startswith(expected)


def test_missing_images_cost_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"data\.path"):
        resumed(tmp_path / "none.npz", tmp_path / "r", monkeypatch)
    assert (tmp_path / "r" / "runs" / "gan-trial-0000" / "run.json").exists()
