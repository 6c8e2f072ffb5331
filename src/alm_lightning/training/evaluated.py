"""Figures of a student and its teacher on evaluation sets, exact over batches and ranks."""

from typing import Literal

import lightning as L
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from alm_lightning.data.batch import DistillBatch
from alm_lightning.metrics.totals import FIELDS, batch_totals, figures
from alm_lightning.models.pair import Scorer
from alm_lightning.training.sharding import SpreadPair
from alm_lightning.training.teacher_sides import TeacherSides


class EvaluatedModule(L.LightningModule):
    """The validation of a `DistillModule`, which sets the attributes."""

    _student_scorer: Scorer
    _teacher_sides: TeacherSides
    _spread: SpreadPair | None

    def _over_ranks(
        self, value: Shaped[Tensor, "..."], op: Literal["sum", "max"] = "sum"
    ) -> Shaped[Tensor, "..."]:
        return self.trainer.strategy.reduce(value.detach().clone(), reduce_op=op)

    def on_validation_epoch_start(self) -> None:
        """Starts the totals of each evaluation set."""
        self._totals: dict[int, Float[Tensor, " field"]] = {}
        self._teacher_sides.keep_for(self.trainer.datamodule)
        if self._spread is not None:
            # a batch of a loader is one micro-batch in a validation
            self._spread.start(sum(self.trainer.num_val_batches), self._over_ranks)

    def validation_step(
        self, batches: list[DistillBatch], batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Adds a batch to the totals of its evaluation set."""
        for place, batch in enumerate(batches):
            student = self._student_scorer(batch, batch.student)
            teacher = self._teacher_sides(batch, (dataloader_idx, batch_idx, place))
            if self._spread is not None:
                self._spread.see(batch)
            totals = batch_totals(batch, student, teacher)
            before = self._totals.get(dataloader_idx, torch.zeros_like(totals))
            self._totals[dataloader_idx] = before + totals

    def on_validation_epoch_end(self) -> None:
        """Logs exact figures over all batches and ranks."""
        if self._spread is not None:
            with self.trainer.precision_plugin.val_step_context():
                self._spread.catch_up(is_teacher_asked=self._teacher_sides.num_calls > 0)
        names = self.trainer.datamodule.evaluation_names
        for index, name in enumerate(names):
            empty = torch.zeros(len(FIELDS), dtype=torch.float64, device=self.device)
            totals = self._over_ranks(self._totals.get(index, empty))
            for figure, value in figures(totals).items():
                self.log(f"val/{name}/{figure}", value)
