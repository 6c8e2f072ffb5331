from alm_lightning.evaluation.report.data import Evaluated
from alm_lightning.evaluation.report.tables import figures_table, headline_table
from alm_lightning.show.numbers import Figure

SUMMARY = {
    "bits_per_byte": {"teacher": 1.25, "student_before": 2.5, "student_after": 1.5},
    "bits_per_byte_other": {"teacher": 1.0, "student_before": 2.0, "student_after": 2.5},
    "chunk_difference": {"before": 3.0, "after": 1.0, "before_other": 2.0, "after_other": 2.0},
}


def cells(table):
    return [row.cells for rows in table.rows.values() for row in rows]


def test_before_and_after_beside_the_teacher():
    table = headline_table(SUMMARY)
    assert table.columns == ("student before", "student after", "teacher", "gap closed")
    (rows,) = table.rows.values()
    assert rows[0].label == "bits per byte, training domain"
    assert rows[3].label == "|log p_T − log p_S| per chunk, other domain"
    assert rows[3].unit == "nats"
    assert cells(table) == [
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
    assert cells(headline_table(older)) == [
        ["–", "1.500", "1.250", "–"],
        ["3.000", "1.000", "–", "66.7\u00a0%"],
    ]
    assert headline_table({}) is None
    assert headline_table({"bits_per_byte": None, "chunk_difference": 3}) is None
    # no gap, no share of it
    alike = {"bits_per_byte": {"teacher": 1.0, "student_before": 1.0, "student_after": 1.0}}
    assert cells(headline_table(alike))[0][-1] == "–"


def test_figures_of_models_stand_side_by_side():
    def result(model, harness, **figures):
        return Evaluated(model, harness, "", figures)

    bits = Figure(1.25, 0.125, 231, "bits/byte", lower_is_better=True)
    few = Figure(1.5, None, 10, "bits/byte", lower_is_better=True)
    nats = Figure(0.5, None, 231, "nats", lower_is_better=True)
    table = figures_table(
        [
            result("a", "bits", bits_per_byte=bits),
            result("<b>", "bits", bits_per_byte=few),
            result("<b>", "compare", chunk_difference=nats),
        ],
        ["a", "<b>"],
    )
    assert table.columns == ("items", "a", "<b>")
    assert list(table.rows) == ["bits", "compare"]
    (first,), (second,) = table.rows.values()
    assert (first.label, first.unit) == ("bits per byte", "↓")
    assert first.cells == ["231/10", "1.250\u00a0±\u00a00.125", "1.500"]
    assert (second.label, second.unit) == ("chunk difference", "nats ↓")
    assert second.cells == ["231", None, "0.500"]
