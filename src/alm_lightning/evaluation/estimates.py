"""Estimates with their standard errors: shares, and ratios of sums over items."""

import numpy as np
from jaxtyping import Shaped

from alm_lightning.evaluation.harness import Figure


def share(values: Shaped[np.ndarray, " item"], unit: str = "accuracy") -> Figure:
    """Mean of independent items, such as right answers, with its standard error: None for one item.

    >>> share(np.array([True, True, False, True]))
    Figure(value=0.75, stderr=0.25, count=4, unit='accuracy', lower_is_better=False)
    """
    values = np.asarray(values, dtype=np.float64)
    error = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
    return Figure(float(values.mean()), error, len(values), unit, lower_is_better=False)


def ratio(
    numerators: Shaped[np.ndarray, " item"],
    denominators: Shaped[np.ndarray, " item"],
    unit: str,
    *,
    lower_is_better: bool | None,
) -> Figure:
    r"""A sum over a sum, such as bits over bytes, over items that are drawn independently.

    .. math:: r = \frac{\sum_i x_i}{\sum_i y_i} \qquad
              s^2 = \frac{n}{n - 1} \frac{\sum_i (x_i - r y_i)^2}{(\sum_i y_i)^2}

    The linearised standard error of a ratio estimator (Cochran, Sampling Techniques, 1977,
    section 2.11): documents are the items, so what the tokens of one have in common is counted.

    Args:
        numerators: One number an item.
        denominators: One an item, of a sum above 0.
        unit: Of the figure.
        lower_is_better: Whether a smaller value is a better model's.

    Returns:
        Ratio and standard error; None for the error of a single item.

    Example:
        >>> ratio(np.array([2.0, 6.0]), np.array([2.0, 2.0]), "bits/byte", lower_is_better=True)
        Figure(value=2.0, stderr=1.0, count=2, unit='bits/byte', lower_is_better=True)
    """
    x, y = np.asarray(numerators, np.float64), np.asarray(denominators, np.float64)
    value, n = float(x.sum() / y.sum()), len(x)
    error = None
    if n > 1:
        error = float(np.sqrt(n / (n - 1) * ((x - value * y) ** 2).sum()) / y.sum())
    return Figure(value, error, n, unit, lower_is_better)
