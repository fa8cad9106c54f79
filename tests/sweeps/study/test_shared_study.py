"""A study in a database that many share, with `tests/stub_trial.py` in place of trainings."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import optuna
import pytest
from conftest import RunProgram, Started, noise_images
from optuna.trial import TrialState, create_trial
from rich.console import Console
from servers import Postgres
from shared_study import SCRIPT, Shared, wait_for

from experiments.records.folders import RunFolder
from experiments.records.journal import Journal, last_status
from experiments.records.status import RunStatus
from gan.errors import ConfigError, without_password
from sweeps import optuna_search
from sweeps.analysis.champion import find_winner, register, rescore
from sweeps.search.session import SearchSession
from sweeps.spec.read_plan import read_plan
from sweeps.spec.schema import split_password
from sweeps.study import attempts, published
from sweeps.workers.joining import check_own_settings


def test_passwords_are_taken_out_of_addresses() -> None:
    for address, bare in (
        ("postgresql+psycopg://me:s3cret@host:5432/db", "postgresql+psycopg://me@host:5432/db"),
        ("postgresql+psycopg://me:s3%2Fc%40ret@host/db", "postgresql+psycopg://me@host/db"),
        (
            "postgresql+psycopg://me@host/db?password=s3cret&sslmode=require",
            "postgresql+psycopg://me@host/db?sslmode=require",
        ),
    ):
        assert split_password(address)[0] == bare
        assert "s3" not in without_password(f"got '{address}' (no)")
    assert split_password("postgresql+psycopg://me:s3%2Fc%40ret@host/db")[1] == "s3/c@ret"
    assert split_password("postgresql+psycopg://host/db") == ("postgresql+psycopg://host/db", None)
    assert "s3cret" not in str(ConfigError("a.key", "known", "postgresql://me:s3c@s3cret@host/db"))


def test_a_plan_keeps_no_password(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PGPASSWORD", "before")
    plan = read_plan(["search.storage=postgresql+psycopg://me:s3cret@host:5432/db", f"records.root={tmp_path}"])
    assert "s3cret" not in repr(plan)
    assert plan.search.storage == "postgresql+psycopg://me@host:5432/db"
    assert os.environ["PGPASSWORD"] == "s3cret"


def test_a_workers_own_settings_come_before_the_studys() -> None:
    assert published.merged(["data=npz", "data.path=/a", "seed=1"], ["data.path=/b", "records.root=/c"]) == [
        "data=npz", "seed=1", "data.path=/b", "records.root=/c",
    ]  # fmt: skip


def test_code_is_the_same_by_its_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "code_version", lambda: "no commit (01234567)")
    assert published.is_code_of_here("1a2b3c4d5 (01234567)")
    assert not published.is_code_of_here("1a2b3c4d5 (89abcdef)")


def test_a_worker_chooses_what_is_of_its_host_alone() -> None:
    check_own_settings(["search.role=worker", "search.study=gan", "data.path=/b", "train.threads=2", "--config-dir=/c"])
    with pytest.raises(ConfigError, match=r"train\.loss must be left to the study.* got 'hinge'"):
        check_own_settings(["search.role=worker", "train.loss=hinge"])


def test_what_another_host_ended_is_left_alone_here(tmp_path: Path) -> None:
    """A trial of this host was killed, and resumed where no disk is shared."""
    arguments = ["search=custom", "model.dropout=interval(0,0.5)", f"records.root={tmp_path}"]
    plan = read_plan([*arguments, "search.storage=postgresql+psycopg://me@host/db"])
    study = optuna.create_study()
    distributions = {dimension.key: dimension.distribution for dimension in plan.space}
    for number, status in enumerate((RunStatus.RUNNING, RunStatus.FINISHED, RunStatus.RUNNING)):
        params = {"model.dropout": 0.1 * number}
        state = TrialState.RUNNING if number == 2 else TrialState.COMPLETE
        value = None if number == 2 else 9.0
        study.add_trial(create_trial(params=params, distributions=distributions, value=value, state=state))
        journal = Journal(plan.records.new_run(attempts.run_name("gan", number), None))
        journal.status(status)
        journal.close()
    search = SearchSession(plan, study, Console(quiet=True), lambda: False)
    ended, own, going_on = (attempts.run_name("gan", number) for number in range(3))
    assert [run.name for run in search._trial_runs()] == [own, going_on]
    search._close_runs()
    states = [last_status(RunFolder(plan.records.runs / name).journal) for name in (ended, own, going_on)]
    assert states == ["RUNNING", "FINISHED", "FAILED"]
    said: list[str] = []
    assert rescore(RunFolder(plan.records.runs / ended), 20, said.append) is None
    winner = find_winner(plan, study.get_trials(), None)
    assert winner is not None
    assert winner.run.name == ended
    assert register(winner, "gan", said.append) is None
    assert len(said) == 2 and all("host" in words for words in said)


def test_a_worker_may_have_its_own_folder_of_presets(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        folder.mkdir()
    studys = read_plan(["--config-dir", str(folders[0]), "seed=1"]).command
    assert studys == [f"--config-dir={folders[0]}", "seed=1"]
    plan = read_plan(published.merged(studys, [f"--config-dir={folders[1]}"]))
    assert (plan.config_dir, plan.config.seed) == (str(folders[1]), 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search.storage=postgres://me:s3cret@host/db"], "search.storage must be postgresql+psycopg://user@host"),
        (["search.storag=postgresql+psycopg://me:s3cret@host/db"], "did you mean 'search.storage'?"),
        (["search.storage=postgresql+psycopg://me:s3cret@127.0.0.1:1/db"], "search.storage must be a database that Optuna can use"),
        (["search.storage=sqlite:///x.db"], "search.storage must be postgresql+psycopg://user@host"),
        (["search.launcher=ray"], "search.launcher must be local without search.storage"),
        (["search.launcher=rays"], "did you mean 'ray'?"),
        (["search.role=worker"], "search.storage must be the search's own in a worker"),
        (["search.role=worker", "search.trials=9", "search.storage=sqlite:////tmp/x.db"], "search.trials must be left to the study"),
        (["search.launcher=slurm", "search.resources.gpus=0.5", "search.storage=sqlite:////tmp/x.db"], "search.resources.gpus must be a whole number"),
        (["search.grace_seconds=1"], "search.grace_seconds must be at least 12"),
    ],
)  # fmt: skip
def test_mistakes(arguments: list[str], message: str, program: RunProgram, tmp_path: Path) -> None:
    """One line without the password, exit code 2."""
    result = program(*arguments, "data=embedded", f"records.root={tmp_path / 'records'}", script=SCRIPT)
    assert result.returncode == 2, result.stderr
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert "s3cret" not in result.stdout + result.stderr


def test_a_refused_command_makes_no_database(tmp_path: Path) -> None:
    file, root = tmp_path / "w.db", f"records.root={tmp_path / 'records'}"
    with pytest.raises(ConfigError, match=r"begun in this database; got 'gan' \(there: none\)"):
        optuna_search.main(["search.role=worker", f"search.storage=sqlite:///{file}", "data=embedded", root])
    with pytest.raises(ConfigError, match=r"data\.path must be an existing"):
        optuna_search.main([f"search.storage=sqlite:///{file}", "data=cifar10", "data.path=/nowhere", root])
    assert not list(tmp_path.iterdir())


def test_a_wrong_password_is_one_line_without_it(server: Postgres, program: RunProgram, tmp_path: Path) -> None:
    address = server.address("postgres", "wr0ng")
    result = program("data=embedded", f"search.storage={address}", f"records.root={tmp_path}", script=SCRIPT)
    assert result.returncode == 2
    assert 'password authentication failed for user "gan"' in result.stderr
    assert result.stderr.count("\n") == 1
    assert "wr0ng" not in result.stderr


def test_a_study_that_is_not_there(server: Postgres, program: RunProgram, tmp_path: Path) -> None:
    arguments = ["search.role=worker", "search.study=other", f"search.storage={server.fresh()}"]
    result = program(*arguments, f"records.root={tmp_path}", script=SCRIPT)
    assert result.returncode == 2
    assert (
        "search.study must be one that a search has begun in this database; got 'other' (there: none)" in result.stderr
    )


@pytest.mark.usefixtures("forks")
def test_many_make_the_tables_at_once(server: Postgres) -> None:
    bare, password = split_password(server.fresh())
    program, begin = Path(__file__).with_name("open_database.py"), str(time.time() + 3)
    programs = [Started(program, bare, begin, PGPASSWORD=str(password)) for _ in range(8)]
    errors = [each.end()[1] for each in programs]
    assert [each.returncode for each in programs] == [0] * 8, errors


@pytest.mark.slow
def test_two_searches_and_a_worker_keep_one_budget(make: Callable[..., Shared]) -> None:
    """Exactly as many trials as asked for, each suggestion once; no password in anything that is written."""
    study = make("search.trials=9", "search.workers=1")
    first = study.search(root="a")
    wait_for(lambda: published.ARGUMENTS in study.attributes(), first, study)
    second, third = study.search(root="b"), study.worker(root="a")
    for process in (first, second, third):
        assert process.wait(180) == 0, study.log(process)
    assert [t.state for t in study.attempts()] == [TrialState.COMPLETE] * 9
    assert len({t.params["optim.learning_rate"] for t in study.trials}) == 9
    workers = {t.user_attrs[attempts.WORKER] for t in study.trials}
    assert len(workers) == 3
    for name in ("a", "b"):
        assert (study.folder / name / "studies" / "gan" / "report.html").exists()
    written = [p for p in study.folder.rglob("*") if p.is_file() and p.suffix not in (".npz", ".png")]
    assert len(written) > 20
    for file in written:
        assert study.password.encode() not in file.read_bytes(), file


def test_a_killed_worker_is_accounted_for(make: Callable[..., Shared]) -> None:
    """Another resumes its trial from where it was, and says so."""
    study = make("search.trials=4", "search.workers=1", "search.steps=150", "eval.every_steps=25")
    search = study.search()
    wait_for(lambda: len([t for t in study.trials if t.state == TrialState.RUNNING]) == 1, search, study)
    worker = study.worker()
    of_worker = lambda t: t.user_attrs.get(attempts.WORKER, "").endswith(f":{worker.pid}")  # noqa: E731
    wait_for(lambda: any(of_worker(t) and t.intermediate_values for t in study.trials), worker, study)
    (victim,) = [t.number for t in study.trials if of_worker(t) and t.state == TrialState.RUNNING]
    worker.send_signal(signal.SIGKILL)
    assert search.wait(200) == 0, study.log(search)
    assert study.attempts()[victim].state == TrialState.FAIL
    again = [t for t in study.trials if victim in t.system_attrs.get("retry_history", [])]
    assert [t.state for t in again] == [TrialState.COMPLETE]
    assert f"{attempts.KILLED}{victim}" not in again[0].user_attrs  # its own process was not
    assert study.attempts()[victim].user_attrs[f"{attempts.LEFT}{victim}"].endswith(f":{worker.pid} died")
    assert again[0].user_attrs[attempts.RESUMED].startswith("from ")
    assert [t.state for t in study.trials] == [TrialState.COMPLETE] * 4
    assert sorted(attempts.origin(t) for t in study.trials) == [0, 1, 2, 3]


def test_a_worker_that_leaves_hands_its_trial_on(make: Callable[..., Shared]) -> None:
    study = make()
    study.begin()
    worker = study.worker()
    wait_for(lambda: any(t.intermediate_values for t in study.trials), worker, study)
    worker.terminate()
    assert worker.wait(60) == 128 + signal.SIGTERM, study.log(worker)
    assert "its trial is queued for others" in study.log(worker)
    assert [t.state for t in study.trials] == [TrialState.WAITING]
    other = study.worker()
    assert other.wait(120) == 0, study.log(other)
    assert "nothing is left to do" in study.log(other)
    assert [t.state for t in study.trials] == [TrialState.COMPLETE] * 2
    run = json.loads((study.folder / "records" / "runs" / "gan-trial-0000" / "stub.json").read_text())
    assert run["attempts"] >= 2


def test_the_server_may_be_restarted(make: Callable[..., Shared], server: Postgres) -> None:
    study = make("search.trials=4", "search.workers=2", "search.steps=150", "eval.every_steps=10")
    search = study.search()
    wait_for(lambda: sum(bool(t.intermediate_values) for t in study.trials) >= 2, search, study)
    server.stop("immediate")
    time.sleep(4)
    server.start()
    assert search.wait(200) == 0, study.log(search)
    assert [t.state for t in study.trials] == [TrialState.COMPLETE] * 4
    assert len(study.trials) == 4


def test_other_images_and_other_code_are_refused(make: Callable[..., Shared]) -> None:
    study = make()
    study.begin()
    other = study.folder / "other.npz"
    np.savez(other, images=noise_images(64, seed=1))
    worker = study.worker(f"data.path={other}")
    assert worker.wait(60) == 2
    assert "error: data must be on the run's own images; got" in study.log(worker)
    assert "the run has" in study.log(worker)
    study.study.set_user_attr(published.CODE, "abc (12345678)")
    worker = study.worker()
    assert worker.wait(60) == 2
    assert "error: the program must be the study's version, abc (12345678); got '" in study.log(worker)
    assert published.code_version() in study.log(worker)


def test_a_file_does_for_one_host(tmp_path: Path) -> None:
    study = Shared(tmp_path, f"sqlite:///{tmp_path}/shared.db", "search.trials=4", "search.workers=2")
    search = study.search()
    assert search.wait(120) == 0, study.log(search)
    study.address = study.bare
    assert [t.state.name for t in study.trials] == ["COMPLETE"] * 4
    study.close()


def test_a_server_that_is_away_is_said_before_the_data_are_loaded(program: RunProgram, tmp_path: Path) -> None:
    pytest.importorskip("psycopg", reason="psycopg is not installed (extra cluster)")
    address = "search.storage=postgresql+psycopg://gan:secret@127.0.0.1:1/x"
    done = program(address, "data=npz", "data.path=/nowhere", f"records.root={tmp_path / 'records'}", script=SCRIPT)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: search.storage must be a database that Optuna can use")
    assert "secret" not in done.stderr
