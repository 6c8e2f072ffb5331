"""An error ends the run of W&B that was opened: the next run of a sweep would go into it."""

import lightning as L
import pytest
import wandb
from tests.runs import TEXT
from tests.unit.distillation.test_distill import TINY

import alm_lightning as alm
from alm_lightning.distillation.wandb_runs import failed_runs_ended


class Run:
    """In place of one of W&B's, which would start a process."""

    def __init__(self):
        self.codes = []

    def finish(self, exit_code=None):
        self.codes.append(exit_code)
        wandb.run = None


@pytest.fixture
def opened(monkeypatch):
    monkeypatch.setattr(wandb, "run", None)
    return Run()


class Fails(L.Callback):
    """Opens a run, as a logger does when something is logged, and fails."""

    def __init__(self, opened, error):
        self.opened, self.error = opened, error

    def on_train_start(self, trainer, pl_module):
        wandb.run = self.opened
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize(
    ("error", "codes"), [(RuntimeError("no luck"), [1]), (SystemExit(143), [1]), (None, [])]
)
def test_a_run_of_the_library(model_folder, opened, error, codes):
    def run():
        callbacks = [Fails(opened, error)]
        texts = [TEXT.format(n, n) for n in range(12)]
        alm.distill(model_folder, tokenizer="bytes", data=texts, callbacks=callbacks, **TINY)

    if error is None:
        run()
    else:
        with pytest.raises(type(error)):
            run()
    assert opened.codes == codes
    # one that did not fail is left to who called
    assert wandb.run is (None if codes else opened)


def test_a_run_that_was_open_before_is_left_open(opened):
    wandb.run = opened
    with pytest.raises(ValueError, match="no luck"), failed_runs_ended():
        raise ValueError("no luck")
    assert opened.codes == []
    assert wandb.run is opened
