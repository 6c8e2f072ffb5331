import re
from html import unescape
from itertools import pairwise

import pytest

from alm_lightning.show.chunks import SHADES, Chunk, ScoredDocument, bounds, shade, signs
from alm_lightning.show.page import TEMPLATES, Details, Section, render_page

CSS = TEMPLATES.joinpath("report.css").read_text("utf-8")
PALETTE = TEMPLATES.joinpath("palette.css").read_text("utf-8")


def shown(*texts, student=-1.0, teacher=-1.0):
    chunks = tuple(Chunk(text, student, teacher) for text in texts)
    return page_of(ScoredDocument("doc", chunks))


def page_of(document):
    details = Details(document.name, [document])
    page = render_page("report", title="t", names={}, sections=[Section("a", "a", [details])])
    return page[page.index("<details>") : page.index("</details>")]


def lines(html):
    """What a reader sees of each line, chunks apart."""
    found = []
    for line in re.findall("<p dir=.auto.>(.*?)</p>", html, re.DOTALL):
        spans = re.findall("<span class=.c.*?>(.*?)</span>", line, re.DOTALL)
        found.append([unescape(re.sub("<.*?>", "", span)) for span in spans])
    return found


@pytest.mark.parametrize(
    ("difference", "kind"),
    [
        *((-9.0, "lo4"), (-2.0, "lo4"), (-1.99, "lo3"), (-1.0, "lo3"), (-0.5, "lo2")),
        *((-0.1, "lo1"), (-0.09, "even"), (0.0, "even"), (0.09, "even"), (0.1, "hi1")),
        *((0.7, "hi2"), (1.0, "hi3"), (2.0, "hi4"), (float("nan"), "none")),
    ],
)
def test_the_colour_of_a_difference(difference, kind):
    assert shade(difference) == kind
    assert kind in ("even",) or f".{kind} {{" in CSS


def test_a_chunk_is_coloured_by_student_minus_teacher():
    worse, better = shown("a", student=-3.0, teacher=-0.5), shown("a", student=-0.5, teacher=-1.25)
    assert 'class="c lo4"' in worse
    assert 'title="student −3.00, teacher −0.50: −2.50 nats"' in worse
    assert 'class="c hi2"' in better
    assert 'title="student −0.50, teacher −1.25: +0.75 nats"' in better


def test_lines_of_the_text_are_lines_of_the_page():
    html = shown("a", " b\n\n  c", "\n", "", "d")
    assert lines(html) == [["a", "·b↵"], ["↵"], ["··c", "↵"], ["∅", "d"]]
    # other separators of lines are signs, and end none
    assert lines(shown("a\u2028b\rc")) == [["a\\u2028b␍c"]]


def test_hostile_text_stays_text():
    text = "</p></span><script>alert(1)</script>&amp;\"'"
    html = shown(text)
    assert lines(html) == [[text]]
    assert "<script" not in html
    document = ScoredDocument('<i a="b">', (Chunk("x", -1.0, -1.0),))
    assert "&lt;i a=&#34;b&#34;&gt;" in page_of(document)


def test_words_stay_whole_where_chunks_part_their_letters():
    # Persian with a joiner inside of a chunk, and in one of its own
    assert lines(shown("می\u200cش", "ود")) == [["می\u200cش", "ود"]]
    assert lines(shown("می", "\u200c", "شود")) == [["می", "\u200c¦", "شود"]]
    # a mark belongs to the letter before it, where there is one in this line
    assert lines(shown("कर", "\u0940")) == [["कर", "\u0940"]]
    assert lines(shown("\u0940", "\n", "\u0940a")) == [["◌\u0940", "↵"], ["◌\u0940a"]]
    # what would turn the text around is a sign
    assert lines(shown("a\u202eb\ud800")) == [["a\\u202eb\\xed\\xa0\\x80"]]


def test_signs_are_explained_where_they_are():
    def of(*texts):
        return signs([ScoredDocument("d", tuple(Chunk(t, 0.0, 0.0) for t in texts))])

    assert "¦" not in of("a\u200cb")
    assert "joiner" in of("\u200c")["¦"]
    assert of("\ufffdx")["\ufffd"] == "a part of a character"
    assert list(of("x")) == ["·", "↵"]


def test_the_legend_has_a_colour_between_any_two_bounds():
    own = [float(text.replace("−", "-")) for text in bounds()]
    assert len(SHADES) == len(own) + 1
    assert own == sorted(own)
    middles = [-3.0, *((a + b) / 2 for a, b in pairwise(own)), 3.0]
    assert [shade(value) for value in middles] == list(SHADES)


def colors(scheme):
    found = {}
    for css in (PALETTE, CSS):
        light, dark = css.split("@media (prefers-color-scheme: dark)")
        part = light if scheme == "light" else dark[: dark.index("\n}\n")]
        found |= dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", part))
    return found


def luminance(color):
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable_on_every_colour(scheme):
    own = colors(scheme)
    for name in ("lo1", "lo2", "lo3", "hi1", "hi2", "hi3", "paper"):
        assert contrast(own[name], own["on-weak"]) >= 4.5, name
    for name in ("lo4", "hi4"):
        assert contrast(own[name], own["on-strong"]) >= 4.5, name
    for name in ("ink", "soft", "focus"):
        assert contrast(own[name], own["paper"]) >= 4.5, name
    for name in (f"k{number}" for number in range(6)):
        # lines and marks
        assert contrast(own[name], own["paper"]) >= 4.5, name


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_larger_difference_stands_out_more(scheme):
    own = colors(scheme)
    for side in ("lo", "hi"):
        steps = [contrast(own[f"{side}{n}"], own["paper"]) for n in (1, 2, 3, 4)]
        assert steps == sorted(steps)
        assert all(b / a > 1.15 for a, b in pairwise(steps))
