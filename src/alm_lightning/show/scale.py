"""From values to places on paper: round ticks, and how numbers are written beside them."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from alm_lightning.show.numbers import MINUS, fixed


@dataclass(frozen=True)
class Scale:
    """A linear scale whose ends are ticks.

    Attributes:
        low: Value at `start`.
        high: Value at `end`.
        start: Where the scale begins, in any unit of length.
        end: Where it ends; below `start` where values grow upwards.
        step: Distance of two ticks.
    """

    low: float
    high: float
    start: float
    end: float
    step: float

    def __call__(self, value: float) -> float:
        """The place of a value; one beyond an end stays at that end."""
        inside = min(max(value, self.low), self.high)
        return self.start + (inside - self.low) / (self.high - self.low) * (self.end - self.start)

    @property
    def ticks(self) -> list[float]:
        """Values of the ticks, from low to high."""
        first, last = round(self.low / self.step), round(self.high / self.step)
        return [index * self.step for index in range(first, last + 1)]

    def label(self, tick: float) -> str:
        """A tick as it is written: all of a scale with the same decimals."""
        # -0.0 is written as 0
        value = tick if abs(tick) > self.step / 2 else 0.0
        if self.step < 1e-4:
            return f"{value:g}".replace("-", MINUS, 1) if value < 0 else f"{value:g}"
        decimals = max(0, -math.floor(math.log10(self.step) + 1e-9))
        return fixed(value, decimals)


def scale_of(values: Iterable[float], start: float, end: float, *, most_steps: int = 5) -> Scale:
    """A scale that holds all values, with steps of 1, 2 or 5 times a power of ten.

    Args:
        values: Numbers; those that are not finite are passed over.
        start: Where the scale begins.
        end: Where it ends.
        most_steps: The most steps between its ends.

    Returns:
        The scale with the smallest steps for which these suffice.

    Example:
        >>> scale_of([0.13, 1.9], 0.0, 100.0).ticks
        [0.0, 0.5, 1.0, 1.5, 2.0]
    """
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=1.0)
    if low == high:
        # a constant stands in the middle
        margin = abs(low) / 2 or 1.0
        low, high = low - margin, high + margin
    power = 10.0 ** math.floor(math.log10((high - low) / most_steps))
    for step in (power, 2 * power, 5 * power, 10 * power, 20 * power):
        # what lies on a tick but for rounding needs no further one
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        if last - first <= most_steps:
            break
    return Scale(first * step, last * step, start, end, step)
