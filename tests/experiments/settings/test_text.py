"""How values are written."""

import math

import numpy as np
import pytest

from experiments.settings.text import brief


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2e-4, "2e-4"), (2.5e-4, "2.5e-4"), (-2.13456e-4, "-2.135e-4"), (9.9999e-4, "1e-3"), (0.002, "0.002"),
        (0.812345, "0.8123"), (104.32, "104.3"), (9999.96, "10000"), (12345.0, "12345"), (1e6, "1e6"), (0.0, "0"),
        (math.inf, "inf"), (math.nan, ""), (None, ""), (True, "true"), (20000, "20000"), ("bce", "bce"),
        (np.float32(12.34567), "12.35"), (np.int64(123456), "123456"),
        ([0.78, 0.82], "0.78/0.82"), ([1e-4, None], "1e-4/"),
    ],
)  # fmt: skip
def test_a_value_is_brief(value: object, text: str) -> None:
    assert brief(value) == text


@pytest.mark.parametrize(("value", "text"), [(2.13456e-4, "2.13e-4"), (0.8123456, "0.812"), (1042.0, "1042")])
def test_a_column_may_have_three_digits(value: float, text: str) -> None:
    assert brief(value, 3) == text
