"""A run of a search ends early where others were better at the same step."""

import json

import lightning as L
import pytest
import torch

from alm_lightning.app.hydra.pruning import PruneTrial

optuna = pytest.importorskip("optuna", reason="the extra sweeps")
FIGURE = "val/heldout/bits_per_byte_student"


@pytest.fixture
def study(tmp_path):
    """Two finished trials, and one that runs."""
    storage = f"sqlite:///{tmp_path}/study.db"
    made = optuna.create_study(study_name="search", storage=storage)
    for _ in range(2):
        trial = made.ask()
        for step in (10, 20, 30):
            trial.report(2.0, step)
        made.tell(trial, 2.0)
    made.ask()
    return storage


class Evaluated(L.LightningModule):
    """Logs given figures, one at each validation."""

    def __init__(self, values):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.values = iter(values)

    def training_step(self, batch, batch_idx):
        return self.weight * batch.sum()

    def validation_step(self, batch, batch_idx):
        pass

    def on_validation_epoch_end(self):
        self.log(FIGURE, next(self.values))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters())


def run(storage, tmp_path, values):
    """Thirty steps, validated after each ten, and before and after; steps made, and the file."""
    path = tmp_path / "pruned.json"
    callback = PruneTrial(
        storage=storage,
        study="search",
        trial=2,
        monitor=FIGURE,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=1),
        path=str(path),
    )
    trainer = L.Trainer(
        max_steps=30,
        val_check_interval=10,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        accelerator="cpu",
        callbacks=[callback],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    batches = torch.utils.data.DataLoader(torch.ones(30, 1))
    model = Evaluated([9.0, *values, 9.0])
    trainer.validate(model, batches, verbose=False)
    trainer.fit(model, batches, batches)
    trainer.validate(model, batches, verbose=False)
    return trainer.global_step, path


def reported(storage):
    return optuna.load_study("search", storage).trials[2].intermediate_values


def test_a_run_that_is_worse_ends(study, tmp_path):
    steps, path = run(study, tmp_path, [2.5])
    assert steps == 10
    assert json.loads(path.read_text(encoding="utf-8")) == {"step": 10, FIGURE: 2.5}
    # the evaluations before and after training are not told
    assert reported(study) == {10: 2.5}


@pytest.mark.parametrize("last", [1.25, 9.0])
def test_a_run_that_is_better_makes_all_its_steps(study, tmp_path, last):
    steps, path = run(study, tmp_path, [1.5, 1.25, last])
    assert steps == 30
    assert not path.exists()
    assert reported(study) == {10: 1.5, 20: 1.25, 30: last}
