"""search.learn_from: ranks of earlier studies guide a new one's sampler, and are in none of its counts."""

from collections.abc import Mapping
from pathlib import Path
from statistics import mean

import optuna
import pytest
from optuna.study import Study
from optuna.trial import TrialState, create_trial

from gan.errors import ConfigError
from sweeps.spec.plan import Plan
from sweeps.spec.read_plan import read_plan
from sweeps.spec.space import Value, sampled_params
from sweeps.study import attempts, identity, samplers, storage
from sweeps.study.learn_from import learn_from
from sweeps.study.learned import LEARNED, earlier_trials, with_learned

SPACE = ["search=custom", "model.dropout=interval(0,0.5)", "train.loss=bce,hinge"]
GOOD = 0.4  # the dropout that scores best


def plan_of(root: Path, study: str, *settings: str, space: list[str] = SPACE) -> Plan:
    return read_plan([*space, f"search.study={study}", f"records.root={root}", *settings])


def score(params: Mapping[str, Value]) -> float:
    return (float(str(params.get("model.dropout", 0))) - GOOD) ** 2 + 0.1 * (params.get("train.loss") == "bce")


def searched(plan: Plan, points: list[dict[str, Value]]) -> Study:
    """Return a study of these points, each with a score at the lowest rung, the better third further on too."""
    study = identity.open_study(storage.open_storage(plan), plan, plan.identity())
    study.ask()
    study.tell(0, state=TrialState.FAIL)
    by_key = {dimension.key: dimension.distribution for dimension in plan.space}
    for params in points:
        paused = {attempts.OUTCOME: f"{attempts.PAUSED}{plan.rungs[0]}"}
        study.add_trial(
            create_trial(
                state=TrialState.PRUNED,
                params=params,
                distributions={key: by_key[key] for key in params},
                intermediate_values={plan.rungs[0]: score(params)},
                user_attrs=paused,
            )
        )
    return study


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    points: list[dict[str, Value]] = [
        {"model.dropout": dropout / 20, "train.loss": loss} for dropout in range(11) for loss in ("bce", "hinge")
    ]
    searched(plan_of(tmp_path, "earlier"), points)
    return tmp_path


def test_trials_of_one_length_are_learned_best_first(earlier: Path) -> None:
    (points,) = learn_from(plan_of(earlier, "now", "search.learn_from=[earlier]")).values()
    assert len(points) == 22
    assert points[0] == {"model.dropout": GOOD, "train.loss": "hinge"}
    assert [score(point) for point in points] == sorted(score(point) for point in points)


def test_settings_that_were_not_searched_have_the_value_of_all_trials(earlier: Path) -> None:
    wider = [*SPACE, "train.label_noise=interval(0,0.3) when train.loss=bce", "model.bn_momentum=interval(0.5,0.99)"]
    plan = plan_of(earlier, "now", "search.learn_from=[earlier]", space=wider)
    (points,) = learn_from(plan).values()
    momenta = (0.78 + 0.78 + 0.82 + 0.82 + 0.8) / 5  # the tutorial's, layer by layer
    assert points[0] == {
        "model.dropout": GOOD, "train.loss": "hinge", "model.bn_momentum": pytest.approx(momenta, abs=0.02)
    }  # fmt: skip
    noisy = next(point for point in points if point["train.loss"] == "bce")
    assert noisy["train.label_noise"] == 0.05
    narrow = plan_of(earlier, "now", "search.learn_from=[earlier]", space=["search=custom", "model.dropout=0.1,0.4"])
    # The loss is not searched here: the better of two trials that are alike now is the first of them.
    assert learn_from(narrow)["earlier"] == [{"model.dropout": dropout} for dropout in (0.4, 0.1, 0.4, 0.1)]


def test_null_and_lists_of_layers_are_numbers_to_a_shared_setting(tmp_path: Path) -> None:
    dim = "model.latent_dim=range(16,129,16)"
    rates = ["search=custom", "optim.generator_learning_rate=null,1e-4", dim]
    searched(plan_of(tmp_path, "rates", space=rates), [{"optim.generator_learning_rate": None, "model.latent_dim": 16}])
    momenta = ["search=custom", "model.generator.bn_momentum=[0.7,0.9],0.9,null", dim]
    searched(
        plan_of(tmp_path, "momenta", space=momenta),
        [{"model.generator.bn_momentum": "[0.7,0.9]", "model.latent_dim": 16}],
    )
    shared = ["search=custom", "optim.learning_rate=interval(1e-4,1e-3)", "model.bn_momentum=interval(0.5,0.95)", dim]
    (points,) = learn_from(plan_of(tmp_path, "now", "search.learn_from=[rates]", space=shared)).values()
    assert points[0]["optim.learning_rate"] == pytest.approx(2e-4)
    (points,) = learn_from(plan_of(tmp_path, "now", "search.learn_from=[momenta]", space=shared)).values()
    assert points[0]["model.bn_momentum"] == pytest.approx(0.8, abs=0.02)


def test_shared_settings_stand_for_those_that_follow_them(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "earlier", space=["search=custom", "optim.learning_rate=interval(1e-5,1e-3)"])
    searched(plan, [{"optim.learning_rate": 4e-4}])
    both = [
        "search=custom",
        *(f"optim.{net}_learning_rate=interval(1e-5,1e-3)" for net in ("generator", "discriminator")),
    ]
    with pytest.raises(
        ConfigError, match=r"search\.learn_from must be studies that searched some of the same settings"
    ):
        learn_from(plan_of(tmp_path, "now", "search.learn_from=[earlier]", space=both))
    plan = plan_of(
        tmp_path, "now", "search.learn_from=[earlier]", space=[*both, "optim.learning_rate=interval(1e-5,1e-3)"]
    )
    assert set(learn_from(plan)["earlier"][0].values()) == {4e-4}


def test_a_sampler_begins_where_the_earlier_study_ended(earlier: Path) -> None:
    def first_scores(*settings: str) -> list[float]:
        plan = plan_of(earlier, "-".join(settings).translate(str.maketrans("=[].", "----")), *settings)
        learned = learn_from(plan)
        study = identity.open_study(storage.open_storage(plan), plan, plan.identity(), learned=learned)
        assert [trial.state for trial in study.trials] == [TrialState.WAITING]  # the baseline: nothing else counts
        found = []
        for number in range(6):
            study.sampler = samplers.make_sampler(plan, number)
            trial = study.ask()
            found.append(score(sampled_params(plan.space, trial)))
            trial.report(found[-1], plan.rungs[0])
            study.tell(trial, found[-1])
        return found[1:]

    for sampler in ("tpe", "priorband", "linear"):
        alone = first_scores(f"search.sampler={sampler}")
        learned = first_scores(f"search.sampler={sampler}", "search.learn_from=[earlier]")
        assert mean(learned) < mean(alone) / 2, sampler


def test_ranks_are_seen_in_place_of_scores(earlier: Path) -> None:
    plan = plan_of(earlier, "now")
    own = create_trial(value=1e9, params={}, distributions={})
    points: list[dict[str, Value]] = [{"model.dropout": 0.4, "train.loss": "hinge"}, {"model.dropout": 2.0}]
    seen = with_learned([own], earlier_trials({"earlier": points}, plan.space))  # 2.0 is outside of the space
    assert [trial.value for trial in seen] == [0.5, 0.5]
    assert seen[0].number < 0
    assert own.value == 1e9


def test_what_was_learned_stays_though_the_earlier_study_is_gone(earlier: Path) -> None:
    plan = plan_of(earlier, "now", "search.learn_from=[earlier]")
    database = storage.open_storage(plan)
    identity.open_study(database, plan, plan.identity(), learned=learn_from(plan))
    optuna.delete_study(study_name="earlier", storage=database)
    again = identity.open_study(database, plan, plan.identity(), learned=learn_from(plan))
    assert len(again.user_attrs[LEARNED]["earlier"]) == 22


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ["search.learn_from=[erlier]"],
            "search.learn_from must be studies of this database; got 'erlier' (did you mean",
        ),
        (["search.learn_from=[now]"], "search.learn_from must be other studies than the search's own; got 'now'"),
        (
            ["search.learn_from=[earlier]", "search.sampler=random"],
            "search.sampler must be one of tpe, priorband, linear, gp with",
        ),
        (
            ["search.learn_from=[earlier]", "train.loss=relativistic,non_saturating"],
            "search.learn_from must be studies with trials in this search's space; got 'earlier' (22 trials with",
        ),
    ],
)
def test_mistakes(earlier: Path, settings: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        learn_from(plan_of(earlier, "now", *settings))
    assert message in str(caught.value)


def test_no_database_is_made_to_look_for_a_study(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"search\.learn_from must be studies of this database; got 'earlier' \(known: none"
    ):
        learn_from(plan_of(tmp_path / "none", "now", "search.learn_from=[earlier]"))
    assert not list(tmp_path.iterdir())
