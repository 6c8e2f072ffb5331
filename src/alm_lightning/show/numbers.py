"""How values, errors, shares, byte counts and times are written, wherever people read them.

A value that is None or not finite is written as a dash, and the minus sign is as long as a plus.
"""

import math
from dataclasses import dataclass

NONE = "–"
MINUS = "−"
NO_BREAK = "\u00a0"
"""A space at which no line ends."""


@dataclass(frozen=True)
class Figure:
    """A number that a person reads.

    Attributes:
        value: In `unit`.
        stderr: Its standard error, from the spread over items; None if there is none.
        count: Number of items that it is computed from.
        unit: Such as ``bits/byte``, ``accuracy``, ``nats``.
        lower_is_better: Whether a smaller value is a better model's; None where neither is.
    """

    value: float
    stderr: float | None
    count: int
    unit: str
    lower_is_better: bool | None = None

    @property
    def arrow(self) -> str:
        """Which way is better: ``↓``, ``↑``, or nothing."""
        return {True: "↓", False: "↑", None: ""}[self.lower_is_better]

    @property
    def bounds(self) -> tuple[float, float]:
        """The value minus and plus one standard error."""
        error = self.stderr or 0.0
        return self.value - error, self.value + error


def fixed(value: float | None, decimals: int = 3) -> str:
    """A number with a fixed count of decimals, as columns of a table need it: ``−1,234.568``."""
    return _written(value, f",.{decimals}f")


def short(value: float | None, digits: int = 3) -> str:
    """A number in a few significant digits; from 1,000 on all digits before the point."""
    is_large = value is not None and abs(value) >= 1000
    return _written(value, ",.0f" if is_large else f".{digits}g")


def percent(value: float | None, decimals: int = 1) -> str:
    """A share in percent, as ``16.6 %``; 1 is all."""
    value = _finite(value)
    return NONE if value is None else f"{fixed(100 * value, decimals)}{NO_BREAK}%"


def share(value: float | None) -> str:
    """A share in percent; rounding never makes it 100 % or 0 %: ``99.9 %`` of 0.99999."""
    value = _finite(value)
    if value is None:
        return NONE
    if 0.9995 <= value < 1:
        return "99.9 %"
    return "<0.1 %" if 0 < value < 0.0005 else f"{fixed(100 * value, 1)} %".replace(".0 %", " %")


def estimate(figure: Figure, *, decimals: int | None = None, space: str = NO_BREAK) -> str:
    """A value with its standard error.

    Args:
        figure: The value.
        decimals: Of value and error. None: 3, and 0 for whole numbers of bytes or tokens.
        space: What stands around ``±``.

    Returns:
        As ``1.136 ± 0.012``; without an error the value alone.

    Example:
        >>> estimate(Figure(1.13564, 0.0123, 9, "bits/byte"), space=" ")
        '1.136 ± 0.012'
    """
    if decimals is None:
        is_count = figure.stderr is None and figure.unit in ("bytes", "tokens")
        decimals = 0 if is_count and float(figure.value).is_integer() else 3
    value = fixed(figure.value, decimals)
    if figure.stderr is None:
        return value
    return f"{value}{space}±{space}{fixed(figure.stderr, decimals)}"


def gibibytes(count: int | float | None, digits: int = 3) -> str:
    """A count of bytes in GiB (2^30 bytes), in a few digits."""
    return f"{short(None if count is None else count / 2**30, digits)} GiB"


def duration(seconds: float) -> str:
    """A time: in seconds below two minutes, in minutes below two hours, in hours from there."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _written(value: float | None, form: str) -> str:
    value = _finite(value)
    if value is None:
        return NONE
    text = format(value, form)
    # a minus at the start only: exponents stay as they are
    return MINUS + text[1:] if text.startswith("-") else text
