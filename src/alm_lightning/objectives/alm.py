"""Approximate Likelihood Matching: each chunk gets the likelihood that the teacher gives it."""

from typing import ClassVar

from jaxtyping import Bool, Float
from torch import Tensor

from alm_lightning.likelihood.signal import Signal, Supervision
from alm_lightning.objectives.divergence import KINDS, binarised
from alm_lightning.objectives.merged_chunks import MergedChunks, number


class ALM(MergedChunks):
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
        super().__init__(threshold=threshold, debias=debias)
        name = type(self).__name__
        self.temperature = number(temperature)
        # not ... > 0 rather than <= 0: nan is neither
        if not self.temperature > 0:
            raise ValueError(
                f"{name}: temperature is {temperature}: expected a number above 0, or inf. "
                "The published default is 100, the best published setting 5."
            )
        if divergence not in KINDS:
            raise ValueError(
                f"{name}: divergence is {divergence!r}: expected one of {sorted(KINDS)}."
            )
        self.divergence = divergence

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
        student, teacher, kept = self.merged(signal)
        divergences = binarised(
            teacher, student, temperature=self.temperature, kind=self.divergence
        )
        return divergences, kept
