"""Values as people read them, alike in tables, charts and pages."""

import numbers
from typing import Any


def brief(value: Any, digits: int = 4) -> str:
    """Format a value in few characters: 2e-4, 0.8123, 104.3, 12345; nothing for None and NaN.

    Args:
        value: true and false are as they are typed; of a list the values are joined, as 0.78/0.82.
        digits: significant digits of a float, at least; all of those before the point are written below a million.
    """
    if value is None or value != value:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "/".join(brief(each, digits) for each in value)
    is_float = isinstance(value, numbers.Real) and not isinstance(value, numbers.Integral)  # NumPy's, too
    return _of_float(float(value), digits) if is_float else str(value)


def _of_float(value: float, digits: int) -> str:
    text = f"{value:.{digits}g}"
    if 1e-3 <= abs(value) < 1e6:
        return f"{value:.0f}" if "e" in text else text
    if "e" not in text and not 0 < abs(value) < 1e-3:  # zero and infinity
        return text
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"
