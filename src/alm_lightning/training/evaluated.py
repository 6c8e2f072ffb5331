"""Figures of a student and its teacher on evaluation sets, exact over batches and ranks."""

from collections.abc import Mapping, Sequence
from typing import Literal

import lightning as L
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from alm_lightning.data.batch import DistillBatch
from alm_lightning.metrics.totals import FIELDS, batch_totals, figures, mean_figures
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
        # of several teachers, with each batch counted by the teacher's share in it
        self._shared: dict[tuple[int, str | None], Float[Tensor, " field"]] = {}
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
                own = batch_totals(batch, students[0], together)
                _add(self._totals, (dataloader_idx, None), own)
            for label, share, own in zip(self._labels, batch.shares, each, strict=True):
                _add(self._totals, (dataloader_idx, label), own)
                _add(self._shared, (dataloader_idx, label), own * share)

    @property
    def _labels(self) -> tuple[str | None, ...]:
        """Of each teacher; one alone has none."""
        return self._teacher_sides.labels or (None,)

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
        for name, key in self.figure_sets(self.trainer.datamodule.evaluation_names).items():
            for figure, value in self._figures(*key).items():
                self.log(f"val/{name}/{figure}", value)

    def _figures(self, dataset: int, label: str | None) -> dict[str, float]:
        """The figures of an evaluation set beside one teacher, or beside all together."""
        if label is not None or self._teacher_sides.is_one:
            return figures(self._of_all_ranks(self._totals, (dataset, label)))
        keys = [(dataset, each) for each in self._labels]
        return mean_figures(
            [self._of_all_ranks(self._totals, key) for key in keys],
            [self._of_all_ranks(self._shared, key) for key in keys],
        )

    def _of_all_ranks(
        self,
        totals: Mapping[tuple[int, str | None], Float[Tensor, " field"]],
        key: tuple[int, str | None],
    ) -> Float[Tensor, " field"]:
        # a rank may have no batch of a set
        empty = torch.zeros(len(FIELDS), dtype=torch.float64, device=self.device)
        return self._over_ranks(totals.get(key, empty))


def _add(
    totals: dict[tuple[int, str | None], Float[Tensor, " field"]],
    key: tuple[int, str | None],
    more: Float[Tensor, " field"],
) -> None:
    totals[key] = totals[key] + more if key in totals else more
