"""Approximate Likelihood Matching: each chunk gets the likelihood that the teacher gives it."""

import math
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from alm_lightning.likelihood.chunks import merged_ids, passes_threshold, sum_into_chunks
from alm_lightning.likelihood.signal import ModelSignal, Signal, Supervision
from alm_lightning.objectives.divergence import KINDS, binarised
from alm_lightning.objectives.objective import Objective


class ALM(Objective):
    r"""Binarised divergence between the likelihoods that both models give to a chunk.

    .. math:: \frac1{|C|} \sum_{c \in C} f(p_c \| q_c) + f(1 - p_c \| 1 - q_c), \quad
       p_c = e^{L'_T(c) / \tau}, \; q_c = e^{L'_S(c) / \tau}, \; L'(c) = L(c) + b(c)

    f is the term of the divergence, p log(p / q) for ``kl`` (`divergence.binarised`). Chunks after
    which the teacher sees no boundary coming, exp(b_T) <= gamma, are merged with those after them,
    as far as their document and trained span go. The mean is over the merged chunks.

    Reference: Minixhofer, Vulić and Ponti (2025), arXiv:2503.20083.

    Args:
        temperature: Tau, above 0; `inf`, also as a string, for the limit.
        threshold: Gamma, in [0, 1); 0 merges nothing.
        debias: Whether each chunk's likelihood is multiplied by that of a boundary after it.
        divergence: ``kl``, ``reverse_kl`` or ``tvd``.
    """

    needs_teacher: ClassVar[bool] = True

    def __init__(
        self,
        *,
        temperature: float | int | str | None,
        threshold: float | int | str | None,
        debias: bool,
        divergence: str,
    ):
        super().__init__()
        name = type(self).__name__
        self.temperature, self.threshold = _number(temperature), _number(threshold)
        # not ... > 0 rather than <= 0: nan is neither
        if not self.temperature > 0:
            raise ValueError(
                f"{name}: temperature is {temperature}: expected a number above 0, or inf. "
                "The published default is 100, the best published setting 5."
            )
        if not 0 <= self.threshold < 1:
            raise ValueError(
                f"{name}: threshold is {threshold}: expected a probability in [0, 1). "
                "0 merges nothing; the published default is 0.1."
            )
        if divergence not in KINDS:
            raise ValueError(
                f"{name}: divergence is {divergence!r}: expected one of {sorted(KINDS)}."
            )
        self.debias, self.divergence = debias, divergence

    def ends_merged(self, signal: Supervision) -> Bool[Tensor, "batch chunk"]:
        """Whether each chunk is the last of a merged one: it passes, or it ends its run."""
        # only the teacher's mass decides, so that student and teacher are merged alike
        passes = passes_threshold(signal.teacher.boundary_logprobs, self.threshold)
        return signal.chunk_mask & (passes | signal.chunk_ends_run)

    def weight(self, signal: Supervision) -> Float[Tensor, ""]:
        """Number of merged chunks."""
        return self.ends_merged(signal).sum().float()

    def forward(self, signal: Signal) -> Float[Tensor, ""]:
        """Sum of the divergences of all merged chunks, nats."""
        divergences, kept = self._by_row(signal)
        # not by an index, whose size a GPU would be waited for
        return divergences.masked_fill(~kept, 0.0).sum()

    def divergences(self, signal: Signal) -> Float[Tensor, " merged"]:
        """The divergence of each merged chunk, nats, row by row, in the order of `ends_merged`."""
        divergences, kept = self._by_row(signal)
        return divergences[kept]

    def _by_row(
        self, signal: Signal
    ) -> tuple[Float[Tensor, "batch chunk"], Bool[Tensor, "batch chunk"]]:
        """The same from the left of each row, and which columns of it there are."""
        is_last = self.ends_merged(signal)
        ids = merged_ids(is_last, signal.chunk_mask)

        def merged(side: ModelSignal) -> Float[Tensor, "batch chunk"]:
            # of a merged chunk's boundaries only the last one counts
            boundary = side.boundary_logprobs.masked_fill(~is_last, 0.0)
            values = side.chunk_logprobs + boundary if self.debias else side.chunk_logprobs
            return sum_into_chunks(values, ids, num_chunks=ids.shape[1])

        kept = torch.arange(ids.shape[1], device=ids.device) < is_last.sum(dim=1, keepdim=True)
        # a likelihood of 1/e where there is no chunk: any number with a finite gradient
        teacher, student = (
            merged(side).masked_fill(~kept, -1.0) for side in (signal.teacher, signal.student)
        )
        divergences = binarised(
            teacher, student, temperature=self.temperature, kind=self.divergence
        )
        return divergences, kept


def _number(value: float | int | str | None) -> float:
    """A setting as a number; nan where it is none, which every range excludes."""
    if value is None:
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan
