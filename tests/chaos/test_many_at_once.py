"""Runs and searches that start together on an empty folder: eight and four of them with `make soak`."""

from pathlib import Path

import numpy as np
import optuna
import pytest
from conftest import NARROW, ROOT, SOAK, TESTS, TRIAL_WITHOUT_TRAINING, Started, noise_images
from mlflow import MlflowClient

from experiments.records import journal
from experiments.records.folders import Records, RunFolder

RUNS, SEARCHES, TRIALS = (8, 4, 3) if SOAK else (3, 2, 2)


@pytest.mark.usefixtures("forks")
def test_they_do_not_meet(tmp_path: Path) -> None:
    root, images = tmp_path / "records", tmp_path / "images.npz"
    np.savez(images, images=noise_images(64))
    common = [
        f"records.root={root}",
        "data=npz",
        f"data.path={images}",
        "eval.num_images=20",
        "eval.final_num_images=20",
        *NARROW,
    ]
    train = ["train.steps=4", "train.batch_size=4", "train.log_every_steps=1", "eval.every_steps=2", "train.threads=1"]
    search = ["search=custom", "model.dropout=interval(0,0.5)", f"search.trials={TRIALS}", "search.steps=6"]
    search += ["eval.every_steps=2", "search.workers=1", "search.confirm.seeds=0", "search.pruner=none"]
    programs = [Started(ROOT / "experiments/run.py", *common, *train, f"seed={k}") for k in range(RUNS)]
    programs += [
        Started(TESTS / "stub_search.py", TRIAL_WITHOUT_TRAINING, *common, *search, f"search.study=study-{k}")
        for k in range(SEARCHES)
    ]
    outputs = [program.end(500) for program in programs]
    for program, (out, err) in zip(programs, outputs, strict=True):
        assert program.returncode == 0, out + err
        assert err == ""
        assert "behind" not in out

    records = Records(root)
    client = MlflowClient(f"sqlite:///{records.database}")
    (experiment,) = [e for e in client.search_experiments() if e.name == "gan"]
    assert len(client.search_experiments()) == 2  # and MLflow's own, Default
    runs = client.search_runs([experiment.experiment_id])
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert len(runs) == RUNS + SEARCHES * (1 + TRIALS)
    alone = [folder for folder in records.all_runs() if not folder.name.startswith("study-")]
    assert len(alone) == RUNS
    losses = set()
    for folder in alone:
        steps, values = journal.curve(folder.journal, "train/d_loss")
        assert steps == [1, 2, 3, 4]
        losses.add(tuple(values))
    assert len(losses) == RUNS  # of each seed, in a folder of its own
    for k in range(SEARCHES):
        study = optuna.load_study(study_name=f"study-{k}", storage=f"sqlite:///{records.studies_database}")
        assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * TRIALS
        assert (records.studies / f"study-{k}" / "report.html").exists()
    for folder in [*records.all_runs(), *records.all_studies()]:
        for log in folder.path.rglob("*.log"):
            text = log.read_text()
            assert "locked" not in text, log
            assert "already exists" not in text, log
    assert {RunFolder(p.parent).name for p in root.rglob("run.json")} == {
        folder.name for folder in [*records.all_runs(), *records.all_studies()]
    }
