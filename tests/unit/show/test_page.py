import re
from xml.etree import ElementTree as ET

from alm_lightning.show.page import Quotes, Section, breakable, render_page
from alm_lightning.show.tables import Row, Table, facts


def drawn(*blocks):
    html = render_page("report", title="t", names={}, sections=[Section("a", "a", blocks)])
    part = html[html.index("</h2>") + 5 : html.index("</section>")]
    return ET.fromstring(f"<div>{part.replace('<wbr>', '')}</div>")


def test_a_table_has_a_group_of_rows_for_each_heading():
    rows = [Row("bits per byte", ["231/10", "1.250", None], "↓")]
    root = drawn(Table({"bits": rows, "": rows}, ["items", "a_b", "<b>"]))
    (table,) = root.iter("table")
    assert table.get("class") == "stack"
    lines = ["".join("".join(row.itertext()).split("\n")) for row in table.iter("tr")]
    line = "bits per byte ↓231/101.250–"
    assert lines == ["itemsa_b<b>", "bits", line, line]
    # what names the cells of a narrow page
    first = next(body for body in table.iter("tbody"))
    assert [cell.get("data-of") for cell in first.iter("td")] == ["items", "a_b", None]
    assert [cell.get("class") for cell in first.iter("td")] == [None, None, "no"]


def test_facts_are_escaped():
    root = drawn(facts({"<k>": "<v>", "n": 3}, "<h>"))
    assert [cell.text for cell in root.iter("td")] == ["<v>", "3"]
    assert [caption.text for caption in root.iter("caption")] == ["<h>"]


def test_names_may_break_at_underscores_and_slashes():
    assert breakable("a_<b>/c") == "a_<wbr>&lt;b&gt;/<wbr>c"


def test_long_texts_are_cut():
    root = drawn(Quotes({"text": "x" * 2001, "short": "y"}))
    long, short = root.iter("blockquote")
    assert (len(long.text), short.text) == (2000, "y")
    assert [p.text for p in root.iter("p")] == ["1 more characters are not shown."]
    assert not re.search("script", ET.tostring(root, "unicode"))
