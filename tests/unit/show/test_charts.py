import math
import re
from itertools import pairwise
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from alm_lightning.show.charts import (
    BOTTOM,
    LEFT,
    MAX_POINTS,
    RIGHT,
    TOP,
    WIDTH,
    Line,
    histogram,
    line_chart,
    set_scale,
    thinned,
    tick_labels,
)
from alm_lightning.show.svg import sheet


def places(path):
    """Corners of a path."""
    return [tuple(map(float, place)) for place in re.findall(r"[ML] (\S+) (\S+)", path.get("d"))]


def marks(svg):
    """Where marks are."""
    found = (re.search(r"translate\((\S+) (\S+)\)", p.get("transform", "")) for p in svg)
    return [tuple(map(float, match.groups())) for match in found if match]


def drawn(svg, kind):
    return [group for group in svg.iter("g") if group.get("class") == kind]


def texts(svg):
    return [element.text for element in svg.iter("text")]


def ticks_of(values, **more):
    with sheet(100.0, 100.0) as figure:
        axes = figure.add_axes((0, 0, 1, 1))
        ticks = set_scale(axes.xaxis, values, **more)
        assert axes.get_xlim() == (ticks[0], ticks[-1])
    return ticks


def test_a_line_goes_through_its_points():
    points = ((0.0, 0.0), (50.0, 1.0), (100.0, 0.5))
    svg = line_chart([Line("a", points)], label="loss", unit="nats")
    (line,) = drawn(svg, "line")
    path, *_ = line
    middle = ((LEFT + RIGHT) / 2, (TOP + BOTTOM) / 2)
    assert places(path) == [(LEFT, BOTTOM), (middle[0], TOP), (RIGHT, middle[1])]
    # few points have a mark each
    assert marks(line) == places(path)
    assert set(texts(svg)) == {
        *("nats", "step", "0.0", "0.2", "0.4", "0.6", "0.8", "1.0"),
        *("0", "20", "40", "60", "80", "100"),
    }
    assert svg.get("aria-label") == "loss, nats. a: 0.5 at the end"


def test_labels_stay_on_the_paper():
    svg = line_chart([Line("a", ((0.0, 0.0), (1e5, 1e4)))], label="a", unit="")
    for text in svg.iter("text"):
        # 7 units a character are more than any font of this size needs
        width, x = 7 * len(text.text or ""), float(text.get("x"))
        left = {"start": x, "middle": x - width / 2, "end": x - width}[text.get("text-anchor")]
        assert left >= 0
        assert left + width <= WIDTH


def test_a_line_is_interrupted_where_a_value_is_not_finite():
    points = ((0.0, 1.0), (1.0, 2.0), (2.0, math.nan), (3.0, 2.0), (4.0, math.nan))
    svg = line_chart([Line("a", points)], label="a", unit="")
    assert [len(marks(line)) for line in drawn(svg, "line")] == [2, 1]
    assert not re.search(r"\bnan\b", ET.tostring(svg, "unicode"))
    assert not drawn(line_chart([Line("a", ((0.0, math.nan),))], label="a", unit=""), "line")


def test_many_points_are_means_of_stretches_in_a_band():
    points = np.array([(0.0, 1.0), (1.0, 3.0), (2.0, 8.0), (3.0, 4.0)])
    assert thinned(points, 2).tolist() == [[0.5, 2.0, 1.0, 3.0], [2.5, 6.0, 4.0, 8.0]]
    many = tuple((float(step), float(step % 2)) for step in range(10 * MAX_POINTS))
    svg = line_chart([Line("a", many, 1)], label="a", unit="")
    (band,), (line,) = drawn(svg, "band"), drawn(svg, "line")
    (path,) = line
    assert path.get("stroke") == band[0].get("fill") == "var(--k1)"
    assert len(places(path)) == MAX_POINTS
    assert {y for _, y in places(path)} == {(TOP + BOTTOM) / 2}
    # heights from the lower edge of the drawing, where the path begins
    heights = {y for _, y in places(band[0])}
    assert max(heights) - min(heights) == pytest.approx(BOTTOM - TOP)


def test_bars_have_the_height_of_their_shares():
    bars = [("1", 0.1), ("2", 0.5), ("3+", 0.0)]
    svg = histogram(bars, label="l", x_label="bytes", y_label="%")
    boxes = [group for group in svg.iter("g") if group.find("title") is not None]
    heights = []
    for box in boxes:
        (path,) = box.iter("path")
        ys = [y for _, y in places(path)]
        heights.append(max(ys) - min(ys))
    # up to 50 %
    assert heights == pytest.approx([(BOTTOM - TOP) / 5, BOTTOM - TOP, 0.0], abs=0.06)
    assert [box.find("title").text for box in boxes][1] == "2 bytes: 50.0\u00a0%"


@pytest.mark.parametrize("count", [1, 2, 5, 13, 14, 18, 20, 27])
def test_labels_below_bars_do_not_touch(count):
    bars = [(f"b{place}", 0.5) for place in range(count)]
    svg = histogram(bars, label="l", x_label="x", y_label="y")
    shown = [int(text[1:]) for text in texts(svg) if re.match(r"b\d", text)]
    assert shown[0] == 0
    assert shown[-1] == count - 1
    gap = (RIGHT - LEFT) / count * min((b - a for a, b in pairwise(shown)), default=9)
    assert gap > 18


@pytest.mark.parametrize(
    ("values", "ticks", "labels"),
    [
        ([0.13, 1.9], [0, 0.5, 1, 1.5, 2], ["0.0", "0.5", "1.0", "1.5", "2.0"]),
        ([0.0, 1.0], [0, 0.2, 0.4, 0.6, 0.8, 1], ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        ([0.0, 60.0], None, None),
        ([-0.3, 0.3], [-0.4, -0.2, 0, 0.2, 0.4], ["−0.4", "−0.2", "0.0", "0.2", "0.4"]),
        ([1200.0, 4900.0], [1000, 2000, 3000, 4000, 5000], None),
        ([9e-6, 3.1e-5], None, None),
    ],
)
def test_ticks_are_round_and_hold_all_values(values, ticks, labels):
    found = ticks_of(values)
    assert found[0] <= min(values)
    assert found[-1] >= max(values)
    step = found[1] - found[0]
    assert f"{step:.0e}"[0] in "125"
    if ticks:
        assert found == pytest.approx(ticks)
    if labels:
        assert tick_labels(found) == labels


def test_small_ticks_have_exponents():
    assert tick_labels([0.0, 1e-5, 2e-5]) == ["0", "1e-05", "2e-05"]
    assert tick_labels([-1e-5, 0.0]) == ["−1e-05", "0"]


def test_a_constant_is_in_the_middle_and_nothing_is_not_an_error():
    low, *_, high = ticks_of([3.0, 3.0])
    assert (low + high) / 2 == pytest.approx(3.0, abs=0.5)
    low, *_, high = ticks_of([0.0])
    assert low == pytest.approx(-high)
    assert ticks_of([math.nan, math.inf])[0] == 0.0
    assert ticks_of([1.0, math.nan, 2.0])[-1] == pytest.approx(2.0)


@pytest.mark.parametrize("exponent", range(-7, 8))
@pytest.mark.parametrize("low", [0.0, 0.37, 0.999])
def test_any_range_has_two_to_seven_ticks(low, exponent):
    size = 10.0**exponent
    ticks = ticks_of([low * size, 1.04 * size])
    assert 2 <= len(ticks) <= 7
    assert ticks[0] <= low * size * (1 + 1e-9)
    assert ticks[-1] >= 1.04 * size * (1 - 1e-9)
    # each label differs from the next
    assert len(set(tick_labels(ticks))) == len(ticks)


def test_steps_are_whole():
    assert ticks_of([0.0, 2.0], is_whole=True) == [0, 1, 2]
    svg = line_chart([Line("a", ((0.0, 5.0), (1.0, 7.0)))], label="a", unit="")
    assert "0.5" not in texts(svg)
