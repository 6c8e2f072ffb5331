"""Presets to look for a fault."""

import pytest
import torch

from alm_lightning.training.module import DistillModule

LONG = ("budget.steps", "budget.evaluation_windows")
"""Settings of the tiny run that the presets have values of their own for."""


def test_fast_is_two_steps(run_here):
    summary = run_here("debug=fast", without=LONG)
    assert summary["steps"] == 2
    assert summary["bits_per_byte"]["student_after"] > 0


def test_profile_tells_what_took_how_long(run_here, caplog, capsys):
    with caplog.at_level("INFO"):
        summary = run_here("debug=profile", without=LONG[:1])
    assert summary["steps"] == 10
    assert "run_training_batch" in capsys.readouterr().out + caplog.text


def test_anomaly_names_the_operation(run_here, monkeypatch):
    original = DistillModule.training_step

    def broken(self, batches, batch_idx):
        weight = next(p for p in self.student.model.parameters() if p.requires_grad)
        # the square root of 0 has no finite gradient
        ((weight * 0).sum().sqrt() * 0).backward()
        return original(self, batches, batch_idx)

    monkeypatch.setattr(DistillModule, "training_step", broken)
    with pytest.raises(RuntimeError, match=r"SqrtBackward0|MulBackward0"):
        run_here("debug=anomaly")
    assert not torch.is_anomaly_enabled()
