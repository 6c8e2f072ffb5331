import re
from xml.etree import ElementTree as ET

from alm_lightning.show.svg import COLOR, render, sheet


def drawing():
    with sheet(100.0, 50.0) as figure:
        axes = figure.add_axes((0, 0, 1, 1))
        axes.plot([0, 1], [0, 1], marker="o", color=COLOR["k0"], gid="line")
        axes.plot([0, 1], [1, 0], color=COLOR["ink"], gid="other")
        axes.set_title("日 <b> $x$")
        return render(figure, label='a "b"', titles={"other": "</title><script>"})


def test_nothing_is_left_that_a_strict_page_forbids():
    text = ET.tostring(drawing(), "unicode")
    assert not re.search(r"\b(id|style|clip-path|href)=|<(defs|style|metadata|use)|url\(", text)
    assert "&lt;/title&gt;&lt;script&gt;" in text
    assert "日 &lt;b&gt; $x$" in text
    assert 'aria-label="a &quot;b&quot;"' in text


def test_colours_are_those_of_the_page():
    text = ET.tostring(drawing(), "unicode")
    assert not re.search("#0000(0[1-9]|[1-9])", text)
    assert 'stroke="var(--k0)"' in text
    assert 'stroke="var(--ink)"' in text


def test_a_drawing_is_the_same_every_time():
    assert ET.tostring(drawing()) == ET.tostring(drawing())
