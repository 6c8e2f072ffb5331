"""Likelihoods of merged chunks on both sides: what ALM and its relatives compare."""

import math
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from alm_lightning.likelihood.chunks import merged_ids, passes_threshold, sum_into_chunks
from alm_lightning.likelihood.signal import ModelSignal, Signal, Supervision
from alm_lightning.objectives.objective import Objective


class MergedChunks(Objective):
    """A term that reads one number a chunk on each side.

    Chunks after which the teacher sees no boundary coming, exp(b_T) <= gamma, are merged with those
    after them, as far as their document and trained span go.

    Args:
        threshold: Gamma, in [0, 1); 0 merges nothing.
        debias: Whether each chunk's likelihood is multiplied by that of a boundary after it.

    Attributes:
        boundary_has_gradient: Whether the student learns from the likelihood of a boundary too.
    """

    boundary_has_gradient: ClassVar[bool] = True

    def __init__(self, *, threshold: float | int | str | None, debias: bool):
        super().__init__()
        self.threshold, self.debias = number(threshold), debias
        # not ... >= 0 rather than < 0: nan is neither
        if not 0 <= self.threshold < 1:
            raise ValueError(
                f"{type(self).__name__}: threshold is {threshold}: expected a probability in "
                "[0, 1). 0 merges nothing; the published default is 0.1."
            )

    def ends_merged(self, signal: Supervision) -> Bool[Tensor, "batch chunk"]:
        """Whether each chunk is the last of a merged one: it passes, or it ends its run."""
        # only the teacher's mass decides, so that student and teacher are merged alike
        passes = passes_threshold(signal.teacher.boundary_logprobs, self.threshold)
        return signal.chunk_mask & (passes | signal.chunk_ends_run)

    def merged(
        self, signal: Signal
    ) -> tuple[
        Float[Tensor, "batch chunk"], Float[Tensor, "batch chunk"], Bool[Tensor, "batch chunk"]
    ]:
        """Log-likelihoods of merged chunks, nats: the student's and the teacher's; which there are.

        From the left of each row, in the order of `ends_merged`; -1 where there is none.
        """
        is_last = self.ends_merged(signal)
        ids = merged_ids(is_last, signal.chunk_mask)

        def of(side: ModelSignal) -> Float[Tensor, "batch chunk"]:
            # of a merged chunk's boundaries only the last one counts
            boundary = side.boundary_logprobs.masked_fill(~is_last, 0.0)
            boundary = boundary if self.boundary_has_gradient else boundary.detach()
            values = side.chunk_logprobs + boundary if self.debias else side.chunk_logprobs
            return sum_into_chunks(values, ids, num_chunks=ids.shape[1])

        kept = torch.arange(ids.shape[1], device=ids.device) < is_last.sum(dim=1, keepdim=True)
        # a likelihood of 1/e where there is no chunk: any number with a finite gradient
        student, teacher = (
            of(side).masked_fill(~kept, -1.0) for side in (signal.student, signal.teacher)
        )
        return student, teacher, kept


def number(value: float | int | str | None) -> float:
    """A setting as a number; nan where it is none, which every range excludes."""
    if value is None:
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan
