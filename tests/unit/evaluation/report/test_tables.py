import re
from xml.etree import ElementTree as ET

import pytest

from alm_lightning.evaluation.harness import Figure
from alm_lightning.evaluation.report.data import Evaluated
from alm_lightning.evaluation.report.headline import duration
from alm_lightning.evaluation.report.tables import (
    facts_table,
    figures_table,
    group_table,
    headline_table,
)

SUMMARY = {
    "bits_per_byte": {"teacher": 1.25, "student_before": 2.5, "student_after": 1.5},
    "bits_per_byte_other": {"teacher": 1.0, "student_before": 2.0, "student_after": 2.5},
    "chunk_difference": {"before": 3.0, "after": 1.0, "before_other": 2.0, "after_other": 2.0},
}


def cells(html):
    root = ET.fromstring(re.sub("<wbr>", "", html))
    return ["".join(row.itertext()) for row in root.iter("tr")], [
        [cell.text for cell in row.iter("td")] for row in root.iter("tr")
    ]


def test_before_and_after_beside_the_teacher():
    labels, values = cells(headline_table(SUMMARY))
    assert labels[0] == "student beforestudent afterteachergap closed"
    assert labels[1].startswith("bits per byte, training domain")
    assert labels[4].startswith("|log p_T − log p_S| per chunk, other domain nats")
    assert values[1:] == [
        ["2.500", "1.500", "1.250", "80.0\u00a0%"],
        ["2.000", "2.500", "1.000", "−50.0\u00a0%"],
        ["3.000", "1.000", "–", "66.7\u00a0%"],
        ["2.000", "2.000", "–", "0.0\u00a0%"],
    ]


def test_an_older_summary_has_fewer_rows():
    older = {
        "bits_per_byte": {"student_after": 1.5, "teacher": 1.25},
        "chunk_difference": {"before": 3.0, "after": 1},
    }
    _, values = cells(headline_table(older))
    assert values[1:] == [["–", "1.500", "1.250", "–"], ["3.000", "1.000", "–", "66.7\u00a0%"]]
    assert headline_table({}) == ""
    assert headline_table({"bits_per_byte": None, "chunk_difference": 3}) == ""
    # no gap, no share of it
    alike = {"bits_per_byte": {"teacher": 1.0, "student_before": 1.0, "student_after": 1.0}}
    assert cells(headline_table(alike))[1][1][-1] == "–"


def test_figures_of_models_stand_side_by_side():
    def result(model, harness, **figures):
        return Evaluated(model, harness, "", figures)

    bits = Figure(1.25, 0.125, 231, "bits/byte", lower_is_better=True)
    few = Figure(1.5, None, 10, "bits/byte", lower_is_better=True)
    nats = Figure(0.5, None, 231, "nats", lower_is_better=True)
    html = figures_table(
        [
            result("a", "bits", bits_per_byte=bits),
            result("<b>", "bits", bits_per_byte=few),
            result("<b>", "compare", chunk_difference=nats),
        ],
        ["a", "<b>"],
    )
    labels, values = cells(html)
    assert labels[1:] == [
        "bits",
        "bits per byte ↓231/101.250\u00a0±\u00a00.1251.500",
        "compare",
        "chunk difference nats ↓231–0.500",
    ]
    assert values[4] == ["231", "–", "0.500"]
    # what names the cells of a narrow page
    assert html.count('data-of="&lt;b&gt;"') == 2
    assert html.count('class="no"') == 1


def test_groups_and_facts_are_escaped():
    figure = Figure(0.5, 0.25, 4, "accuracy", lower_is_better=False)
    labels, _ = cells(group_table({"<i>_x": {"m": figure}}, ["m"]))
    assert labels == ["m", "<i>_x0.500\u00a0±\u00a00.250"]
    assert facts_table({}, "nothing") == ""
    assert cells(facts_table({"<k>": "<v>"}, "<h>"))[0] == ["<k><v>"]


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(95.0, "95 s"), (691.3, "11.5 min"), (7199.0, "120.0 min"), (9000.0, "2.5 h")],
)
def test_times_as_people_say_them(seconds, told):
    assert duration(seconds) == told
