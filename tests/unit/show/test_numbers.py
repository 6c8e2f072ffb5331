import math

import pytest

from alm_lightning.show.numbers import (
    Figure,
    duration,
    estimate,
    fixed,
    gibibytes,
    percent,
    share,
    short,
)


def figure(value, stderr=None, unit="accuracy", lower=False):
    return Figure(value, stderr, 100, unit, lower)


def test_numbers_as_they_are_written():
    assert short(0.0123456) == "0.0123"
    assert short(-1234.5) == "−1,234"
    assert short(1174.25, 4) == "1,174"
    assert short(9.259e-07, 4) == "9.259e-07"
    assert short(math.nan) == fixed(None) == percent(math.inf) == share(None) == "–"
    assert fixed(-0.30703) == "−0.307"
    assert percent(1.13221) == "113.2\u00a0%"
    assert percent(-0.307) == "−30.7\u00a0%"
    assert gibibytes(3 * 2**29) == "1.5 GiB"


def test_estimates():
    assert estimate(figure(0.7654, 0.0123)) == "0.765\u00a0±\u00a00.012"
    assert estimate(figure(0.7654, 0.0123), decimals=1, space=" ") == "0.8 ± 0.0"
    assert estimate(figure(1.0)) == "1.000"
    assert estimate(figure(811278.0, None, "bytes")) == "811,278"
    assert estimate(figure(3.5, None, "bytes")) == "3.500"
    assert estimate(figure(math.nan)) == "–"
    assert figure(1.0, 0.25).bounds == (0.75, 1.25)
    assert [figure(1.0, lower=lower).arrow for lower in (True, False, None)] == ["↓", "↑", ""]


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0, "100 %"), (0.99999, "99.9 %"), (0.5, "50 %"), (1e-9, "<0.1 %"), (0.0, "0 %")],
)
def test_a_share_never_rounds_to_all_or_nothing(value, text):
    assert share(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(95.0, "95 s"), (691.3, "11.5 min"), (7199.0, "120.0 min"), (9000.0, "2.5 h")],
)
def test_times(seconds, text):
    assert duration(seconds) == text
