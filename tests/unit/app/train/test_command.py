import json

import pytest
import wandb
from tests.unit.distillation.test_wandb_runs import Run

from alm_lightning.app.errors import sentence_of
from alm_lightning.app.train import command as train_file
from alm_lightning.training.diverged import Diverged


def test_no_speed_and_no_samples_cost_neither_model_nor_figures(
    run_here, tmp_path, monkeypatch, caplog, capsys
):
    def fail(*arguments, **settings):
        # the model is safe by now
        assert (tmp_path / "model/config.json").is_file()
        raise RuntimeError("no text today")

    monkeypatch.setattr(train_file, "sample_continuations", fail)
    summary = run_here("callbacks.speed=null", "budget.steps=1", "sample_prompts=1")
    written = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert written["samples"] == summary["samples"] == []
    assert written["seconds"] | {"total": 0} == {
        "total": 0,
        "train": 0.0,
        "timed_steps": 0,
        "waiting_for_data": 0.0,
        "per_step": None,
    }
    assert "1 steps, none timed" in capsys.readouterr().out
    assert "no sample continuations" in caplog.text
    assert "no text today" in caplog.text


def test_an_error_after_training_ends_the_run_of_wandb(run_here, monkeypatch):
    opened = Run()
    monkeypatch.setattr(wandb, "run", None)

    def fail(*arguments, **settings):
        wandb.run = opened
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(train_file, "export_student", fail)
    with pytest.raises(OSError, match="No space left"):
        run_here("budget.steps=1")
    assert opened.codes == [1]


def test_a_run_that_diverges_leaves_a_note_and_one_sentence(run_here, tmp_path):
    with pytest.raises(Diverged) as caught:
        run_here("balance=fixed", "balance.weights.alm=nan")
    note = json.loads((tmp_path / "diverged.json").read_text(encoding="utf-8"))
    assert note == {"step": 0, "message": str(caught.value)}
    assert sentence_of(caught.value) == note["message"]
    assert note["message"].startswith("the gradient of step 0 (counted from 0) has norm nan")
    assert not (tmp_path / "summary.json").exists()


def test_an_export_that_fails_leaves_the_figures(run_here, tmp_path, monkeypatch, caplog):
    def fail(*arguments, **settings):
        raise ValueError("settings that nobody writes")

    monkeypatch.setattr(train_file, "export_student", fail)
    with pytest.raises(ValueError, match="settings that nobody writes"):
        run_here("budget.steps=1")
    written = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert written["model_path"] is None
    assert written["bits_per_byte"]["student_after"] > 0
    assert "the export failed; summary.json has the figures. Correct its cause" in caplog.text
