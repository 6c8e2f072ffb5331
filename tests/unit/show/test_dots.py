import math
import re
from xml.etree import ElementTree as ET

import pytest

from alm_lightning.show.charts import WIDTH
from alm_lightning.show.dots import (
    COLORS,
    LANE,
    MARGIN,
    MARKS,
    Panel,
    dot_charts,
    dot_panels,
    mark,
)
from alm_lightning.show.numbers import Figure
from alm_lightning.show.svg import document


def figure(value, stderr=None, unit="accuracy"):
    return Figure(value, stderr, 100, unit, lower_is_better=False)


def drawn(rows, series, **more):
    return dot_charts(
        rows, series, **({"unit": "accuracy", "is_share": True, "reference": 0.5} | more)
    )


def dots(svg):
    """Of each dot its tooltip, its place, and the ends of its error bar."""
    found = []
    for group in svg.iter("g"):
        if group.find("title") is None:
            continue
        line, *_, shape = group.iter("path")
        ends = [float(x) for x in re.findall(r"[ML] (\S+) ", line.get("d"))]
        x, y = map(float, re.search(r"translate\((\S+) (\S+)\)", shape.get("transform")).groups())
        found.append((group.find("title").text, (x, y), (ends[0], ends[-1]), shape))
    return found


def references(svg):
    return [group for group in svg.iter("g") if group.get("class") == "reference"]


def texts(svg):
    return [text.text for text in svg.iter("text")]


def place(value):
    return MARGIN + value * (WIDTH - 2 * MARGIN)


def test_a_dot_is_at_its_value_with_its_error():
    (svg,) = drawn({"island": {"m": figure(0.75, 0.125)}}, {"m": 0})
    ((title, (x, _), ends, _),) = dots(svg)
    assert title == "m: 0.750\u00a0±\u00a00.125"
    assert x == pytest.approx(place(0.75), abs=0.01)
    assert ends == pytest.approx((place(0.625), place(0.875)), abs=0.01)
    (line,) = references(svg)
    (path,) = line.iter("path")
    assert float(path.get("d").split()[1]) == pytest.approx(place(0.5), abs=0.01)
    assert not references(drawn({"a": {"m": figure(0.5)}}, {"m": 0}, reference=None)[0])


def test_an_error_ends_with_the_axes():
    (svg,) = drawn({"a": {"m": figure(0.95, 0.125)}}, {"m": 0})
    ((_, _, ends, _),) = dots(svg)
    assert ends[1] == pytest.approx(WIDTH - MARGIN, abs=0.01)


def test_series_have_lanes_and_keep_their_marks():
    rows = {"a": {"x": figure(0.5), "z": figure(0.25)}, "b": {"z": figure(math.nan)}}
    (svg,) = drawn(rows, {"x": 0, "z": 2})
    # no mark for NaN, and none for a missing model
    (_, (_, first), _, circle), (_, (_, second), _, square) = dots(svg)
    assert second - first == LANE
    assert (circle.get("fill"), square.get("fill")) == ("var(--k0)", "var(--k2)")
    assert "C" in circle.get("d")
    assert "C" not in square.get("d")
    assert [mark(number)[0][2] for number in (0, 2)] == ["●", "■"]


def test_marks_distinguish_more_series_than_anyone_compares():
    looks = {mark(number) for number in range(len(MARKS) * COLORS)}
    assert len(looks) == len(MARKS) * COLORS


@pytest.mark.parametrize(
    ("count", "sizes"), [(1, [1]), (12, [12]), (27, [14, 13]), (67, [17, 17, 17, 16])]
)
def test_rows_are_in_charts_with_ticks_each(count, sizes):
    rows = {f"row{number}": {"m": figure(0.5)} for number in range(count)}
    charts = drawn(rows, {"m": 0})
    assert [len(dots(svg)) for svg in charts] == sizes
    names = [text for svg in charts for text in texts(svg) if text.startswith("row")]
    assert names == list(rows)
    for svg in charts:
        assert [text for text in texts(svg) if text[0].isdigit()] == [
            *("0.0", "0.2", "0.4", "0.6", "0.8", "1.0")
        ]


def test_a_scale_of_other_figures_holds_their_errors():
    rows = {"a": {"m": figure(1.1, 0.2), "n": figure(1.9)}}
    (svg,) = drawn(rows, {"m": 0, "n": 1}, is_share=False, reference=None)
    ticks = [float(text) for text in texts(svg) if text[0].isdigit()]
    assert 0 < ticks[0] <= 0.9
    assert ticks[-1] >= 1.9


def test_names_are_escaped_and_whole():
    long = "determiner_noun_agreement_with_adjective_irregular_1"
    rows = {"<b>&$x$": {"<i>": figure(0.5)}, long: {"<i>": figure(0.5)}, "a\x00\ud800": {}}
    (svg,) = drawn(rows, {"<i>": 0})
    assert [title for title, *_ in dots(svg)] == ["<i>: 0.500", "<i>: 0.500"]
    own = [text for text in texts(svg) if not text[0].isdigit()]
    assert own == [
        *("accuracy", "<b>&$x$", "determiner_noun_agreement_with_adjective_", "irregular_1"),
        "a\ufffd\ufffd",
    ]
    plain = ET.tostring(svg, "unicode")
    assert "&lt;b&gt;&amp;$x$" in plain
    assert "<b>" not in plain


def test_panels_have_the_same_rows_and_lines_at_their_references():
    one = Panel("bits", "bits/byte ↓", {"alm": figure(1.1, 0.1)}, {"teacher": 1.0, "x": math.nan})
    two = Panel("time", "s", {"alm": figure(3.0), "sft": figure(2.0)}, {})
    text = document(dot_panels([one, two], {"alm": 0, "sft": 1}, label="all"))
    svg = ET.fromstring(text)
    own = [element.text for element in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert own.count("alm") == own.count("sft") == 2
    assert own.count("teacher") == 1
    assert "x" not in own
    assert text.count('class="reference"') == 1
    assert text.count('class="title"') == 2
    assert text.count("<title>") == 3
    assert "--k1" in text
    assert not re.search(r"(href|src)=|url\(|<script", text)
