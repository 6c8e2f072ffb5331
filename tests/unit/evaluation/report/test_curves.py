import math

from alm_lightning.evaluation.report.curves import (
    curve_blocks,
    heldout_charts,
    loss_charts,
    side_charts,
)
from alm_lightning.evaluation.report.data import Curve
from alm_lightning.show.charts import MAX_POINTS


def test_terms_and_figures_have_a_chart_each():
    points = ((0.0, 2.0), (1.0, 1.0))
    names = (
        *("train/alm", "train/balance_alm", "train/lr", "train/loss", "train/teacher_tokens"),
        *("val/heldout/bits_per_byte_student", "val/heldout/bits_per_byte_teacher"),
        *("val/mine/chunk_difference", "val/heldout/coverage"),
    )
    curves = {name: Curve(name, points) for name in names}
    assert [chart.title for chart in loss_charts(curves)] == ["loss", "alm"]
    held = list(heldout_charts(curves))
    assert [chart.title for chart in held] == [
        "bits per byte, training domain",
        "|log p_T − log p_S|, mine",
    ]
    lines = [g for chart in held for g in chart.svg.iter("g") if g.get("class") == "line"]
    assert len(lines) == 3
    # with the colours of the lines, where there are several
    assert held[0].ends == [("student 1", 0), ("teacher 1 at step 1", 1)]
    assert held[1].ends == [("1 at step 1", None)]
    assert [chart.title for chart in side_charts(curves)] == [
        "learning rate",
        "read by the teacher so far",
        "weight of alm",
    ]
    assert curve_blocks({}) == []


def test_a_caption_has_the_last_value_and_what_is_not_finite():
    curve = Curve("train/alm", ((0.0, 2.0), (1.0, math.nan), (7.0, 0.12344)))
    (chart,) = loss_charts({"train/alm": curve})
    assert chart.ends == [("0.1234 at step 7 (1 of 3 are not finite)", None)]
    assert "nats per merged chunk" in [text.text for text in chart.svg.iter("text")]


def test_means_in_long_lines_are_explained():
    points = tuple((float(step), 1.0) for step in range(MAX_POINTS + 1))
    note, _ = curve_blocks({"train/loss": Curve("train/loss", points)})
    assert f"{MAX_POINTS} values" in note.text
    assert len(curve_blocks({"train/loss": Curve("train/loss", points[:-1])})) == 1
