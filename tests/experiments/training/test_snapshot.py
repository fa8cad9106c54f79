"""The state of a run on its way to another host."""

import io
import tempfile
import zipfile
from pathlib import Path

import pytest

from experiments.records.folders import Records, RunFolder, read_json, write_json
from experiments.records.journal import Journal, curve
from experiments.training import snapshot
from experiments.training.facts import read_records
from experiments.training.start import Run


@pytest.fixture
def recorded(untrained_run: Run) -> RunFolder:
    """A run with checkpoints of steps 3 and 6, of which MLflow has something."""
    folder = untrained_run.folder
    journal = Journal(folder)
    journal.scalars(6, {"train/d_loss": 0.5})
    journal.close()
    write_json(folder.delivery, {"stores": {"http://host:5000": {"offset": 0, "refused": [], "run_id": "abcd"}}})
    return folder


def test_another_host_gets_the_newest_state_and_its_own_paths(recorded: RunFolder, tmp_path: Path) -> None:
    there = RunFolder(Records(tmp_path / "there").runs / recorded.name)
    snapshot.unpack(snapshot.pack(recorded), there, ("folder", "/elsewhere"), "/weights.npz")
    assert there.checkpoints.latest().step == 6
    assert curve(there.journal, "train/d_loss") == ([6], [0.5])
    config, facts = read_records(there)
    assert (config.data.source, config.data.path) == ("folder", "/elsewhere")
    assert config.eval.extractor_weights == "/weights.npz"
    assert facts == read_json(recorded.facts)
    (state,) = read_json(there.delivery)["stores"].values()
    assert (state["run_id"], state["restored"]) == ("abcd", True)


def test_a_damaged_state_is_refused_and_makes_no_run(recorded: RunFolder, tmp_path: Path) -> None:
    there = RunFolder(Records(tmp_path / "there").runs / recorded.name)
    content = snapshot.pack(recorded)
    with pytest.raises(ValueError, match="the uploaded state is damaged"):
        snapshot.unpack(content[: len(content) // 2], there, ("npz", None), None)
    assert not there.config.exists()


@pytest.mark.parametrize("lacking", ["step_", "tracking.json"])
def test_a_state_without_one_of_its_files_is_refused_and_writes_nothing(
    lacking: str, recorded: RunFolder, tmp_path: Path
) -> None:
    there = RunFolder(Records(tmp_path / "there").runs / recorded.name)
    part = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(snapshot.pack(recorded))) as whole, zipfile.ZipFile(part, "w") as archive:
        for name in whole.namelist():
            if not Path(name).name.startswith(lacking):
                archive.writestr(name, whole.read(name))
    with pytest.raises(ValueError, match="it lacks a file"):
        snapshot.unpack(part.getvalue(), there, ("npz", None), None)
    assert not there.path.exists()


def test_a_disk_without_room_for_a_snapshot_is_not_the_end_of_snapshots(
    recorded: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "mkdtemp", full)
    assert not snapshot.upload(recorded)


def test_a_run_without_a_checkpoint_has_no_state(recorded: RunFolder) -> None:
    for file in recorded.checkpoints.files():
        file.unlink()
    with pytest.raises(FileNotFoundError, match="no checkpoint yet"):
        snapshot.pack(recorded)
