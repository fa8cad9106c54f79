"""A search from its plan to its trials, with `tests/stub_trial.py` in place of trainings."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from conftest import Started as Program
from optuna.trial import TrialState, create_trial
from stub_searches import RATES, SMALL, Search

from experiments.cli.compose import compose_config
from experiments.records.folders import RunFolder
from gan.errors import ConfigError
from sweeps.display.events import Event, Stopping, TrialBegan, TrialEnded, TrialProgressed, WorkersReduced
from sweeps.spec.read_plan import read_plan
from sweeps.study import attempts, identity, pruners
from sweeps.workers.protocol import CannotGoOn, Started, to_line
from sweeps.workers.supervisor import Supervisor

pytestmark = pytest.mark.usefixtures("forks")


def test_a_search_spends_its_budget_and_finds_the_better_settings(tmp_path: Path) -> None:
    search = Search(tmp_path, RATES, "search.trials=14", "search.workers=1")
    assert search.run()
    assert [t.state for t in search.trials] == [TrialState.COMPLETE] * 14
    assert search.trials[0].params == {"optim.learning_rate": 2e-4}  # the tutorial's
    best = attempts.finished(search.trials)[0]
    assert abs(best.params["optim.learning_rate"] - 3e-4) < 1e-4
    for trial in search.trials:  # the objective is the mean of the last three scores, as the records have them
        steps, scores = search.scores(trial.number)
        assert steps == [2, 4, 6, 8, 10, 12]
        assert trial.value == pytest.approx(sum(scores[-3:]) / 3, rel=1e-12)
        assert trial.intermediate_values[2] == scores[0]
        assert trial.intermediate_values[6] == pytest.approx(sum(scores[:3]) / 3)
    assert search.run()  # nothing is left to do
    assert len(search.study.get_trials()) == 14


def test_one_worker_is_deterministic_and_interruptions_do_not_show(tmp_path: Path) -> None:
    """Stopped twice in the middle of trials, the suggestions and scores are those of a search that never was."""
    arguments = [
        RATES,
        "search.trials=6",
        "search.workers=1",
        "search.steps=60",
        "eval.every_steps=10",
    ]  # 1.2 s a trial
    straight = Search(tmp_path / "a", *arguments)
    straight.run()
    stopped = Search(tmp_path / "b", *arguments)
    for trial, step in ((1, 20), (4, 10)):
        heard = stopped.heard

        def there(trial: int = trial, step: int = step, heard: list[Event] = heard) -> bool:
            origins = {e.number: e.origin for e in heard if isinstance(e, TrialBegan)}
            progress = [e for e in heard if isinstance(e, TrialProgressed)]
            return any(origins[e.number] == trial and e.step >= step for e in progress)

        assert not stopped.run(there)
        assert [t.state for t in stopped.trials][-1] == TrialState.WAITING
    assert stopped.run()
    assert (straight.heard.count(Stopping()), stopped.heard.count(Stopping())) == (0, 2)
    expected, found = ([(attempts.origin(t), t.params, t.value) for t in s.trials] for s in (straight, stopped))
    assert sorted(found, key=lambda row: row[0]) == expected
    assert len(stopped.study.get_trials()) == 8  # two attempts more


def test_two_workers_never_suggest_the_same_and_keep_the_budget(tmp_path: Path) -> None:
    search = Search(tmp_path, RATES, "search.trials=9", "search.workers=2")
    assert search.run()
    assert len(search.study.get_trials()) == 9
    rates = [t.params["optim.learning_rate"] for t in search.trials]
    assert len(set(rates)) == 9


def test_failures_and_kills_are_trials_not_ends(tmp_path: Path) -> None:
    """A NaN is one failed trial; a killed process is tried again from where it was, then given up."""
    search = Search(
        tmp_path,
        "model.dropout=choice(0.25,0.3,0.4,0.2)",
        "search.sampler=grid",
        "search.trials=9",
        "search.workers=2",
    )
    assert search.run()
    by_dropout = {t.params["model.dropout"]: t for t in search.trials}
    assert {d: t.state.name for d, t in by_dropout.items()} == {
        0.25: "COMPLETE",
        0.2: "COMPLETE",
        0.3: "FAIL",
        0.4: "COMPLETE",
    }
    assert by_dropout[0.3].user_attrs[attempts.OUTCOME] == "d_loss is nan at step 1"
    killed = attempts.origin(by_dropout[0.4])
    run = RunFolder(search.plan.records.runs / attempts.run_name("gan", killed))
    assert json.loads((run.path / "stub.json").read_text())["attempts"] == 2
    assert search.scores(killed)[0] == [2, 4, 6, 8, 10, 12]
    assert any(isinstance(e, TrialEnded) and e.reason.startswith("killed by signal 9") for e in search.heard)
    assert len(search.trials) == 4  # each choice once


def test_a_trial_that_lacked_memory_beside_others_is_trained_when_fewer_run(tmp_path: Path) -> None:
    space = "model.dropout=choice(0.25,0.46,0.1)"
    search = Search(tmp_path, space, "search.sampler=grid", "search.trials=3", "search.workers=2")
    assert search.run()
    assert {t.params["model.dropout"]: t.state.name for t in search.trials} == dict.fromkeys(
        (0.25, 0.46, 0.1), "COMPLETE"
    )
    assert any(isinstance(e, TrialEnded) and e.reason == "out of memory" for e in search.heard)


def test_out_of_memory_is_one_trials_end_and_fewer_workers_from_then_on(tmp_path: Path) -> None:
    search = Search(
        tmp_path,
        "model.dropout=choice(0.25,0.45,0.1,0.2)",
        "search.sampler=grid",
        "search.trials=4",
        "search.workers=2",
        "search.seed=9",  # the one that fails comes first: at the end nobody would count the workers
    )
    assert search.run()
    states = {t.params["model.dropout"]: t.state.name for t in search.trials}
    assert states == {0.25: "COMPLETE", 0.45: "FAIL", 0.1: "COMPLETE", 0.2: "COMPLETE"}
    assert [e.workers for e in search.heard if isinstance(e, WorkersReduced)] == [1]


def test_the_last_worker_stays_where_memory_is_not_enough(tmp_path: Path) -> None:
    search = Search(
        tmp_path, "model.dropout=choice(0.25,0.45,0.1)", "search.sampler=grid", "search.trials=3", "search.workers=1"
    )
    assert search.run()
    assert sorted(t.state.name for t in search.trials) == ["COMPLETE", "COMPLETE", "FAIL"]
    assert not [e for e in search.heard if isinstance(e, WorkersReduced)]


def test_the_baseline_is_the_preset_to_the_digit(tmp_path: Path) -> None:
    """The sampler sees trial 0 at 0.8; a trial of 0.8 in every layer is another, and is trained."""
    search = Search(tmp_path, "model.bn_momentum=choice(0.8,0.9)", "search.trials=6", "search.workers=1")
    assert search.run()
    trained = {}
    for trial in search.trials:
        run = RunFolder(search.plan.records.runs / attempts.run_name("gan", attempts.origin(trial)))
        if (run.path / "stub.json").exists():
            model = compose_config(json.loads((run.path / "stub.json").read_text())["overrides"]).model
            trained[attempts.origin(trial)] = model.generator.bn_momentum + model.discriminator.bn_momentum
    assert trained.pop(0) == [0.78, 0.78, 0.82, 0.82, 0.8]
    assert sorted(trained.values()) == [[0.8] * 5, [0.9] * 5]  # each once, however often it is suggested
    begun = [event for event in search.heard if isinstance(event, TrialBegan)]
    params_of = {event.origin: event.params for event in begun}
    assert params_of[0] == {"model.bn_momentum": "0.78/0.82/0.8"}
    assert [event.is_baseline for event in begun] == [True] + [False] * 5


def test_a_trial_killed_too_often_is_given_up(tmp_path: Path) -> None:
    search = Search(
        tmp_path, "model.dropout=choice(0.25,0.4)", "search.sampler=grid", "search.trials=3", "search.retries=0"
    )
    assert search.run()
    killed = [t for t in search.trials if t.params["model.dropout"] == 0.4]
    assert [t.state for t in killed] == [TrialState.FAIL]
    assert search.run()  # and stays so


def test_pruned_trials_save_steps_and_say_why(tmp_path: Path) -> None:
    search = Search(tmp_path, RATES, "search.trials=12", "search.workers=1", "search.pruner=halving")
    assert search.run()
    pruned = [t for t in search.trials if t.state == TrialState.PRUNED]
    assert pruned
    assert search.trials[0].state == TrialState.COMPLETE  # the tutorial's is what the others are compared with
    for trial in pruned:
        last = max(trial.intermediate_values)
        assert last < 12
        assert trial.user_attrs[attempts.OUTCOME] in ("behind at step 4", "behind at step 8")
        assert int(trial.user_attrs[attempts.OUTCOME].split()[-1]) <= last  # it may have scored once more meanwhile


def test_hours_end_the_beginning_of_trials(tmp_path: Path) -> None:
    search = Search(tmp_path, RATES, "search.trials=50", "search.hours=0.0005", "search.workers=1")
    assert search.run()
    assert 1 <= len(search.trials) < 50
    count = len(search.trials)
    assert search.run()  # all sessions together
    assert len(search.trials) == count


def test_workers_that_cannot_start_are_an_error(tmp_path: Path) -> None:
    search = Search(tmp_path, RATES, "search.trials=3", "search.workers=1")
    search.plan.command.append("search.trials=0")  # what a worker reads, and refuses
    with pytest.raises(CannotGoOn, match=r"search\.trials must be.*logs"):
        search.run()


@pytest.mark.parametrize(("dropout", "why"), [(0.35, "No space left on device"), (0.36, "there are no images")])
def test_what_no_settings_can_help_ends_the_search_and_costs_no_trial(dropout: float, why: str, tmp_path: Path) -> None:
    search = Search(
        tmp_path, f"model.dropout=choice(0.25,{dropout})", "search.sampler=grid", "search.trials=3", "search.workers=1"
    )
    with pytest.raises(CannotGoOn, match=f"{why}; the same command resumes"):
        search.run()
    failed = [t for t in search.study.get_trials() if t.state == TrialState.FAIL]
    assert [t.params["model.dropout"] for t in failed] == [dropout]
    assert attempts.OUTCOME not in failed[0].user_attrs
    assert search.trials[-1].state == TrialState.WAITING  # requeued, from where it was


def test_processes_that_die_before_they_start_end_the_search_and_cost_no_trial(tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("import sys; sys.exit(9)")
    search = Search(tmp_path, RATES, "search.trials=3", "search.workers=1")
    with pytest.raises(
        CannotGoOn, match="the last 3 processes of trials ended before an update: ended with exit code 9"
    ):
        search.run(program=broken)
    assert search.run()  # as it is mended
    assert [t.state for t in search.trials] == [TrialState.COMPLETE] * 3
    assert attempts.is_baseline(search.plan, search.trials[0])


def test_trials_whose_processes_all_die_as_they_begin_end_the_search(tmp_path: Path) -> None:
    started = to_line(Started(0)).strip()
    broken = tmp_path / "broken.py"
    broken.write_text(f"import os; print({started!r}, flush=True); os._exit(9)")
    search = Search(tmp_path, RATES, "search.trials=30", "search.workers=1", "search.retries=0")
    with pytest.raises(CannotGoOn, match="the last 3 processes of trials ended before an update"):
        search.run(program=broken)
    assert len(search.study.get_trials()) == 3


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def test_a_search_killed_with_all_its_workers_goes_on(tmp_path: Path) -> None:
    arguments = (RATES, "search.trials=6", "search.workers=2")
    killed = Program(Path(__file__).with_name("session_program.py"), str(tmp_path), *arguments)
    run = tmp_path / "runs" / "gan-trial-0003" / "metrics.jsonl"
    wait_for(lambda: run.exists() and run.stat().st_size > 0)
    killed.process.kill()
    killed.end()
    search = Search(tmp_path, *arguments)
    assert search.run()
    assert [t.state for t in search.trials] == [TrialState.COMPLETE] * 6
    assert not [t for t in search.study.get_trials() if not t.state.is_finished()]
    assert sorted(attempts.origin(t) for t in search.trials) == list(range(6))
    for number in range(6):
        assert search.scores(number)[0] == [2, 4, 6, 8, 10, 12]


def test_a_trial_that_is_left_after_the_look_at_lost_ones_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a worker of a killed search, which saves the state of its trial meanwhile."""
    assert Search(tmp_path, RATES, "search.trials=2", "search.workers=1").run()
    search = Search(tmp_path, RATES, "search.trials=3", "search.workers=1")
    last = search.trials[-1]
    requeue, calls = Supervisor._requeue_lost, []

    def requeue_and_leave(self: Supervisor) -> None:
        requeue(self)
        calls.append(1)
        if len(calls) == 1:
            left = {
                attempts.ORIGIN: 2,
                attempts.BEGUN: 2,
                attempts.WORKER: "here:1",
                f"{attempts.LEFT}2": "interrupted",
            }
            search.study.add_trial(
                create_trial(
                    state=TrialState.FAIL, params=last.params, distributions=last.distributions, user_attrs=left
                )
            )

    monkeypatch.setattr(Supervisor, "_requeue_lost", requeue_and_leave)
    assert search.run()
    assert [(attempts.origin(t), t.state) for t in search.trials] == [(k, TrialState.COMPLETE) for k in range(3)]


def test_a_killed_worker_is_replaced(tmp_path: Path) -> None:
    search = Search(tmp_path, RATES, "search.trials=5", "search.workers=1")
    killed: list[int] = []

    def kill_once() -> bool:
        running = [t for t in search.study.get_trials() if t.number == 1 and t.state == TrialState.RUNNING]
        if running and attempts.STEP in running[0].user_attrs and not killed:
            killed.append(int(running[0].user_attrs[attempts.WORKER].rpartition(":")[2]))
            os.kill(killed[0], signal.SIGKILL)
        return False

    assert search.run(kill_once)
    assert killed
    assert [t.state for t in search.trials] == [TrialState.COMPLETE] * 5
    assert len(search.study.get_trials()) == 6


def test_another_study_is_not_gone_on_with(tmp_path: Path) -> None:
    Search(tmp_path, RATES, "search.trials=3")
    for arguments, message in (
        ([RATES, "search.steps=18"], "search.steps: 12 in the study, 18 now"),
        ([RATES, "train.batch_size=16"], "train.batch_size: 32 in the study, 16 now"),
        (["optim.learning_rate=interval(0.1,0.2)"], r"search.extend=true.*interval\(5e-05, 0.001\)\) in the study"),
        ([RATES, "model.dropout=interval(0,0.5)"], "search.space.model.dropout: absent in the study"),
    ):
        with pytest.raises(ConfigError, match=message):
            Search(tmp_path, *arguments, "search.trials=3")
    wider = Search(tmp_path, RATES, "model.dropout=interval(0,0.5)", "search.extend=true", "search.trials=3")
    assert len(wider.study.get_trials()) == 1
    with pytest.raises(ConfigError, match=r"search\.steps: 12"):
        Search(tmp_path, RATES, "search.steps=18", "search.extend=true", "search.trials=3")
    again = Search(tmp_path, RATES, "model.dropout=interval(0,0.5)", "search.sampler=random", "search.trials=9")
    assert again.plan.budget == 9  # budget, sampler and pruner are free


def test_a_study_that_is_older_than_a_setting_had_its_default(tmp_path: Path) -> None:
    search = Search(tmp_path, RATES, "search.trials=3")
    facts = search.study.user_attrs[identity.IDENTITY]
    old = {key: value for key, value in facts.items() if key not in ("train.loss", "model.generator.width")}
    search.study.set_user_attr(identity.IDENTITY, old)
    with pytest.raises(ConfigError, match=r"train\.loss: bce in the study, hinge now"):
        Search(tmp_path, RATES, "train.loss=hinge", "search.trials=3")
    assert Search(tmp_path, RATES, "search.trials=3").study.user_attrs[identity.IDENTITY] == facts


def test_what_cannot_be_compared_is_not_extended(tmp_path: Path) -> None:
    """A setting that had another value, another scale, other choices."""
    Search(tmp_path, RATES, "model.dropout=0.4", "train.batch_size=choice(16,32)", "search.trials=3").run()
    for arguments, message in (
        (["model.dropout=interval(0,0.5)"], "model.dropout: 0.4 in the study, 0.25 now"),
        (["train.batch_size=64", "model.dropout=0.4"], "train.batch_size: 32 in the study, 64 now"),
        (["model.dropout=0.4", "train.batch_size=choice(16,32,64)"], "train.batch_size must be of the same kind"),
        (["model.dropout=0.4", "optim.learning_rate=interval(5e-5,1e-3)"], "optim.learning_rate must be of the same"),
    ):
        space = [RATES, "train.batch_size=choice(16,32)"][: 1 if arguments[0] == "train.batch_size=64" else 2]
        space += arguments
        with pytest.raises(ConfigError, match=message):
            Search(tmp_path, *space, "search.extend=true", "search.trials=3")


@pytest.mark.parametrize("steps", [1000, 1500, 2500])
def test_halving_begins_at_a_third(steps: int) -> None:
    plan = read_plan(["search=custom", RATES, f"search.steps={steps}", "search.pruner=halving"])
    every = plan.config.eval.every_steps
    study = optuna.create_study(pruner=pruners.make_pruner(plan))
    lengths = []
    for value in range(8):  # each is worse than all before it
        trial = study.ask()
        for step in range(every, steps + 1, every):
            trial.report(float(value), step)
            if trial.should_prune():
                break
        lengths.append(step / steps)
        study.tell(
            trial,
            state=TrialState.PRUNED if step + every <= steps else TrialState.COMPLETE,
            values=None if step + every <= steps else float(value),
        )
    assert min(lengths) == lengths[-1] == pytest.approx(1 / 3, abs=0.01)


def test_runs_of_a_deleted_study_are_not_taken_for_new_ones(tmp_path: Path) -> None:
    Search(tmp_path, RATES, "search.trials=2").run()
    (tmp_path / "studies.db").unlink()
    with pytest.raises(ConfigError, match=r"search.study must be a new name.*gan-trial-0000"):
        Search(tmp_path, RATES, "search.trials=2")


def test_attempts_have_one_vote(tmp_path: Path) -> None:
    """Halving sees a requeued trial once."""
    plan = read_plan([*SMALL, RATES, "search.pruner=halving", f"records.root={tmp_path}"])
    study = optuna.create_study(pruner=pruners.make_pruner(plan))

    def report(value: float) -> optuna.Trial:
        trial = study.ask()
        trial.suggest_float("optim.learning_rate", 5e-5, 1e-3, log=True)
        trial.report(value, 4)
        trial.should_prune()
        return trial

    first = report(3.0)
    study.tell(first, state=TrialState.FAIL)  # interrupted
    attempts.requeue_lost(plan, study)
    again = study.ask()
    again.report(3.0, 4)
    assert pruners.counted_trials(study)[0].number == again.number
    report(1.0)
    second = study.ask()
    second.report(2.0, 4)  # the second of three is out; of four it would be in
    assert second.should_prune()


def test_a_database_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "studies.db").write_text("not a database, but long enough to look at" * 10)
    with pytest.raises(ConfigError, match=r"records.root must be a folder whose studies.db Optuna can use"):
        Search(tmp_path, RATES, "search.trials=3")
    assert (tmp_path / "studies.db").read_text().startswith("not a database")
