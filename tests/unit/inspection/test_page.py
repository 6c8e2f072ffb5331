import re
import unicodedata
from html.parser import HTMLParser

import pytest

from alm_lightning.alignment.text import align_text
from alm_lightning.inspection import html_page, report_of
from alm_lightning.show.page import TEMPLATES

VOID = {"meta", "rect", "br"}
SHEETS = [TEMPLATES.joinpath(name).read_text("utf-8") for name in ("palette.css", "inspection.css")]


class Reader(HTMLParser):
    """Elements of a page, with a check that each is closed where it must be."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.texts, self.open = [], [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.texts.append((tuple(self.open), data))

    def all(self, name, css_class=None):
        return [
            attrs
            for tag, attrs in self.elements
            if tag == name
            and (css_class is None or css_class in (attrs.get("class") or "").split())
        ]

    def inside(self, tag):
        return [text for path, text in self.texts if tag in path]


def page_of(text, student, teacher, *, most=9999):
    aligned = align_text(text, student=student, teacher=teacher)
    report = report_of(
        aligned, student=student, teacher=teacher, title=text[:40], alignment="finest", most=9999
    )
    return html_page(report, most=most)


HOSTILE = "</style><script>alert(1)</script> <!-- &amp; \"q\" 'a' ]]> $title ${x} </bdi>"


@pytest.mark.parametrize("student_name", ["byte_level", "metaspace", "bytes"])
def test_hostile_text_stays_text(views, bytes_view, student_name):
    read = Reader(page_of(HOSTILE, views[student_name], bytes_view))
    # one style and one script: the page's own
    assert len(read.all("style")) == len(read.all("script")) == 1
    assert "".join(read.inside("h1")) == HOSTILE[:40]
    tokens = "".join(read.inside("bdi"))
    assert tokens.count("<") >= 2 * HOSTILE.count("<")
    spoken = [attrs["aria-label"] for attrs in read.all("span", "g") if "aria-label" in attrs]
    assert len(spoken) == len(read.all("span", "g")) - 2  # the two of the legend


def test_a_page_has_the_tokens_of_both_sides_in_order(views, bytes_view):
    text = 'def f(a): return "é"'
    student = views["byte_level"]
    html = page_of(text, student, bytes_view)
    boxes = Reader(html[html.index('<div id="drawing">') : html.index("<noscript>")]).all(
        "span", "g"
    )
    aligned = align_text(text, student=student, teacher=bytes_view)
    ids = " ".join(box["data-s"] for box in boxes)
    assert ids == " ".join(map(str, aligned.student_ids.tolist()))
    assert bytes.fromhex(" ".join(box["data-x"] for box in boxes)) == text.encode()
    assert boxes[0]["data-r"].startswith("0–")


def test_everything_of_a_chat_is_told_in_words(chat_report):
    html = html_page(chat_report, most=99)
    read = Reader(html)
    assert "".join(read.inside("h1")) == "</style><script>"
    boxes = [box for box in read.all("span", "g") if "data-r" in box]
    assert [box["class"] for box in boxes] == [
        *("g loose", "g structure pale", "g odd pale", "g even pale", "g loose"),
        *("g odd", "g even", "g structure", "g loose"),
    ]
    assert boxes[4]["data-w"] == "in no chunk: a tokenizer has no token for this text"
    assert boxes[2]["data-w"] == "not trained on"
    assert boxes[2]["aria-label"] == "chunk 1: student h | i, teacher h | i; not trained on"
    assert boxes[0]["data-s"] == "none"
    captions = [text for path, text in read.texts if text in ("one side only", "unknown token")]
    assert captions[-2:] == ["one side only", "unknown token"]
    words = " ".join(text for _, text in read.texts)
    assert "one & two" in words
    assert "t<b>" in words
    assert "3 (1 unknown, 2 tail)" in words


def test_a_page_needs_nothing_from_outside(chat_report):
    html = html_page(chat_report, most=99)
    assert not re.search(r"(src|href|srcset|action)\s*=|url\(|@import|https?:", html)
    (policy,) = [m["content"] for m in Reader(html).all("meta") if "http-equiv" in m]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert html.encode("utf-8").decode("utf-8") == html


def test_tokens_are_isolated_and_turning_characters_are_signs(bytes_view, metaspace_view):
    html = page_of("שלום \u202eabc\u2066", metaspace_view, bytes_view)
    assert all(attrs["dir"] == "auto" for attrs in Reader(html).all("bdi"))
    assert not any(unicodedata.category(c) == "Cf" for c in html.split("<main>")[1])


def test_what_is_left_out_is_said(bytes_view):
    html = page_of("abcdef", bytes_view, bytes_view, most=4)
    assert len([b for b in Reader(html).all("span", "g") if "data-r" in b]) == 4
    assert "2 more of 6 chunks are not drawn" in html
    assert "not drawn" not in page_of("abcdef", bytes_view, bytes_view)


def test_an_empty_text_makes_a_page(bytes_view):
    assert not any(
        "data-r" in b for b in Reader(page_of("", bytes_view, bytes_view)).all("span", "g")
    )


def colours(number):
    """Of light or dark, in both sheets."""
    blocks = (sheet.split("@media")[number] for sheet in SHEETS)
    return dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})", "".join(blocks)))


LIGHT, DARK = colours(0), colours(1)
PAIRS = [
    *[("ink", "paper"), ("soft", "paper"), ("loose-ink", "paper"), ("ink", "panel")],
    *[("soft", "panel"), ("even-ink", "even"), ("odd-ink", "odd"), ("mark", "even")],
    *[("mark", "odd"), ("pale-ink", "even-pale"), ("pale-ink", "odd-pale")],
    *[("pale-mark", "even-pale"), ("pale-mark", "odd-pale")],
    *[("structure-ink", "structure"), ("structure-pale-ink", "structure-pale")],
]


def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [LIGHT, LIGHT | DARK], ids=["light", "dark"])
@pytest.mark.parametrize(("text", "ground"), PAIRS)
def test_text_can_be_read(scheme, text, ground):
    high, low = sorted((luminance(scheme[text]), luminance(scheme[ground])), reverse=True)
    assert (high + 0.05) / (low + 0.05) >= 4.5


def test_dark_names_every_colour():
    assert DARK.keys() == LIGHT.keys()
