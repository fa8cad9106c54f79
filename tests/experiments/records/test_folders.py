import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from conftest import ROOT
from filelock import FileLock

from experiments.records import folders
from experiments.records.folders import Records, RunFolder, default_root, new_folder, read_json, write_json
from gan.errors import ConfigError


def run_in(records: Records, name: str, run_id: str | None = None) -> RunFolder:
    folder = records.new_run(name, None)
    folder.config.write_text("seed: 0\n")
    if run_id is not None:
        write_json(folder.delivery, {"stores": {"a": {"offset": 0}, "b": {"run_id": run_id}}})
    return folder


def test_the_root_is_the_projects_whatever_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Records.at(None).root == default_root() == ROOT / "mlruns"
    assert Records.at("here").root == tmp_path / "here"


def test_the_records_of_a_link_to_another_disk_have_one_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "big").mkdir()
    (tmp_path / "mlruns").symlink_to(tmp_path / "big")
    monkeypatch.setattr(folders, "ROOT", tmp_path)
    assert Records.at(None).root == Records.at(str(tmp_path / "mlruns")).root == tmp_path / "big"


@pytest.mark.parametrize("content", [b"\xff\xfe x", b"run: 2024-13-45", b"3", b"run: [1"])
def test_a_damaged_winner_is_one_line(content: bytes, tmp_path: Path) -> None:
    study = tmp_path / "studies" / "ships"
    study.mkdir(parents=True)
    (study / "best.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=r"best:ships.*best.yaml is damaged"):
        Records(tmp_path).find_run("best:ships")


def test_a_persons_own_runs_are_named_before_those_of_searches(tmp_path: Path) -> None:
    records = Records(tmp_path)
    run_in(records, "mine")
    trial = run_in(records, "quick-trial-0000")
    write_json(trial.facts, {"parent": "studies/quick"})
    with pytest.raises(ConfigError, match="most recent: mine"):
        records.find_run("nosuch")
    study = records.studies / "quick"
    study.mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"best:nosuch.*searches: none"):
        records.find_run("best:nosuch")
    write_json(study / "run.json", {})
    with pytest.raises(ConfigError, match=r"best:quick.*it has no result yet"):
        records.find_run("best:quick")
    (study / "best.yaml").write_text("run: quick-trial-0000")
    with pytest.raises(ConfigError, match=r"did you mean 'best:quick', the winner of that search"):
        records.find_run("quick")


def test_runs_started_together_get_folders_of_their_own(tmp_path: Path) -> None:
    records = Records(tmp_path)
    folders = [records.new_run(None, "quick") for _ in range(5)]
    assert len({f.name for f in folders}) == 5
    assert all("quick" in f.name for f in folders)


def test_a_name_is_used_once(tmp_path: Path) -> None:
    records = Records(tmp_path)
    folder = records.new_run("mine", None)
    assert folder.path == tmp_path / "runs" / "mine"
    folder.config.touch()
    with pytest.raises(ConfigError, match=r"name must be new; got 'mine' \(resume=mine resumes that run\)"):
        records.new_run("mine", None)


def test_a_name_taken_by_what_is_no_run_says_where(tmp_path: Path) -> None:
    folder = Records(tmp_path).new_run("mine", None)
    folder.config.touch()
    with pytest.raises(ConfigError, match="resume=mine resumes"):
        Records(tmp_path).check_new("mine")
    folder.config.unlink()
    with pytest.raises(ConfigError, match=r"name must be new; got 'mine' \(\S+/mine exists without a run .* remove it"):
        Records(tmp_path).check_new("mine")
    Records(tmp_path).check_new("another")
    Records(tmp_path).check_new(None)


def test_a_run_is_found_by_name_folder_id_and_last(tmp_path: Path) -> None:
    records = Records(tmp_path)
    first, second = run_in(records, "a", "id-a"), run_in(records, "b", "id-b")
    os.utime(first.config, (1, 1))
    assert records.find_run("a") == first
    assert records.find_run(str(first.path)) == first
    assert records.find_run("id-a") == first
    assert records.find_run("last") == second
    assert first.mlflow_run_ids() == ["id-a"]
    assert records.find_run("runs:/id-a") == records.find_run("runs:/id-a/model") == first
    longer = run_in(records, "c3d4", "abcd0123"), run_in(records, "d", "abce4567")
    assert records.find_run("abcd") == records.find_run("runs:/ABCD01") == longer[0]
    assert records.find_run("c3d4") == longer[0]  # a name before an id
    with pytest.raises(ConfigError, match=r"resume must be last, or a run's.*got 'abc'"):
        records.find_run("abc")
    run_in(records, "e", "abcd9999")
    with pytest.raises(ConfigError, match=r"resume must be the id of one run; got 'abcd' \(2 begin with it: e, c3d4\)"):
        records.find_run("abcd")
    for name in ("c3d4", "d", "e"):
        (records.runs / name / "config.yaml").unlink()
    with pytest.raises(ConfigError, match=r"resume must be last, or a run's.*got 'c' \(most recent: b, a\)"):
        records.find_run("c")
    with pytest.raises(ConfigError, match="there are none"):
        Records(tmp_path / "empty").find_run("last")


def test_a_run_outside_of_records_is_not_taken_for_one(tmp_path: Path) -> None:
    """Its grandparent would be taken for records, and their files be written there."""
    site = tmp_path / "www" / "gan" / "mine"
    site.mkdir(parents=True)
    (site / "config.yaml").touch()
    records = Records(tmp_path / "r")
    records.runs.mkdir(parents=True)
    for reference in (str(site), "../../www/gan/mine"):
        with pytest.raises(
            ConfigError, match=r"run must be a folder in the runs/ of some records; got '.*/mine' \(.*move"
        ):
            records.find_run(reference, "run")


def test_a_run_on_another_disk_belongs_to_the_records_with_the_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = Records(tmp_path / "r")
    run_in(records, "mine").path.rename(tmp_path / "disk")
    link = records.runs / "mine"
    link.symlink_to(tmp_path / "disk")
    (tmp_path / "shortcut").symlink_to(records.root)
    monkeypatch.chdir(records.runs)
    for reference in (str(link), "mine", "./mine", f"{tmp_path}/shortcut/runs/mine", "../runs/mine/"):
        found = records.find_run(reference)
        assert (found.path, found.records) == (link, records)


def test_a_run_that_is_removed_meanwhile_is_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = Records(tmp_path)
    first = run_in(records, "first")
    (records.runs / "no-run").mkdir()
    run_in(records, "second")
    look = Path.stat

    def stat(path: Path, **options: bool) -> os.stat_result:  # what removes the second comes between two looks at it
        result = look(path, **options)
        if path.parent.name == "second" and path.name == "config.yaml":
            path.unlink()
        return result

    monkeypatch.setattr(Path, "stat", stat)
    assert first in records.all_runs()
    assert records.all_runs() == [first]


def test_the_order_of_runs_outlives_a_copy_of_the_records(tmp_path: Path) -> None:
    records = Records(tmp_path)
    first, last, damaged = (run_in(records, name) for name in ("first", "last", "damaged"))
    write_json(first.facts, {"created": 5_000})
    write_json(last.facts, {"created": 9_000})
    damaged.facts.write_text("{")
    for run, copied in ((last, 3), (first, 4), (damaged, 7)):  # as `cp -r` and many clouds do
        os.utime(run.config, (copied, copied))
    assert records.all_runs() == [first, damaged, last]
    assert records.find_run("last") == last


def test_samples_are_files_with_a_step(tmp_path: Path) -> None:
    run = run_in(Records(tmp_path), "a")
    run.samples.mkdir()
    for name in ("samples_00000300", "samples_00000020", "samples_best", "samples_1_2", "samples_"):
        (run.samples / f"{name}.png").touch()
    assert list(run.sample_files) == [20, 300]


def test_last_is_a_run_that_somebody_started(tmp_path: Path) -> None:
    records = Records(tmp_path)
    mine, trial = run_in(records, "mine", "id-a"), run_in(records, "gan-trial-0000", "id-b")
    write_json(trial.facts, {"parent": "studies/gan"})
    os.utime(mine.config, (1, 1))
    assert records.find_run("last") == mine
    mine.config.unlink()
    with pytest.raises(ConfigError, match=r"all runs here belong to searches; by name: gan-trial-0000"):
        records.find_run("last")


def test_a_root_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match=r"records\.root must be a folder that can be written; got .*file"):
        Records(tmp_path / "file").check_writable()
    with pytest.raises(ConfigError, match=r"records\.root"):
        Records(tmp_path / "file" / "below").check_writable()
    Records(tmp_path / "new" / "deep").check_writable()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]  # to ask makes nothing


def test_folders_that_are_made_together_have_names_of_their_own(tmp_path: Path) -> None:
    made = {new_folder(Records(tmp_path).multiruns) for _ in range(5)}
    assert len(made) == 5
    assert {path.parent.name for path in made} == {"multirun"}


def test_a_read_only_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)  # as root may write anywhere, ask is all one can do
    with pytest.raises(ConfigError, match="Permission denied"):
        Records(tmp_path).check_writable()


def test_json_files(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"x": 1})
    assert read_json(tmp_path / "a.json") == {"x": 1}
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": 1}


def test_a_list_that_looks_whether_a_run_is_free_makes_nobody_fail(tmp_path: Path) -> None:
    folder = run_in(Records(tmp_path), "a")
    look = FileLock(folder.path / ".lock", thread_local=False)
    look.acquire()
    ends = threading.Timer(0.1, look.release)
    ends.start()
    with folder.owned():
        pass
    ends.join()


def test_a_run_has_one_owner_at_a_time(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from experiments.records.folders import RunFolder\n"
        "with RunFolder(Path(sys.argv[1])).owned(): print('owned', flush=True); sys.stdin.read()"
    )
    folder = run_in(Records(tmp_path), "a")
    command = [sys.executable, "-c", code, str(folder.path)]
    other = subprocess.Popen(
        command, cwd=default_root().parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "owned\n"
    with pytest.raises(ConfigError, match=r"resume must be free; got 'a'"), folder.owned():
        pass
    other.kill()  # as by kill -9: the system gives the lock back
    other.communicate()
    with folder.owned():
        pass


def test_a_name_is_a_run_before_it_is_a_folder_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, other = Records(tmp_path / "here"), Records(tmp_path / "other")
    mine, theirs = run_in(here, "a"), run_in(other, "a")
    monkeypatch.chdir(other.runs)
    assert here.find_run("a") == mine
    assert here.find_run("./a") == theirs
    stray = tmp_path / "stray" / "a"
    stray.mkdir(parents=True)
    (stray / "config.yaml").touch()
    monkeypatch.chdir(stray.parent)
    assert here.find_run("a") == mine


def test_a_run_that_was_removed_is_not_made_anew_by_its_lock(tmp_path: Path) -> None:
    run = run_in(Records(tmp_path), "a")
    shutil.rmtree(run.path)
    with (
        pytest.raises(ConfigError, match=r"run must be one that is there; got 'a' \(it was removed meanwhile\)"),
        run.owned("run"),
    ):
        pass
    assert not run.path.exists()
