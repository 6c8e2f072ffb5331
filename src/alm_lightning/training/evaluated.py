"""Figures of a student and its teacher on evaluation sets, exact over batches and ranks."""

from collections.abc import Sequence
from typing import Literal

import lightning as L
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from alm_lightning.data.batch import DistillBatch
from alm_lightning.metrics.totals import FIELDS, batch_totals, figures
from alm_lightning.models.pair import Scorer
from alm_lightning.training.sharding import SpreadPair
from alm_lightning.training.teacher_sides import SidesOfAll


class EvaluatedModule(L.LightningModule):
    """The validation of a `DistillModule`, which sets the attributes."""

    _student_scorer: Scorer
    _teacher_sides: SidesOfAll
    _spread: SpreadPair | None

    def _over_ranks(
        self, value: Shaped[Tensor, "..."], op: Literal["sum", "max"] = "sum"
    ) -> Shaped[Tensor, "..."]:
        return self.trainer.strategy.reduce(value.detach().clone(), reduce_op=op)

    def on_validation_epoch_start(self) -> None:
        """Starts the totals of each evaluation set."""
        self._totals: dict[tuple[int, str | None], Float[Tensor, " field"]] = {}
        self._teacher_sides.keep_for(self.trainer.datamodule)
        if self._spread is not None:
            # a batch of a loader is one micro-batch in a validation
            self._spread.start(sum(self.trainer.num_val_batches), self._over_ranks)

    def validation_step(
        self, batches: list[DistillBatch], batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Adds a batch to the totals of its evaluation set."""
        for number, batch in enumerate(batches):
            place = (dataloader_idx, batch_idx, number)
            students = self._student_scorer.views(batch.views)
            teachers = self._teacher_sides.views(batch, place)
            if self._spread is not None:
                self._spread.see(batch)
            sides = zip(batch.views, students, teachers, strict=True)
            each = [batch_totals(*side) for side in sides]
            together = self._teacher_sides.together(batch, place)
            if together is not None:
                self._add(dataloader_idx, None, batch_totals(batch, students[0], together))
            elif len(each) == 1:
                self._add(dataloader_idx, None, each[0])
            else:
                shares = zip(each, batch.shares, strict=True)
                mean = torch.stack([own * share for own, share in shares]).sum(0)
                self._add(dataloader_idx, None, mean)
            for label, own in zip(self._teacher_sides.labels, each, strict=False):
                self._add(dataloader_idx, label, own)

    def _add(self, dataset: int, label: str | None, totals: Float[Tensor, " field"]) -> None:
        before = self._totals.get((dataset, label), torch.zeros_like(totals))
        self._totals[dataset, label] = before + totals

    def figure_sets(self, names: Sequence[str]) -> dict[str, tuple[int, str | None]]:
        """What figures are of: each evaluation set, and of several teachers each one beside it.

        Args:
            names: Of the evaluation sets.

        Returns:
            From the name to the number of the set and the teacher's label; None for what one
            teacher says, or several together.
        """
        labels = (None, *self._teacher_sides.labels)
        return {
            name if label is None else f"{name}@{label}": (index, label)
            for index, name in enumerate(names)
            for label in labels
        }

    def on_validation_epoch_end(self) -> None:
        """Logs exact figures over all batches and ranks."""
        if self._spread is not None:
            with self.trainer.precision_plugin.val_step_context():
                self._spread.catch_up(is_teacher_asked=self._teacher_sides.num_calls > 0)
        empty = torch.zeros(len(FIELDS), dtype=torch.float64, device=self.device)
        for name, key in self.figure_sets(self.trainer.datamodule.evaluation_names).items():
            totals = self._over_ranks(self._totals.get(key, empty))
            for figure, value in figures(totals).items():
                self.log(f"val/{name}/{figure}", value)
