"""Turns at a study: one at a time, whoever takes them. And Optuna's log."""

import logging
import threading
from pathlib import Path

import optuna
import pytest

from sweeps.spec.read_plan import read_plan
from sweeps.study import optuna_log, storage


def test_a_turn_is_taken_by_one_at_a_time(tmp_path: Path) -> None:
    plan = read_plan(["search=custom", "model.dropout=interval(0,0.5)", f"records.root={tmp_path}"])
    storage.open_storage(plan)
    entered = threading.Event()

    def take() -> None:
        with storage.turn(plan):
            entered.set()

    other = threading.Thread(target=take, daemon=True)
    with storage.turn(plan):
        other.start()
        assert not entered.wait(0.3)
    assert entered.wait(10)
    other.join()


def test_optunas_log_goes_to_a_file_and_nowhere_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    logger = logging.getLogger("optuna")
    before, propagated = logger.handlers, logger.propagate
    try:
        optuna_log.log_to(tmp_path / "optuna.log")
        optuna.logging.get_logger("optuna.study").warning("a trial failed")
        (handler,) = logger.handlers
        handler.close()
    finally:
        logger.handlers, logger.propagate = before, propagated
    assert (tmp_path / "optuna.log").read_text() == "a trial failed\n"
    assert capsys.readouterr() == ("", "")
    assert not caplog.records
