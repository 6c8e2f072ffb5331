import json
import math

import pytest

from alm_lightning.evaluation.report.reading import (
    read_curves,
    read_report,
    read_results,
    read_run,
    scored_documents,
)


def test_curves_have_the_steps_that_were_logged(run):
    curves = read_run(run).curves
    assert curves["val/heldout/bits_per_byte_student"].points == ((0.0, 2.5), (3.0, 1.5))
    points = curves["train/alm"].points
    assert [step for step, _ in points] == [0.0, 1.0, 2.0]
    assert math.isnan(points[1][1])
    assert points[-1] == (2.0, 0.25)
    assert "train/never" not in curves
    assert "step" not in curves
    assert "epoch" not in curves


def test_of_a_step_that_was_logged_twice_the_last_value_counts(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("step,a,b\n2,1,\n3,2,inf\n2,5,x\n,9,9\n")
    curves = read_curves(path)
    assert curves["a"].points == ((2.0, 5.0), (3.0, 2.0))
    assert [math.isnan(value) for _, value in curves["b"].points] == [True, True]
    path.write_text("")
    assert read_curves(path) == {}


def test_names_come_from_the_settings_where_they_are_resolved(run):
    assert read_run(run).names == {"student": "org/small", "teacher": "org/large"}
    (run / "hparams.yaml").write_text("a: [")
    broken = read_run(run)
    assert broken.names == {}
    assert broken.config == "a: ["


def test_hydras_configuration_stands_in(run):
    (run / "hparams.yaml").rename(run / "gone")
    assert read_run(run).config == ""
    (run / ".hydra").mkdir()
    (run / ".hydra" / "config.yaml").write_text("student:\n  name: me\n")
    assert read_run(run).names == {"student": "me"}


def test_a_run_that_has_not_ended_is_one(tmp_path):
    run = read_run(tmp_path)
    assert run.summary == {}
    assert run.curves == {}


def test_results_are_in_the_order_of_the_last_call(evaluation):
    # "before" would be first by name; it was evaluated second
    found = [(result.model, result.harness) for result in read_results(evaluation)]
    assert found == [
        *(("org/large", "bits_per_byte"), ("org/large", "blimp")),
        *(("before", name) for name in ("bits_per_byte", "blimp", "compare", "gsm8k")),
    ]
    (evaluation / "results.json").unlink()
    assert read_results(evaluation)[0].model == "before"


def test_a_result_is_read_whole(evaluation):
    by = {(result.model, result.harness): result for result in read_results(evaluation)}
    blimp = by["org/large", "blimp"]
    figure = blimp.groups["phenomenon"]["mid"]["accuracy"]
    assert (figure.value, figure.stderr, figure.count, figure.unit) == (0.625, 0.05, 10, "accuracy")
    assert figure.lower_is_better is False
    assert by["org/large", "bits_per_byte"].groups["group"]["de-DE"]["bits_per_byte"].stderr is None
    (document,) = scored_documents(by["before", "compare"], 10)
    assert document.name == "held.jsonl:3"
    assert [chunk.difference for chunk in document.chunks] == [-2.5, 0.0, 1.75]
    assert document.mean_difference == pytest.approx(4.25 / 3)
    assert scored_documents(by["before", "compare"], 0) == ()
    assert scored_documents(by["before", "gsm8k"], 10) == ()


def test_figures_may_lack_what_they_are_of(tmp_path):
    path = tmp_path / "m" / "h" / "result.json"
    path.parent.mkdir(parents=True)
    path.write_text(
        '{"model": "m", "harness": "h", "figures": {"x": {"value": null}, "y": {"value": 1}}}'
    )
    (result,) = read_results(tmp_path)
    assert math.isnan(result.figures["x"].value)
    assert result.figures["y"].value == 1.0
    assert result.figures["y"].stderr is None
    assert result.samples == ()


def test_what_is_wrong_with_a_file_is_told_with_its_path(evaluation, run, tmp_path):
    path = evaluation / "before" / "gsm8k" / "result.json"
    path.write_text("{")
    with pytest.raises(ValueError, match=r"gsm8k/result\.json is not JSON .* Move it away"):
        read_results(evaluation)
    path.write_text(json.dumps({"model": "before"}))
    with pytest.raises(ValueError, match=r"result\.json has no harness, figures: expected"):
        read_results(evaluation)
    with pytest.raises(FileNotFoundError, match=r"no folder at .*nowhere"):
        read_results(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"no folder at .*nowhere.* outputs/"):
        read_run(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="nothing to report"):
        read_report(tmp_path / "empty", None)
    assert read_report(tmp_path / "empty", run).results == ()
