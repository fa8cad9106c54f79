import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.cli.progress import TrainingDisplay
from experiments.records import journal as journal_module
from experiments.records.folders import Records, RunFolder
from experiments.records.journal import (
    Artifact,
    Failure,
    Journal,
    Model,
    Record,
    Scalars,
    Score,
    Status,
    Tags,
    Winner,
    all_tags,
    curve,
    from_json,
    last_failure,
    last_status,
    read,
    score_of,
    step_of_model,
    to_json,
)
from experiments.records.status import FailureKind, RunStatus
from gan import metric_names
from gan.checkpoint import Checkpoint
from gan.errors import ConfigError
from gan.tracker import NullTracker, Tracker, Trackers

PIXELS = np.zeros((4, 5, 3), np.uint8)


@pytest.mark.parametrize(
    ("in_run", "final", "score"),
    [
        ({}, {}, None),
        ({10: 4.0, 20: 3.0, 30: 2.0, 40: 1.0}, {}, Score(2.0, 40, False)),
        ({10: 4.0}, {10: 5.0}, Score(5.0, 10, True)),
        ({}, {10: 5.0, 20: 6.0}, Score(6.0, 20, True)),
        ({10: 4.0, 20: 2.0}, {10: 5.0}, Score(3.0, 20, False)),  # resumed after its end
    ],
)
def test_one_score_stands_for_a_run(in_run: dict[int, float], final: dict[int, float], score: Score | None) -> None:
    curves = {metric_names.FID_PROXY: in_run, metric_names.FINAL_FID_PROXY: final}
    assert score_of({name: ([*each], [*each.values()]) for name, each in curves.items() if each}) == score


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return Records(tmp_path).new_run("run", None)


def records(folder: RunFolder) -> list[Record]:
    return [record for record, _ in read(folder.journal, 0)]


def test_everything_is_written_in_order_at_once(folder: RunFolder) -> None:
    journal = Journal(folder)
    journal.image(0, "samples", PIXELS)
    journal.scalars(50, {"train/d_loss": 0.5})
    journal.status(RunStatus.FINISHED)
    journal.close()
    image, scalars, status = records(folder)
    assert isinstance(image, journal_module.Image)
    with Image.open(folder.path / image.file) as saved:
        assert saved.size == (5, 4)
    assert scalars == Scalars(scalars.time, 50, {"train/d_loss": 0.5})
    assert status == Status(status.time, RunStatus.FINISHED)
    assert curve(folder.journal, "train/d_loss") == ([50], [0.5])


def test_a_run_that_wrote_no_records_has_no_values(folder: RunFolder) -> None:
    assert (all_tags(folder.journal), curve(folder.journal, "a"), step_of_model(folder.journal)) == ({}, ([], []), None)
    assert last_status(folder.journal) is None


def test_what_is_there_already_is_not_written_twice(folder: RunFolder) -> None:
    journal = Journal(folder)
    journal.scalars(50, {"a": 1.0})
    journal.scalars(100, {"a": 2.0, "b": 2.0})
    journal.image(100, "samples", PIXELS)
    journal.close()
    again = Journal(folder)  # resumed from step 60
    again.scalars(100, {"a": 2.0, "b": 2.0, "new": 5.0})
    again.image(100, "samples", PIXELS)
    again.scalars(150, {"a": 3.0})
    again.close()
    assert curve(folder.journal, "a") == ([50, 100, 150], [1.0, 2.0, 3.0])
    assert curve(folder.journal, "new") == ([100], [5.0])
    assert sum(isinstance(r, journal_module.Image) for r in records(folder)) == 1


def test_half_a_line_at_the_end_is_dropped(folder: RunFolder) -> None:
    journal = Journal(folder)
    journal.scalars(1, {"a": 1.0})
    journal.close()
    with open(folder.journal, "a") as stream:
        stream.write('{"time": 5, "step": 2, "sca')
    assert len(records(folder)) == 1  # a reader beside the writer sees whole lines only
    again = Journal(folder)
    again.scalars(2, {"a": 2.0})
    again.close()
    assert curve(folder.journal, "a") == ([1, 2], [1.0, 2.0])


def test_zeros_after_a_power_cut_are_dropped(folder: RunFolder) -> None:
    journal = Journal(folder)
    journal.scalars(1, {"a": 1.0})
    journal.close()
    with open(folder.journal, "ab") as stream:
        stream.write(b"\0" * 40 + b"\n" + b"\xff\xfe\n")
    Journal(folder).close()
    assert curve(folder.journal, "a") == ([1], [1.0])


def test_reading_goes_on_from_an_offset(folder: RunFolder) -> None:
    journal = Journal(folder)
    for step in (1, 2, 3):
        journal.scalars(step, {"a": float(step)})
    journal.close()
    offsets = [offset for _, offset in read(folder.journal, 0)]
    assert [r.step for r, _ in read(folder.journal, offsets[0]) if isinstance(r, Scalars)] == [2, 3]
    assert list(read(folder.journal, offsets[-1])) == []


@pytest.mark.parametrize("kind", ["null", "journal", "display", "several"])
def test_every_tracker_takes_every_event(kind: str, folder: RunFolder) -> None:
    """The contract of gan.tracker.Tracker."""
    from rich.console import Console

    journal = Journal(folder)

    def make(kind: str) -> Tracker:
        if kind == "journal":
            return journal
        if kind == "display":
            return TrainingDisplay(Console(quiet=True), steps=2)
        return NullTracker() if kind == "null" else Trackers([make("journal"), make("null")])

    tracker = make(kind)
    tracker.image(0, "samples", PIXELS)
    tracker.tick(1)
    tracker.scalars(1, {"train/d_loss": float("nan"), "eval/fid_proxy": 1e9})
    tracker.tick(2)
    tracker.scalars(2, {})
    journal.close()


def test_late_values_of_any_step_are_written_once(folder: RunFolder) -> None:
    journal = Journal(folder)
    for step, value in ((6, 1.0), (3, 2.0), (6, 9.0)):
        journal.late_scalars(step, {"evaluate/x": value})
    journal.close()
    assert curve(folder.journal, "evaluate/x") == ([3, 6], [2.0, 1.0])


def test_scores_carry_the_id_of_their_extractor(folder: RunFolder) -> None:
    journal = Journal(folder, "cifar_cnn-12345678")
    journal.scalars(1, {"train/d_loss": 0.5})
    journal.scalars(1, {"eval/fid_proxy": 9.0})
    journal.scalars(1, {"final/fid_proxy": 9.0})
    journal.close()
    assert [r.fid_proxy_id for r in records(folder) if isinstance(r, Scalars)] == [
        "",
        "cifar_cnn-12345678",
        "cifar_cnn-12345678",
    ]


def test_records_behind_a_damaged_one_are_not_dropped(folder: RunFolder) -> None:
    journal = Journal(folder)
    for step in (1, 2, 3):
        journal.scalars(step, {"a": float(step)})
    journal.close()
    content = folder.journal.read_bytes()
    lines = content.splitlines(keepends=True)
    for broken in (b"{" + lines[1], b"[1]\n", b"\n", b'{"time": 1, "kind": "dance"}\n'):
        damaged = lines[0] + broken + lines[2]
        folder.journal.write_bytes(damaged)
        for reader in (lambda: Journal(folder), lambda: curve(folder.journal, "a")):
            with pytest.raises(
                ConfigError, match=rf"metrics\.jsonl' \(the line at byte {len(lines[0])} is not a record of a run"
            ):
                reader()
        assert folder.journal.read_bytes() == damaged
    folder.journal.write_bytes(content)
    assert curve(folder.journal, "a")[0] == [1, 2, 3]


def test_a_deleted_folder_is_not_written_to_unseen(folder: RunFolder) -> None:
    journal = Journal(folder)
    journal.scalars(1, {"a": 1.0})
    shutil.rmtree(folder.path)
    with pytest.raises(FileNotFoundError, match="the run's folder was deleted"):
        journal.scalars(2, {"a": 2.0})
    with pytest.raises(FileNotFoundError):
        journal.image(2, "samples", PIXELS)
    with pytest.raises(FileNotFoundError):
        folder.checkpoints.save(Checkpoint(2, {}, {}))
    journal.close()
    assert not folder.path.exists()


@pytest.mark.parametrize(
    ("record", "old"),
    [
        (Scalars(1, 5, {"a": 1.0}), {"step": 5, "scalars": {"a": 1.0}}),
        (Scalars(1, 5, {"a": 1.0}, "cnn"), {"step": 5, "scalars": {"a": 1.0}, "fid_proxy_id": "cnn"}),
        (
            journal_module.Image(1, 5, "samples", "samples/a.png"),
            {"step": 5, "image": "samples", "file": "samples/a.png"},
        ),
        (Artifact(1, "plots/a.png"), {"artifact": "plots/a.png"}),
        (Model(1, "generator.keras"), {"model": "generator.keras"}),
        (Winner(1, "gan", "champion", "better"), {"champion": "gan", "note": "better"}),
        (Tags(1, {"a": "b"}), {"tags": {"a": "b"}}),
        (Status(1, RunStatus.KILLED), {"status": "KILLED"}),
    ],
)
def test_records_are_read_as_they_were_written_and_as_version_0_1_wrote_them(
    record: Record, old: dict[str, object]
) -> None:
    line = json.loads(json.dumps(to_json(record)))
    assert from_json(line) == record
    assert old.items() <= line.items()
    assert from_json({"time": 1, **old}) == record


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("records cannot be written ([Errno 28] No space left on device)", FailureKind.RECORDS),
        ("out of memory: MemoryError. Try a smaller train.batch_size", FailureKind.OUT_OF_MEMORY),
        ("train/d_loss is nan at step 5; last finite checkpoint: step 4. Try", FailureKind.DIVERGED),
        ("failed", FailureKind.OTHER),
    ],
)
def test_a_failure_without_a_kind_is_known_by_its_message(message: str, kind: FailureKind, folder: RunFolder) -> None:
    journal = Journal(folder)
    journal.tags({"failure": message})
    journal.status(RunStatus.FAILED)
    assert last_failure(folder.journal) == Failure(kind, message)
    journal.close()


def test_a_failure_lasts_until_the_run_is_resumed(folder: RunFolder) -> None:
    assert last_status(folder.journal) is None
    journal = Journal(folder)
    journal.failure(FailureKind.OTHER, "out of memory, it says", 7)
    journal.status(RunStatus.FAILED)
    assert last_failure(folder.journal) == Failure(FailureKind.OTHER, "out of memory, it says")
    journal.status(RunStatus.RUNNING)
    assert last_failure(folder.journal) is None
    journal.status(RunStatus.FAILED)  # by a program that broke off
    assert last_failure(folder.journal) == Failure(FailureKind.OTHER, "failed")
    journal.close()
