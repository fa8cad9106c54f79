"""A search whose trials grow, from its plan to its trials, with `tests/stub_trial.py` in place of trainings."""

import json
import math
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from stub_searches import RATES, Search

from experiments.cli.compose import compose_config
from experiments.records.folders import RunFolder, write_json
from gan.errors import ConfigError
from sweeps.display.events import TrialBegan, TrialEnded
from sweeps.spec.read_plan import read_plan
from sweeps.study import attempts, budget, identity, rungs, storage

pytestmark = pytest.mark.usefixtures("forks")

GROWING = [RATES, "search.steps=18", "eval.every_steps=2", "search.min_steps=2", "search.pruner=asha"]  # 2, 6, 18


def state(search: Search, origin: int) -> dict[str, object]:
    """What the stub keeps of a training."""
    run = search.plan.records.runs / attempts.run_name(search.plan.search.study, origin)
    return json.loads((run / "stub.json").read_text())


def test_the_best_train_on_from_where_they_were_paused(tmp_path: Path) -> None:
    search = Search(tmp_path, *GROWING, "search.trials=12", "search.workers=2")
    assert search.run()
    assert len(search.trials) == 12
    steps = {attempts.origin(t): max(t.intermediate_values) for t in search.trials}
    assert steps[0] == 18  # the baseline is never paused
    assert sorted(set(steps.values())) == [2, 6, 18]
    counts = rungs.counts(search.plan.rungs, search.study.get_trials())
    assert counts[2] == 12
    assert counts[6] >= 4
    assert counts[18] >= 2
    for origin, step in steps.items():
        rung = search.plan.rungs.index(step)
        assert state(search, origin)["step"] == step  # not one update more
        assert state(search, origin)["attempts"] == (1 if origin == 0 else rung + 1)
        recorded, scores = search.scores(origin)
        assert recorded == list(range(2, step + 1, 2))  # one run, none of its updates made twice
        assert len(scores) == step // 2
    # Whoever trains on was among the best third of those below when the search ended or before.
    at_first = {attempts.origin(t): t.intermediate_values[2] for t in search.trials}
    best = min(at_first, key=lambda origin: at_first[origin])
    assert steps[best] > 2
    ended = [e for e in search.heard if isinstance(e, TrialEnded)]
    assert {e.state for e in ended} == {"PAUSED", "COMPLETE"}
    assert len(ended) == sum(search.plan.rungs.index(step) + 1 for step in steps.values()) - 2  # the baseline's two
    promoted = [e for e in search.heard if isinstance(e, TrialBegan) and e.promoted_to]
    assert {e.promoted_to for e in promoted} == {6, 18}
    assert search.run()  # nothing is left to do
    assert search.study.best_trial.intermediate_values[18] == search.study.best_value


def test_the_budget_of_updates_is_kept_to_the_update(tmp_path: Path) -> None:
    search = Search(tmp_path, *GROWING, "search.updates=40", "search.workers=2")
    assert search.run()
    spent = sum(int(str(state(search, attempts.origin(t))["step"])) for t in search.trials)
    assert spent == rungs.updates_spent(search.plan, search.study.get_trials())
    assert 40 - search.plan.rungs[0] < spent <= 40


def test_a_longer_search_goes_on_with_the_paused(tmp_path: Path) -> None:
    short = Search(tmp_path, *GROWING, "search.trials=4", "search.workers=1")
    assert short.run()
    before = {attempts.origin(t): max(t.intermediate_values) for t in short.trials}
    longer = Search(tmp_path, *GROWING, "search.trials=8", "search.workers=1")
    assert longer.run()
    after = {attempts.origin(t): max(t.intermediate_values) for t in longer.trials}
    assert len(after) == 8
    assert all(after[origin] >= step for origin, step in before.items())
    assert rungs.next_promotion(longer.plan, longer.study.get_trials(), math.inf) is None


def test_a_search_killed_between_a_pause_and_its_word_trains_no_update_twice(tmp_path: Path) -> None:
    """The trial has saved its state at its rung, but its worker died before the study knew."""
    search = Search(tmp_path, *GROWING, "search.trials=3", "search.workers=1")
    assert search.run()
    trial = next(t for t in search.trials if attempts.paused_at(t) == 2)
    again = search.study.ask(fixed_distributions=trial.distributions)  # as a worker left it
    again.set_user_attr(attempts.ORIGIN, attempts.origin(trial))
    for key, value in (("retry_history", [trial.number]), ("failed_trial", trial.number)):
        search.study._storage.set_trial_system_attr(again._trial_id, key, value)
    again.set_user_attr(attempts.BEGUN, again.number)
    again.set_user_attr(attempts.WORKER, "here:1")
    again.set_user_attr(attempts.HOST, "another boot 1")
    assert search.run()
    last = next(t for t in search.trials if attempts.origin(t) == attempts.origin(trial))
    assert last.number > again.number
    assert attempts.paused_at(last) == 2
    assert state(search, attempts.origin(trial))["step"] == 2
    assert search.scores(attempts.origin(trial))[0] == [2]


def test_a_study_of_the_former_kind_says_how_to_go_on(tmp_path: Path) -> None:
    former = Search(
        tmp_path, RATES, "search.steps=18", "eval.every_steps=2", "search.trials=2", "search.pruner=halving"
    )
    now = read_plan([*former.arguments[:-5], *GROWING, f"records.root={tmp_path}"])
    opened = storage.open_storage(now)
    with pytest.raises(
        ConfigError, match=r"search.pruner=halving continues this one.*search.rungs: absent in the study"
    ):
        identity.open_study(opened, now, now.identity())
    assert identity.settings_of_former_searches(opened, now) == []  # the command line says asha
    unsaid = read_plan(["search=custom", RATES, "eval.every_steps=2", f"records.root={tmp_path}"])
    continued = identity.settings_of_former_searches(opened, unsaid)
    assert continued == ["search.pruner=halving", "search.steps=18"]
    resumed = read_plan([*unsaid.command, *continued])
    identity.open_study(opened, resumed, resumed.identity())


def test_named_settings_come_right_after_the_baseline(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "runs" / "first")
    run.path.mkdir(parents=True)
    write_json(run.facts, {"dataset": {}, "tags": {}})
    OmegaConf.save(
        OmegaConf.structured(compose_config(["experiment=tutorial", "optim.learning_rate=3e-4"])), run.config
    )
    settings = [*GROWING, "search.trials=4", "search.workers=1", "search.start_from=[run:first]"]
    search = Search(tmp_path, *settings)
    assert search.run()
    first, second, *_ = sorted(search.trials, key=lambda trial: attempts.origin(trial))
    assert attempts.is_baseline(search.plan, first)
    assert second.params == {"optim.learning_rate": 3e-4}
    assert second.user_attrs[attempts.NAMED] == "run:first"
    assert len(search.trials) == 4
    again = Search(tmp_path, *settings)
    assert len(again.trials) == 4  # a resumed search has it already


CHOICES = "optim.learning_rate=1e-4,2e-4,3e-4,5e-4"


@pytest.mark.parametrize("seed", [0, 2])
def test_settings_that_are_suggested_again_still_train_on(tmp_path: Path, seed: int) -> None:
    settings = [*GROWING[1:], CHOICES, "search.trials=24", "search.workers=1", f"search.seed={seed}"]
    search = Search(tmp_path, *settings)
    assert search.run()
    own = [trial for trial in search.trials if not attempts.is_repeat(trial)]
    assert len(own) == len({str(trial.params) for trial in own}) < len(search.trials)
    for trial in search.study.get_trials():
        assert not (attempts.is_repeat(trial) and rungs.RUNG in trial.user_attrs)  # a promotion trains
    (best,) = (trial for trial in own if trial.params == {"optim.learning_rate": 3e-4})
    assert max(best.intermediate_values) == 18
    spent = sum(int(str(state(search, attempts.origin(trial))["step"])) for trial in own)
    assert spent == rungs.updates_spent(search.plan, search.study.get_trials())


@pytest.mark.parametrize("updates", [62, 200])
def test_a_small_space_ends_a_search_of_many_updates_within_them(tmp_path: Path, updates: int) -> None:
    """The baseline is suggested again while it trains: it is not trained twice."""
    settings = ["train.loss=bce,hinge", "search.steps=60", "eval.every_steps=2", "search.min_steps=2"]
    budget = ["search.pruner=asha", f"search.updates={updates}", "search.workers=2", "search.seed=1"]
    search = Search(tmp_path, *settings, *budget)
    assert search.run(lambda: len(search.study.get_trials(deepcopy=False)) > 90)
    assert rungs.updates_spent(search.plan, search.study.get_trials()) <= updates
    assert len([trial for trial in search.trials if not attempts.is_repeat(trial)]) <= 2


def test_settings_that_diverged_are_not_trained_again(tmp_path: Path) -> None:
    settings = ["model.dropout=0.25,0.3", *GROWING[1:], "search.trials=12", "search.workers=1"]
    search = Search(tmp_path, *settings)
    assert search.run()
    diverged = [trial for trial in search.trials if trial.params["model.dropout"] == 0.3]
    assert len(diverged) > 1
    assert [trial.state.name for trial in diverged] == ["FAIL"] + ["PRUNED"] * (len(diverged) - 1)
    assert all(attempts.HOPELESS in trial.user_attrs for trial in diverged)


def test_a_space_without_other_settings_goes_on_when_it_is_extended(tmp_path: Path) -> None:
    common = [*GROWING[1:], "search.trials=40", "search.workers=1"]
    search = Search(tmp_path, "model.latent_dim=range(16,33,16)", *common)
    assert search.run()
    begun = len(search.trials)
    assert begun < 40
    assert budget.is_exhausted(search.plan, search.study.get_trials())
    wider = Search(tmp_path, "model.latent_dim=range(16,257,16)", *common, "search.extend=true")
    assert not budget.is_exhausted(wider.plan, wider.study.get_trials())
    assert wider.run()
    assert len(wider.trials) == 40


def test_a_preset_beside_the_baselines_point_is_tried(tmp_path: Path) -> None:
    """The tutorial has momenta layer by layer; in the space they are seen as the one that `defaults` has."""
    space = ["model.bn_momentum=choice(0.7,0.8,0.9)", "model.leaky_relu_alpha=choice(0.1,0.2,0.3)", *GROWING[1:]]
    search = Search(tmp_path, *space, "search.start_from=[defaults]", "search.trials=2", "search.workers=1")
    assert search.run()
    first, second = sorted(search.trials, key=lambda trial: attempts.origin(trial))
    assert first.params == second.params
    assert second.user_attrs[attempts.NAMED] == "defaults"
    assert not attempts.is_repeat(second)


@pytest.mark.parametrize("is_new", [True, False])
def test_a_paused_trial_trains_on_with_its_own_settings_in_an_extended_space(tmp_path: Path, is_new: bool) -> None:
    spaces = [[], ["model.latent_dim=interval(16,256)"]]
    before, after = spaces if is_new else reversed(spaces)
    rest = [*GROWING, "search.workers=1", "search.sampler=random"]
    first = Search(tmp_path, *rest, *before, "search.trials=5")
    assert first.run()
    settings = {origin: state(first, origin)["overrides"] for origin in range(5)}
    wider = Search(tmp_path, *rest, *after, "search.trials=9", "search.extend=true")
    assert wider.run()
    more = {origin for origin in range(5) if state(wider, origin)["step"] != state(first, origin)["step"]}
    promoted = {attempts.origin(t) for t in wider.study.get_trials() if rungs.RUNG in t.user_attrs}
    assert promoted & set(range(5))
    assert more <= promoted
    for origin in promoted & set(range(5)):
        assert set(settings[origin]) - {"train.steps=18"} <= set(state(wider, origin)["overrides"])  # type: ignore[call-overload]
        assert ("latent_dim" in str(state(wider, origin)["overrides"])) is not is_new


def test_a_grid_of_a_study_that_another_sampler_began_has_an_end(tmp_path: Path) -> None:
    space = ["optim.learning_rate=1e-4,2e-4,3e-4", "model.dropout=0,0.25", *GROWING[1:], "search.workers=1"]
    assert Search(tmp_path, *space, "search.sampler=random", "search.trials=6").run()
    grid = Search(tmp_path, *space, "search.sampler=grid", "search.trials=20")
    assert grid.run()
    assert len({str(trial.params) for trial in grid.trials if trial.params}) == 6
