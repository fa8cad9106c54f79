"""The verdict of a search."""

import math

import pytest

from sweeps.confirm import Candidate, judge


def candidate(title: str, *scores: float) -> Candidate:
    return Candidate(title, {"model.dropout": 0.1}, 9.0, list(range(1, len(scores) + 1)), list(scores))


def test_clearly_better_settings_are_called_better() -> None:
    verdict = judge(
        [candidate("tutorial", 20, 21, 22), candidate("trial-0003", 15, 16, 17), candidate("trial-0005", 9, 10, 11)]
    )
    assert verdict is not None
    assert [each.title for each in verdict.candidates] == ["trial-0005", "trial-0003"]
    assert verdict.better
    assert verdict.difference == -11
    assert -13 < verdict.low < -11 < verdict.high < -9
    assert verdict.words().startswith(
        "trial-0005 is better: 10 against 21 for the tutorial's settings (3 and 3 fresh seeds"
    )
    assert verdict.best.spread == pytest.approx(1.0)


def test_luck_is_not_called_better() -> None:
    verdict = judge([candidate("tutorial", 20, 30, 10), candidate("trial-0003", 12, 29, 17)])
    assert verdict is not None
    assert not verdict.better
    assert verdict.low < 0 < verdict.high
    assert "is not shown to be better" in verdict.words()
    worse = judge([candidate("tutorial", 10, 11, 12), candidate("trial-0003", 20, 21, 22)])
    assert worse is not None
    assert "is NOT better than the tutorial's settings: 21 against 11" in worse.words()


def test_settings_that_fail_on_a_seed_are_not_better() -> None:
    failing = candidate("trial-0005", 1, 2)
    failing.failures = ["seed 3: d_loss is nan"]
    sound = candidate("trial-0003", 19, 20, 21)
    verdict = judge([candidate("tutorial", 20, 21, 22), failing, sound])
    assert verdict is not None
    assert verdict.best is sound
    alone = judge([candidate("tutorial", 20, 21, 22), failing])
    assert alone is not None
    assert not alone.better
    assert "is NOT better" in alone.words()
    assert "2 and 3 fresh seeds, 1 more failed" in alone.words()


def test_one_seed_shows_nothing() -> None:
    verdict = judge([candidate("tutorial", 20), candidate("trial-0003", 2)])
    assert verdict is not None
    assert not verdict.better
    assert math.isnan(verdict.high)
    assert "not shown to be better" in verdict.words()


def test_no_verdict_without_scores_of_both() -> None:
    assert judge([candidate("tutorial"), candidate("trial-0003", 2)]) is None
    assert judge([candidate("tutorial", 1, 2), candidate("trial-0003")]) is None
