"""Ends a run of a search early where the other runs were better at the same step."""

import json
import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING

import lightning as L
from lightning.pytorch.trainer.states import TrainerFn

if TYPE_CHECKING:
    import optuna

log = logging.getLogger(__name__)

PRUNED = "pruned.json"
"""In the folder of a run that was ended early: the step, and the figure there."""


class PruneTrial(L.Callback):
    """Tells Optuna each held-out figure of a run, and stops training if its pruner says so.

    The run then ends as any other, with its figures and its model. To the study it is a complete
    trial: Hydra's sweeper knows no other kind.

    Args:
        storage: URL of the study's database.
        study: The study's name.
        trial: Number of the run in the study.
        monitor: The figure, of which less is better.
        pruner: Decides from the figures of other runs.
        path: The file that is written where the run is ended early.
    """

    def __init__(
        self,
        *,
        storage: str,
        study: str,
        trial: int,
        monitor: str,
        pruner: "optuna.pruners.BasePruner",
        path: str,
    ):
        self.storage, self.study, self.trial = storage, study, trial
        self.monitor, self.pruner, self.path = monitor, pruner, Path(path)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Reports the figure, and stops all ranks."""
        # the evaluations before and after training are no steps on the way
        if trainer.state.fn != TrainerFn.FITTING:
            return
        stops = False
        if trainer.is_global_zero:
            stops = self._is_worse(float(trainer.callback_metrics[self.monitor]), trainer)
        if trainer.strategy.broadcast(stops):
            trainer.should_stop = True

    def _is_worse(self, value: float, trainer: L.Trainer) -> bool:
        # of the extra `sweeps`: only runs of a search need it
        import optuna

        step = trainer.global_step
        study = optuna.load_study(self.study, self.storage, pruner=self.pruner)
        (stored,) = (each for each in study.get_trials() if each.number == self.trial)
        # a trial has no other way into a process that did not ask for it
        trial = optuna.Trial(study, stored._trial_id)
        if math.isfinite(value):
            # a study takes numbers alone; the run goes on, and fails by itself if it has diverged
            trial.report(value, step)
        if not trial.should_prune() or step >= trainer.max_steps:
            return False
        log.warning(
            "ended at step %d of %d: %s is %.3f, and other runs were better by then.",
            step,
            trainer.max_steps,
            self.monitor,
            value,
        )
        self.path.write_text(json.dumps({"step": step, self.monitor: value}), encoding="utf-8")
        return True
