import json

from alm_lightning.app.train import command as train_file


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
