import math

import pytest

from alm_lightning.show.parallel import parallel_chart, scale_of


def test_few_values_are_at_equal_distances_in_their_order():
    scale = scale_of("tau", {"a": "100", "b": "inf", "c": "5", "d": "5"})
    assert scale.places == {"a": 0.5, "b": 1.0, "c": 0.0, "d": 0.0}
    assert scale.ticks == [(0.0, "5"), (0.5, "100"), (1.0, "inf")]


def test_texts_come_after_numbers():
    scale = scale_of("x", {"a": "not given", "b": "2", "c": "10"})
    assert [text for _, text in scale.ticks] == ["2", "10", "not given"]


def test_numbers_of_different_magnitudes_have_a_logarithmic_scale():
    values = {str(n): str(10.0 ** (-5 + n / 5)) for n in range(11)}
    scale = scale_of("rate", values)
    assert scale.places["5"] == pytest.approx(0.5)
    assert {text for _, text in scale.ticks} >= {"1e-05", "0.0001", "0.001"}


def test_measured_numbers_have_a_scale_though_they_are_few():
    scale = scale_of("bits", {"a": 1.0, "b": 2.0})
    assert scale.ticks[0] == (0.0, "1.0")
    assert scale.ticks[-1] == (1.0, "2.0")
    assert scale.places == {"a": 0.0, "b": 1.0}


@pytest.mark.parametrize("value", [0.0, -4.0, 8.0])
def test_a_value_alone_is_in_the_middle(value):
    assert scale_of("x", {"a": value}).places["a"] == pytest.approx(0.5)
    assert scale_of("x", {"a": str(value)}).places == {"a": 0.5}


def test_every_line_has_its_values_and_the_best_is_on_top():
    scales = [scale_of("a.long.name_of_a_setting", {"x": "1", "y": "2", "z": "1"})]
    scales.append(scale_of("figure", {"x": 1.0, "y": 2.0}))
    titles = {name: f"run {name}" for name in "xyz"}
    svg = parallel_chart(scales, {"x": 0, "y": 1}, titles, label="two <axes>")
    assert svg.get("aria-label") == "two <axes>"
    found = [title.text for title in svg.iter("title")]
    assert found == ["run z", "run y", "run x"]
    assert {text.text for text in svg.iter("text")} >= {"a.long.", "name_of_a_setting", "figure"}
    assert not any(math.isnan(float(word)) for word in svg.get("viewBox").split())
