import math
import re
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest

from alm_lightning.evaluation.report.curves import heldout_charts, loss_charts, note, side_charts
from alm_lightning.evaluation.report.data import Curve
from alm_lightning.show.charts import (
    BOTTOM,
    LEFT,
    MOST_POINTS,
    RIGHT,
    TOP,
    WIDTH,
    Line,
    histogram,
    line_chart,
    thinned,
)


def places(element):
    return [tuple(map(float, place.split(","))) for place in element.get("points").split()]


def test_a_line_goes_through_its_points():
    svg = ET.fromstring(
        line_chart([Line("a", ((0.0, 0.0), (50.0, 1.0), (100.0, 0.5)))], label="loss", unit="nats")
    )
    (line,) = svg.iter("polyline")
    assert places(line) == [
        (LEFT, BOTTOM),
        ((LEFT + RIGHT) / 2, TOP),
        (RIGHT, (TOP + BOTTOM) / 2),
    ]
    # few points have a mark each
    assert [(c.get("cx"), c.get("cy")) for c in svg.iter("circle")] == [
        (f"{x:.1f}", f"{y:.1f}") for x, y in places(line)
    ]
    texts = [element.text for element in svg.iter("text")]
    assert texts[0] == "nats"
    assert texts[-1] == "step"
    assert texts[1:7] == ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
    assert texts[7:-1] == ["0", "20", "40", "60", "80", "100"]
    assert svg.get("aria-label") == "loss, nats. a: 0.5 at the end"


def test_labels_stay_on_the_paper():
    svg = ET.fromstring(line_chart([Line("a", ((0.0, 0.0), (1e5, 1e4)))], label="a", unit=""))
    for text in svg.iter("text"):
        # 7 units a character are more than any font of this size needs
        width, x = 7 * len(text.text or ""), float(text.get("x"))
        left = {"first": x, "mid": x - width / 2, "last": x - width}[text.get("class")]
        assert left >= 0
        assert left + width <= WIDTH


def test_a_line_breaks_off_where_a_value_is_no_number():
    points = ((0.0, 1.0), (1.0, 2.0), (2.0, math.nan), (3.0, 2.0), (4.0, math.nan))
    svg = ET.fromstring(line_chart([Line("a", points)], label="a", unit=""))
    assert [len(places(line)) for line in svg.iter("polyline")] == [2, 1]
    assert "nan" not in ET.tostring(svg, "unicode").replace("stroke-linejoin", "")
    nothing = ET.fromstring(line_chart([Line("a", ((0.0, math.nan),))], label="a", unit=""))
    assert not list(nothing.iter("polyline"))


def test_many_points_are_means_of_stretches_in_a_band():
    assert thinned([(0.0, 1.0), (1.0, 3.0), (2.0, 8.0), (3.0, 4.0)], 2) == [
        (0.5, 2.0, 1.0, 3.0),
        (2.5, 6.0, 4.0, 8.0),
    ]
    points = tuple((float(step), float(step % 2)) for step in range(10 * MOST_POINTS))
    svg = ET.fromstring(line_chart([Line("a", points, 1)], label="a", unit=""))
    (band,), (line,) = svg.iter("polygon"), svg.iter("polyline")
    assert len(places(line)) == MOST_POINTS
    assert {y for _, y in places(line)} == {(TOP + BOTTOM) / 2}
    assert {y for _, y in places(band)} == {TOP, BOTTOM}
    assert band.get("class") == "band f1"
    curve = Curve("train/loss", points)
    assert f"{MOST_POINTS} values" in note({"train/loss": curve})
    assert note({"train/loss": Curve("train/loss", points[:MOST_POINTS])}) == ""


def test_bars_have_the_height_of_their_shares():
    svg = ET.fromstring(
        histogram([("1", 0.1), ("2", 0.5), ("3+", 0.0)], label="l", x_label="bytes", y_label="%")
    )
    heights = [float(bar.get("height")) for bar in svg.iter("rect")]
    # up to 50 %
    assert heights == pytest.approx([(BOTTOM - TOP) / 5, BOTTOM - TOP, 0.0], abs=0.06)
    assert [title.text for title in svg.iter("title")][1] == "2 bytes: 50.0\u00a0%"


@pytest.mark.parametrize("count", [1, 2, 5, 13, 14, 18, 20, 27])
def test_labels_below_bars_do_not_touch(count):
    bars = [(f"b{place}", 0.5) for place in range(count)]
    svg = ET.fromstring(histogram(bars, label="l", x_label="x", y_label="y"))
    shown = [int(text.text[1:]) for text in svg.iter("text") if re.match(r"b\d", text.text)]
    assert shown[0] == 0
    assert shown[-1] == count - 1
    gap = (RIGHT - LEFT) / count * min((b - a for a, b in pairwise(shown)), default=9)
    assert gap > 18


def test_terms_and_figures_have_a_chart_each():
    points = ((0.0, 2.0), (1.0, 1.0))
    names = (
        *("train/alm", "train/balance_alm", "train/lr", "train/loss"),
        *("val/heldout/bits_per_byte_student", "val/heldout/bits_per_byte_teacher"),
        *("val/mine/chunk_difference", "val/heldout/coverage"),
    )
    curves = {name: Curve(name, points) for name in names}
    captions = re.findall("<b>(.*?)</b>", loss_charts(curves))
    assert captions == ["loss", "alm"]
    held = heldout_charts(curves)
    assert re.findall("<b>(.*?)</b>", held) == [
        "bits per byte, training domain",
        "|log p_T − log p_S|, mine",
    ]
    assert held.count("<polyline") == 3
    assert re.findall("<b>(.*?)</b>", side_charts(curves)) == ["learning rate", "weight of alm"]
    assert loss_charts({}) == heldout_charts({}) == side_charts({}) == ""


def test_a_caption_tells_the_last_value_and_what_is_no_number():
    curve = Curve("train/alm", ((0.0, 2.0), (1.0, math.nan), (7.0, 0.12344)))
    html = loss_charts({"train/alm": curve})
    assert "0.1234 at step 7 (1 of 3 are no number)" in html
    assert "nats per merged chunk" in html
