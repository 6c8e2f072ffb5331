"""Hidden states: at the end of each chunk, the student's last one is to be the teacher's."""

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from alm_lightning.likelihood.signal import Signal
from alm_lightning.objectives.objective import Objective


class HiddenStates(Objective):
    r"""Squared distance of the last hidden states at the last token of each chunk.

    .. math:: \frac1{|C|} \sum_{c} \frac1d \sum_{i=1}^{d} \frac{(s_{c,i} - t_{c,i})^2}{m_i}

    where m_i is the teacher's mean square of channel i over the chunks of the optimizer step: a few
    channels of trained models are far larger than all others and would be all that counts.

    Reference: Minixhofer, Vulić and Ponti (2025), arXiv:2503.20083, the auxiliary loss for bytes.
    """

    needs_teacher: ClassVar[bool] = True
    needs_hidden: ClassVar[bool] = True

    def weight(self, signal: Signal) -> Float[Tensor, ""]:
        """Number of chunks.

        Args:
            signal: The signal; only its mask is read.

        Returns:
            The count.
        """
        return signal.chunk_mask.sum().float()

    def forward(self, signal: Signal) -> Float[Tensor, ""]:
        """Sum over chunks of the mean over channels of the scaled squared difference.

        Args:
            signal: The signal, with hidden states on both sides.

        Returns:
            The total, without a unit.
        """
        difference = (signal.student.hidden - signal.teacher.hidden)[signal.chunk_mask]
        # a channel on which the teacher is 0 throughout has no scale, and says nothing
        scale = signal.teacher_mean_square.clamp_min(1e-12)
        return (difference.square() / scale).mean(dim=-1).sum()
