"""The table of trials on terminals of any width and height."""

import io
import re

import pytest
import yaml
from conftest import ROOT
from rich.console import Console

from sweeps.display.table import Progress, Row, TrialsTable, best_of, three_digits
from sweeps.spec.space import Value

FOUR = ("model.bn_momentum", "model.leaky_relu_alpha", "train.label_noise", "optim.learning_rate")
EIGHT = (*FOUR, "model.dropout", "train.loss", "model.generator.width", "model.discriminator.width")
OPTIONS = tuple(yaml.safe_load((ROOT / "conf" / "search" / "levers.yaml").read_text())["space"])
VALUES: dict[str, Value] = {"train.loss": "non_saturating", "optim.learning_rate": 2.13456e-4}
REASON = "d_loss is nan at step 1200; last finite checkpoint: step 1000. Try a lower optim.learning_rate"


def rows(keys: tuple[str, ...]) -> list[Row]:
    """Twenty of which the third is the best, one was pruned, one failed, and the last are running."""
    lines = []
    for number in range(20):
        params = {key: VALUES.get(key, 0.8123456) for key in keys}
        row = Row(number, params, "", "COMPLETE", 1500, 20.0 + abs(number - 3) * 3.21)
        lines.append(row)
    lines[15] = Row(15, lines[15].params, "", "PRUNED", 500, 104.3, "behind at step 500")
    lines[16] = Row(16, lines[16].params, "", "FAIL", reason=REASON)
    layers: dict[str, Value] = {"model.bn_momentum": "0.78/0.82/0.8", "model.leaky_relu_alpha": "0.2/0.25"}
    lines[14] = Row(14, {**lines[14].params, **layers}, "tutorial", "COMPLETE", 1500, 60.0)
    for number in (18, 19):
        lines[number] = Row(number, lines[number].params, "", "RUNNING", 1000, 40.0)
    return lines


def shown(keys: tuple[str, ...], width: int, height: int = 30, all_rows: bool = False) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, record=True, color_system=None)
    trials = rows(keys)
    table = TrialsTable(keys, trials, best_of(trials), Progress("study gan", 18, 20, "18 of 20 trials"), all_rows)
    console.print(table)
    return console.export_text().splitlines()


@pytest.mark.parametrize("keys", [FOUR, EIGHT, OPTIONS], ids=["4", "8", "23"])
@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_nothing_is_cut_at_any_width(keys: tuple[str, ...], width: int) -> None:
    lines = shown(keys, width)
    assert max(len(line.rstrip()) for line in lines) <= width
    text = "\n".join(lines)
    assert "…" not in text
    (best,) = (line for line in lines if line.split()[2:3] == ["best"])
    assert best.split()[:2] == ["3", "20"]
    assert all(any(line.split()[:1] == [str(number)] for line in lines) for number in (18, 19))
    assert "d_loss is nan at step 1200" in " ".join(text.split())
    if width >= 60:
        assert all(value in text for value in ("0.78/", "0.82/", "0.25") if keys[0] == FOUR[0])
    assert "18 of 20 trials" in " ".join(text.split())


@pytest.mark.parametrize(
    ("keys", "width", "columns", "note"),
    [
        (FOUR, 100, ["step", *FOUR], True),
        (FOUR, 80, ["step", *FOUR], False),
        (FOUR, 60, FOUR, False),
        (FOUR, 45, FOUR[:2], False),
        (EIGHT, 200, ["step", *EIGHT], True),
        (EIGHT, 80, ["step", *EIGHT[:5]], False),
        (EIGHT, 60, FOUR, False),
    ],
)
def test_columns_go_in_the_stated_order(keys: tuple[str, ...], width: int, columns: list[str], note: bool) -> None:
    """Notes; settings from the last on down to four; steps; the other settings."""
    lines = shown(keys, width)
    (best,) = (line for line in lines if line.split()[2:3] == ["best"])
    expected = ["1500" if key == "step" else three_digits(VALUES.get(key, 0.8123456)) for key in columns]
    assert best.split()[3:] == expected
    assert any(line.split()[:2] == ["16", "failed"] and "d_loss" in line for line in lines) == note
    left_out = len(keys) - len([key for key in columns if key != "step"])
    said = re.search(r"(\d+) of \d+ settings have no room", " ".join(lines))
    assert (int(said[1]) if said else 0) == left_out


def test_the_best_trial_and_those_going_on_stay_on_a_low_terminal() -> None:
    lines = shown(FOUR, 80, height=12)
    assert len(lines) <= 12
    numbers = [line.split()[0] for line in lines if line.split()[:1] and line.split()[0].isdigit()]
    assert {"3", "18", "19"} <= set(numbers)


def test_the_last_table_has_all_trials() -> None:
    lines = shown(FOUR, 100, height=12, all_rows=True)
    numbers = [line.split()[0] for line in lines if line.split()[:1] and line.split()[0].isdigit()]
    assert sorted(map(int, numbers)) == list(range(20))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2e-4, "2e-4"), (2.13456e-4, "2.13e-4"), (9.999e-4, "1e-3"), (0.8123456, "0.812"), (20.25, "20.2"),
        (104.3, "104"), (1042.0, "1042"), (0.0, "0"), (128, "128"), (True, "true"), (None, "null"), ("bce", "bce"),
    ],
)  # fmt: skip
def test_three_digits(value: Value, text: str) -> None:
    assert three_digits(value) == text


@pytest.mark.parametrize("width", [60, 80, 100])
def test_trials_that_grow_have_a_line_of_their_lengths(width: int) -> None:
    lines = rows(FOUR)
    for row in lines:
        row.step, row.promoted_to = (500, 0) if row.origin else (5000, 0)
    for number, step in ((3, 5000), (4, 1500), (5, 5000)):  # the last is on its way
        lines[number].step, lines[number].promoted_to = min(step, 4000 if number == 5 else step), step
    console = Console(file=io.StringIO(), width=width, height=40, record=True, color_system=None)
    progress = Progress("study gan", 18, 20, "18 of 20 trials")
    console.print(TrialsTable(FOUR, lines, best_of(lines), progress, rungs=(500, 1500, 5000)))
    assert "updates  500: 20, 3 promoted; 1,500: 4, 2 promoted; 5,000: 2" in console.export_text().splitlines()


def test_a_line_of_lengths_is_never_cut() -> None:
    lines = rows(FOUR)
    table = TrialsTable(FOUR, lines, None, Progress("x", 1, 2, ""), rungs=(500, 1000, 1500))
    assert table._ladder(40) == "updates  500: 19; 1,000: 18; 1,500: 16"
    lines[0].promoted_to = 1000
    assert table._ladder(40) == "updates  500: 19; 1,000: 18; 1,500: 16"
    assert table._ladder(60) == "updates  500: 19, 1 promoted; 1,000: 18; 1,500: 16"
    assert not any(line.startswith("updates") for line in shown(FOUR, 100))
