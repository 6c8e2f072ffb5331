"""Next-token loss: the usual cross-entropy of the student on its own tokens."""

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from alm_lightning.likelihood.signal import Signal, Supervision
from alm_lightning.objectives.objective import Objective


class NextToken(Objective):
    """Negative log-likelihood of the student's tokens (SFT in the paper), no teacher needed."""

    needs_teacher: ClassVar[bool] = False

    def weight(self, signal: Supervision) -> Float[Tensor, ""]:
        """Number of predicted tokens."""
        return signal.target_mask.sum().float()

    def forward(self, signal: Signal) -> Float[Tensor, ""]:
        """Sum of -log p over the predicted tokens, nats."""
        return -signal.student.token_logprobs.masked_fill(~signal.target_mask, 0.0).sum()
