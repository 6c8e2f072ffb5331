import math

import pytest

from alm_lightning.show.numbers import fixed, percent, short
from alm_lightning.show.scale import scale_of


@pytest.mark.parametrize(
    ("values", "ticks", "labels"),
    [
        ([0.13, 1.9], [0, 0.5, 1, 1.5, 2], ["0.0", "0.5", "1.0", "1.5", "2.0"]),
        ([0.0, 1.0], [0, 0.2, 0.4, 0.6, 0.8, 1], ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        ([0.0, 60.0], [0, 20, 40, 60], ["0", "20", "40", "60"]),
        ([-0.3, 0.3], [-0.4, -0.2, 0, 0.2, 0.4], ["−0.4", "−0.2", "0.0", "0.2", "0.4"]),
        ([1200.0, 4900.0], [1000, 2000, 3000, 4000, 5000], None),
        ([9e-6, 3.1e-5], [0, 1e-5, 2e-5, 3e-5, 4e-5], ["0", "1e-05", "2e-05", "3e-05", "4e-05"]),
    ],
)
def test_ticks_are_round_and_hold_all_values(values, ticks, labels):
    scale = scale_of(values, 0.0, 100.0)
    assert scale.ticks == pytest.approx(ticks)
    if labels:
        assert [scale.label(tick) for tick in scale.ticks] == labels


def test_a_place_is_linear_and_stays_on_the_paper():
    # upwards on paper is downwards in SVG
    scale = scale_of([0.0, 2.0], 164.0, 24.0)
    assert scale(0.0) == 164.0
    assert scale(0.5) == pytest.approx(129.0)
    assert scale(2.0) == 24.0
    assert scale(7.0) == 24.0
    assert scale(-7.0) == 164.0


def test_a_constant_stands_in_the_middle_and_nothing_is_no_error():
    assert scale_of([3.0, 3.0], 0.0, 100.0)(3.0) == pytest.approx(50, abs=15)
    assert scale_of([0.0], 0.0, 100.0)(0.0) == pytest.approx(50)
    assert scale_of([math.nan, math.inf], 0.0, 100.0).ticks[0] == 0.0
    assert scale_of([1.0, math.nan, 2.0], 0.0, 100.0).ticks[-1] == pytest.approx(2.0)


@pytest.mark.parametrize("exponent", range(-7, 8))
@pytest.mark.parametrize("low", [0.0, 0.37, 0.999])
def test_any_range_has_two_to_six_ticks(low, exponent):
    size = 10.0**exponent
    scale = scale_of([low * size, 1.04 * size], 0.0, 100.0)
    assert 2 <= len(scale.ticks) <= 6
    assert scale.ticks[0] <= low * size * (1 + 1e-9)
    assert scale.ticks[-1] >= 1.04 * size * (1 - 1e-9)
    # each label tells its tick from the next
    assert len({scale.label(tick) for tick in scale.ticks}) == len(scale.ticks)


def test_numbers_as_they_are_written():
    assert short(0.0123456) == "0.0123"
    assert short(-1234.5) == "−1,234"
    assert short(1174.25, 4) == "1,174"
    assert short(9.259e-07, 4) == "9.259e-07"
    assert short(math.nan) == fixed(None) == percent(math.inf) == "–"
    assert fixed(-0.30703) == "−0.307"
    assert percent(1.13221) == "113.2\u00a0%"
    assert percent(-0.307) == "−30.7\u00a0%"
