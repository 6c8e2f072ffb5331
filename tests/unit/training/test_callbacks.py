import os
import signal

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader

from alm_lightning.training.callbacks import SaveWhenStopped
from alm_lightning.training.memory import forget_peak_memory, peak_memory_bytes

SIGNALS = SaveWhenStopped.SIGNALS


class Line(L.LightningModule):
    """A module of one weight, which does something in its last step."""

    def __init__(self, in_last_step=lambda: None, signal_in_validation=signal.SIGTERM):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.in_last_step, self.signal_in_validation = in_last_step, signal_in_validation

    def training_step(self, batch, batch_idx):
        if batch_idx == 2:
            self.in_last_step()
        return self.layer(batch).sum()

    def validation_step(self, batch, batch_idx):
        os.kill(os.getpid(), self.signal_in_validation)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def loader(num_batches):
    return DataLoader(torch.ones(num_batches, 1, 1), batch_size=None)


def fit(module, callback, num_validations=0):
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=1,
        num_sanity_val_steps=0,
        limit_val_batches=num_validations,
        callbacks=[callback],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, loader(3), loader(1))
    return trainer


@pytest.fixture
def handlers():
    """What listens to the signals, which must be so again after a run."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield before
    for number, handler in before.items():
        signal.signal(number, handler)


def now():
    return {number: signal.getsignal(number) for number in SIGNALS}


def test_the_signals_are_given_back(handlers, tmp_path):
    seen = []
    fit(Line(lambda: seen.append(now())), SaveWhenStopped(path=str(tmp_path / "stopped.ckpt")))
    assert seen != [handlers]
    assert now() == handlers
    assert not (tmp_path / "stopped.ckpt").exists()


def test_the_signals_are_given_back_after_an_error(handlers, tmp_path):
    def fail():
        raise ValueError("in the step")

    with pytest.raises(ValueError, match="in the step"):
        fit(Line(fail), SaveWhenStopped(path=str(tmp_path / "stopped.ckpt")))
    assert now() == handlers


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_a_signal_in_the_validation_after_the_last_step_is_saved(handlers, tmp_path, number):
    callback = SaveWhenStopped(path=str(tmp_path / "stopped.ckpt"))
    trainer = fit(Line(signal_in_validation=number), callback, num_validations=1)
    assert (trainer.global_step, callback.stopped_by) == (3, number.name)
    assert (tmp_path / "stopped.ckpt").is_file()
    assert now() == handlers


@pytest.mark.parametrize("is_used", [False, True])
def test_memory_of_a_gpu_is_measured_anew(monkeypatch, is_used):
    forgotten = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: is_used)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: forgotten.append(1))
    forget_peak_memory()
    assert forgotten == [1] * is_used


@pytest.mark.parametrize(("is_used", "expected"), [(False, None), (True, 7)])
def test_memory_is_the_gpus_only_if_it_was_used(monkeypatch, is_used, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: is_used)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 7 if is_used else 0)
    # a process with torch in it has tens of megabytes resident
    assert peak_memory_bytes() == expected or (expected is None and peak_memory_bytes() > 2**24)
