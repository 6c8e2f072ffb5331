"""Policy gradient: what the student has said itself is made more or less likely, chunk by chunk."""

from typing import ClassVar

from jaxtyping import Bool, Float
from torch import Tensor

from alm_lightning.likelihood.signal import Signal, Supervision
from alm_lightning.objectives.merged_chunks import MergedChunks


class PolicyGradient(MergedChunks):
    r"""The score function's estimate of the reverse KL, from answers that the student has sampled.

    .. math:: -\frac1{|C|} \sum_{c \in C} A(c) L'_S(c), \quad A(c) = L'_T(c) - L'_S(c)

    C are the merged chunks of the student's own answers; L' as in `ALM`. The advantage A, how much
    likelier the teacher finds a chunk, has no gradient. Where a chunk is sampled from the student,
    the mean of the gradient is that of KL(q || p) over what may stand in its place: it sees one
    number a chunk, and what a chunk means for later ones is left out (a discount of 0, as in Lu
    and Thinking Machines Lab, "On-Policy Distillation", 2025). Rows of the corpus count for
    nothing: their text is not the student's.

    With `debias` the likelihood of a boundary is part of the advantage and has no gradient either:
    whether a boundary follows is not drawn where a chunk is, so that its score would not be 0 in
    the mean. Between two tokenizers it depends on what the teacher's tokenizer sees later where a
    chunk ends, and the mean gradient is that of KL up to this: a student with its teacher's
    distribution over bytes may have one that is not 0.

    The value is no distance: it may be negative. Read the held-out figures.

    Args:
        threshold: Gamma, in [0, 1); 0 merges nothing.
        debias: Whether each chunk's likelihood is multiplied by that of a boundary after it.
    """

    needs_teacher: ClassVar[bool] = True
    needs_own_answers: ClassVar[bool] = True
    is_distance: bool = False
    boundary_has_gradient: ClassVar[bool] = False

    def weight(self, signal: Supervision) -> Float[Tensor, ""]:
        """Number of merged chunks of own answers."""
        return (self.ends_merged(signal) & _own(signal)).sum().float()

    def forward(self, signal: Signal) -> Float[Tensor, ""]:
        """Minus the sum of advantage times log-likelihood, nats squared."""
        student, teacher, kept = self.merged(signal)
        advantage = (teacher - student).detach()
        return -(advantage * student).masked_fill(~(kept & _own(signal)), 0.0).sum()


def _own(signal: Supervision) -> Bool[Tensor, "batch 1"]:
    return signal.own_rows.unsqueeze(1)
