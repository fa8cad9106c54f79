"""The winner of a search, scored once more."""

from pathlib import Path

from experiments.records.folders import Records, write_json
from experiments.records.journal import Journal
from experiments.records.status import RunStatus
from sweeps.analysis.champion import rescore


def test_only_the_score_of_so_many_images_and_this_extractor_counts(tmp_path: Path) -> None:
    run = Records(tmp_path).new_run("gan-trial-0000", None)
    write_json(run.facts, {"tags": {"fid_proxy_id": "cifar_cnn-x"}})
    records = Journal(run)
    scores = {"cifar_cnn-x/2000/seed_1": 9.0, "cifar_cnn-x/12000/seed_1": 5.0, "inception-y/2000/seed_1": 60.0}
    records.scalars(500, {f"evaluate/{key}/fid_proxy": score for key, score in scores.items()})
    records.status(RunStatus.FINISHED)
    records.close()
    assert rescore(run, 2000, print) == 9.0
