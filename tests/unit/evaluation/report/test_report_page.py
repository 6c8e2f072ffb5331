import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from tests.unit.evaluation.report.conftest import HOSTILE, figure, write_result

from alm_lightning.evaluation.report.page import report_page, write_report
from alm_lightning.evaluation.report.reading import read_report

VOID = {"meta", "wbr"}


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
        if self.open and self.open[-1] != "style":
            self.texts.append((self.open[-1], data))

    def all(self, name):
        return [attrs for tag, attrs in self.elements if tag == name]

    def inside(self, tag):
        return [text for name, text in self.texts if name == tag]

    @property
    def words(self):
        return " ".join(text for _, text in self.texts)


@pytest.fixture
def html(run, evaluation):
    return report_page(read_report(evaluation, run))


def test_a_page_has_all_its_parts(html):
    read = Reader(html)
    assert read.inside("h1") == ["a_to_b"]
    assert read.inside("h2") == [
        *("Before and after training", "Training curves", "Evaluation"),
        *("BLiMP: accuracy by phenomenon", "Bits per byte by locale"),
        *("Lengths of chunks", "Chunks of held-out documents", "Continuations"),
        "Settings and versions",
    ]
    # each is reached from the top
    links = [link["href"].removeprefix("#") for link in read.all("a")]
    assert links == [heading["id"] for heading in read.all("h2")]
    assert "missing" not in {attrs.get("class") for attrs in read.all("p")}
    for words in (
        *("org/small", "3 steps in 4 s (1.25 s a step), objective alm, seed 7"),
        *("1,234 chunks of 4.5 bytes", "99.5\u00a0% of all bytes", "peak memory 2 GiB"),
        *("held.jsonl:3", "4 chunks, 9.5 bytes on average", "there was", "upon a time"),
        *("where org/large is", "note: <b>bold</b>", "1 + 1?", "2.13.0"),
    ):
        assert words in read.words, words


def row_names(part):
    """Names of the rows of a dot chart, without its unit and its ticks."""
    svg = part[part.index("<svg") : part.index("</svg>")]
    texts = re.findall("<text.*?>(.*?)</text>", svg)
    return [text for text in texts if text[0].isalpha() and text not in ("accuracy", "bits/byte")]


def test_rows_are_sorted_by_the_first_model(html):
    part = html[html.index('id="parts-blimp"') : html.index('id="parts-bits_per_byte"')]
    assert row_names(part) == ["high_one", "mid", "low_one"]
    assert "sorted by org/large, best first" in part
    assert 'class="reference"' in part
    bits = html[html.index('id="parts-bits_per_byte"') : html.index('id="lengths"')]
    assert row_names(bits) == ["de-DE", "fa-IR"]
    assert 'class="reference"' not in bits
    # one colour a model, all over the page
    assert 'fill="var(--k0)"' in bits
    assert 'fill="var(--k1)"' in bits


def test_long_chunks_share_a_bar(html):
    part = html[html.index('id="lengths"') : html.index('id="chunks"')]
    titles = re.findall("<title>(.*?)</title>", part)
    assert len(titles) == 20
    assert titles[2] == "3 bytes of a chunk: 50.0\u00a0%"
    assert titles[3] == "4 bytes of a chunk: 0.0\u00a0%"
    assert titles[-1] == "20+ bytes of a chunk: 25.0\u00a0%"


def test_every_drawing_is_well_formed(html):
    drawings = [ET.fromstring(svg) for svg in re.findall("<svg.*?</svg>", html, re.DOTALL)]
    # loss and alm, two held-out figures, three of learning rate, balance and speed, one histogram,
    # dots of BLiMP and of locales
    assert [svg.get("class") for svg in drawings] == ["chart"] * (8 + 2)
    assert all(svg.get("role") == "img" and svg.get("aria-label") for svg in drawings)
    read = Reader(html)
    legends = [attrs["class"] for attrs in read.all("i") if attrs["class"].startswith("k")]
    assert legends.count("k0") == 2 + 1
    # ids are those of headings: none twice
    ids = [attrs["id"] for _, attrs in read.elements if "id" in attrs]
    assert len(set(ids)) == len(ids) == len(read.all("h2"))


def test_hostile_text_stays_text(html):
    read = Reader(html)
    assert not read.all("script")
    assert len(read.all("style")) == 1
    assert HOSTILE in read.inside("blockquote")
    assert "$title" in read.words
    assert "alert(1)" in read.words


def test_a_page_needs_nothing_from_outside(html):
    assert not re.search(r"(src|srcset|action)\s*=|url\(|@import|https?:|style=", html)
    read = Reader(html)
    assert all(link["href"].startswith("#") for link in read.all("a"))
    (policy,) = [meta["content"] for meta in read.all("meta") if "http-equiv" in meta]
    style = html[html.index("<style>") + 7 : html.index("</style>")]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}'")
    assert "unsafe" not in policy
    assert "script-src" not in policy


def test_both_colour_schemes_paper_and_phones_are_provided_for(html):
    assert "color-scheme: light dark" in html
    assert "@media (prefers-color-scheme: dark)" in html
    assert "@media print" in html
    assert "@media (max-width:" in html
    assert 'content="width=device-width' in html
    style = html[html.index("<style>") : html.index("</style>")]
    used = set(re.findall(r"var\(--([\w-]+)\)", style))
    assert used <= set(re.findall(r"--([\w-]+):", style))


def test_what_is_missing_is_named_with_the_command_that_makes_it(run, tmp_path):
    folder = tmp_path / "an evaluation"
    folder.mkdir()
    for name in ("metrics.csv", "summary.json"):
        (run / name).unlink()
    read = Reader(report_page(read_report(folder, run)))
    assert read.inside("h1") == ["run"]
    commands = read.inside("code")
    assert len(commands) == 8
    (blimp,) = (command for command in commands if "harness=blimp " in command)
    assert blimp == (
        f"python evaluate.py model={run} harness=blimp harness.blimp.path=blimp.jsonl.gz "
        f"paths.output_dir='{folder}' report=true"
    )
    assert sum("harness=compare" in command for command in commands) == 2
    assert not read.all("svg")


def test_a_model_of_no_run_has_a_page(evaluation):
    data = read_report(evaluation, None)
    read = Reader(report_page(data))
    assert read.inside("h1") == ["Evaluation of org/large, before"]
    assert any("outputs/<experiment>/<time>" in command for command in read.inside("code"))
    assert "Training run" not in read.words
    assert Reader(report_page(replace(data, results=data.results[:1]))).all("svg")


def test_groups_of_other_harnesses_have_parts_of_their_own(evaluation, run):
    low = figure(0.5, 0.1, "nats", lower=True)
    two = {"chunk_difference": low, "bits_per_byte": figure(9.0, None, "bits/byte", lower=True)}
    groups = {"lang": {"de": two, "empty": {}}, "size": {"small": two}}
    write_result(evaluation, "after", "compare", two, groups)
    write_result(evaluation, "after", "lm_eval", {"acc": low}, {"task": {"t": {"acc": low}}})
    html = report_page(read_report(evaluation, run))
    headings = Reader(html).inside("h2")
    assert headings[5:7] == ["Student beside teacher, part by part", "lm_eval: acc by task"]
    part = html[html.index('id="parts-compare"') : html.index('id="parts-lm_eval"')]
    assert re.findall("<h3>(.*?)</h3>", part) == [
        "chunk difference by locale",
        "chunk difference by size",
    ]
    # the third model, as everywhere
    assert 'fill="var(--k2)"' in part
    assert 'fill="var(--k0)"' not in part


def test_names_in_headings_are_escaped(evaluation, run):
    low = {"<i>": figure(0.5, 0.1, "<u>")}
    write_result(evaluation, "<b>", '<s id="x">', low, {"<em>": {"<q>": low}})
    read = Reader(report_page(read_report(evaluation, run)))
    for tag in ("h2", "a"):
        assert '<s id="x">: <i> by <em>' in read.inside(tag)
    assert 'parts-<s id="x">' in {heading["id"] for heading in read.all("h2")}
    # the page has <b> of its own, and <i> with a class
    assert not {"i", "s", "u", "q", "em"} & {tag for tag, attrs in read.elements if not attrs}


def test_other_samples_do_not_hide_a_models_chunks(evaluation, run):
    # a model with chunks is evaluated under a harness with other samples after it
    html = report_page(read_report(evaluation, run))
    chunks = html[html.index('id="chunks"') : html.index('id="samples"')]
    assert re.findall('class="c (.*?)"', chunks) == ["lo4", "even", "hi3"]


def test_a_page_is_written_once(run, evaluation, tmp_path):
    path = tmp_path / "new" / "report.html"
    assert write_report(path, evaluation=evaluation, run=run) == path
    written = path.read_text("utf-8")
    assert written.startswith("<!doctype html>")
    with pytest.raises(FileExistsError, match="Move it away, or give another path"):
        write_report(path, evaluation=evaluation, run=run)
    assert path.read_text("utf-8") == written


def test_half_a_surrogate_is_no_reason_for_no_page(run, evaluation):
    summary = json.loads((run / "summary.json").read_text())
    summary["samples"][0]["student"] = "a\ud800b"
    (run / "summary.json").write_text(json.dumps(summary))
    path = write_report(Path(run) / "report.html", evaluation=evaluation, run=run)
    assert "a?b" in path.read_text("utf-8")
