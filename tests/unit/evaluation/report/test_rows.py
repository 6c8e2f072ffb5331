import math
from xml.etree import ElementTree as ET

import pytest

from alm_lightning.evaluation.harness import Figure
from alm_lightning.evaluation.report.rows import (
    COLORS,
    FEW_ROWS,
    LANE,
    SHAPES,
    breakable,
    dot_rows,
    estimate,
    legend,
    row_scale,
)


def figure(value, stderr=None, unit="accuracy"):
    return Figure(value, stderr, 100, unit, lower_is_better=False)


def drawn(cells, models, **more):
    scale = row_scale(cells, whole=True)
    html = dot_rows(cells, models, scale, **({"unit": "accuracy", "chance": 0.5} | more))
    # HTML's <wbr> has no end tag
    return ET.fromstring(f"<div>{html.replace('<wbr>', '')}</div>")


def rows(root):
    return [row for row in root.iter("div") if row.get("class") == "row"]


def test_a_dot_stands_at_its_value_with_its_error():
    root = drawn({"island": {"m": figure(0.75, 0.125)}}, {"m": 0})
    (row,) = rows(root)
    (group,) = row.iter("g")
    # 2 % at both ends are for half a mark
    assert group.find("svg").get("x") == "74.00%"
    line = group.find("line")
    assert (line.get("x1"), line.get("x2")) == ("62.00%", "86.00%")
    assert group.find("title").text == "m: 0.750\u00a0±\u00a00.125"
    (chance,) = (line for line in row.iter("line") if line.get("class") == "chance")
    assert chance.get("x1") == chance.get("x2") == "50.00%"
    assert not [
        line for line in drawn({"a": {}}, {}, chance=None).iter() if line.get("class") == "chance"
    ]


def test_an_error_ends_with_the_scale():
    cells = {"a": {"m": figure(0.95, 0.125)}}
    scale = row_scale({"b": {"m": figure(1.0)}}, whole=True)
    root = ET.fromstring(dot_rows(cells, {"m": 0}, scale, unit="", chance=None))
    (line,) = (line for line in root.iter("line") if "error" in line.get("class"))
    assert line.get("x2") == "98.00%"


def test_models_have_lanes_and_keep_their_marks():
    cells = {"a": {"x": figure(0.5), "z": figure(0.25)}, "b": {"z": figure(math.nan)}}
    first, second = rows(drawn(cells, {"x": 0, "z": 2}))
    heights = [float(group.find("svg").get("y")) for group in first.iter("g")]
    assert heights == [LANE / 2 + 2, 3 * LANE / 2 + 2]
    assert [g.find("svg").get("class") for g in first.iter("g")] == ["f0", "f2"]
    assert [g.find("svg/path").get("d") for g in first.iter("g")] == [SHAPES[0], SHAPES[2]]
    # no mark for no number, and none for a missing model
    assert not list(second.iter("g"))
    assert second.find("svg").get("height") == first.find("svg").get("height") == str(2 * LANE + 4)
    key = ET.fromstring(legend({"x": 0, "z": 2}))
    assert [item.find("svg/svg/path").get("d") for item in key] == [SHAPES[0], SHAPES[2]]


def test_marks_tell_more_models_apart_than_anyone_compares():
    looks = {(SHAPES[n % len(SHAPES)], n % COLORS) for n in range(len(SHAPES) * COLORS)}
    assert len(looks) == len(SHAPES) * COLORS


@pytest.mark.parametrize(("count", "sizes"), [(1, [1]), (12, [12]), (27, [14, 13]), (67, [34, 33])])
def test_rows_stand_in_blocks_with_an_axis_each(count, sizes):
    assert FEW_ROWS == 12
    cells = {f"row{place}": {"m": figure(0.5)} for place in range(count)}
    blocks = [div for div in drawn(cells, {"m": 0}) if div.get("class") == "block"]
    assert [len(rows(block)) for block in blocks] == sizes
    names = [row.find("span").text for block in blocks for row in rows(block)]
    assert names == list(cells)
    for block in blocks:
        assert [text.text for text in block.iter("text")] == [
            "0.0",
            "0.2",
            "0.4",
            "0.6",
            "0.8",
            "1.0",
        ]


def test_a_scale_of_other_figures_holds_their_errors():
    scale = row_scale({"a": {"m": figure(1.1, 0.2), "n": figure(1.9)}}, whole=False)
    assert scale.ticks[0] <= 0.9
    assert scale.ticks[-1] >= 1.9
    assert scale.low > 0


def test_estimates_and_names():
    assert estimate(figure(0.7654, 0.0123)) == "0.765\u00a0±\u00a00.012"
    assert estimate(figure(1.0)) == "1.000"
    assert estimate(figure(811278.0, None, "bytes")) == "811,278"
    assert estimate(figure(3.5, None, "bytes")) == "3.500"
    assert estimate(figure(math.nan)) == "–"
    assert breakable("a_<b>/c") == "a_<wbr>&lt;b&gt;/<wbr>c"
    root = drawn({"<b>&": {"<i>": figure(0.5)}}, {"<i>": 0})
    assert [title.text for title in root.iter("title")] == ["<i>: 0.500"]


def test_accuracies_have_one_scale_whatever_their_errors():
    scale = row_scale({"a": {"m": figure(0.99, 0.2)}}, whole=True)
    assert (scale.low, scale.high) == (0.0, 1.0)
