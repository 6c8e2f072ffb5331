"""The gradient of hidden states, from sums that are made while the logits are at hand.

The gradient of a log-probability is a mean of rows of the output matrix under the softmax. The
forward pass has the softmax's exponentials in a block of memory anyway: one product more adds the
rows up, as attention does with its values, and no backward pass needs the logits for it again.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from alm_lightning.likelihood.blocks import BOUNDARY, REST, LogitBlocks, VocabularyOrder
from alm_lightning.likelihood.products import HIGHEST_EXPONENT, add_product


class WeightSums:
    """Sums of rows of the output matrix, each times exp(logit - maximum), for both parts.

    The target of each row is left out: where it is nearly certain, its share is a small difference
    of two large numbers, and `hidden_gradient` has it exactly.

    Args:
        blocks: The logits that are visited.
        order: In which order, and which tokens.
    """

    def __init__(self, blocks: LogitBlocks, order: VocabularyOrder) -> None:
        self._blocks = blocks
        numbers = torch.zeros((), dtype=blocks.dtype, device=blocks.hidden.device)
        sizes = {BOUNDARY: order.num_boundary, REST: order.num_tokens - order.num_boundary}
        self.parts = [
            numbers.new_zeros(blocks.hidden.shape if sizes[part] else (0, blocks.hidden.shape[1]))
            for part in (BOUNDARY, REST)
        ]
        """A sum for each row; none for a part without tokens."""
        is_float16 = blocks.precision.gradients == torch.float16
        self.scale = 2.0**HIGHEST_EXPONENT if is_float16 else 1.0
        """What exponentials are multiplied by, so that small ones are not 0 in float16."""

    def buffer(self, rows: slice, num_columns: int) -> Float[Tensor, "row column"]:
        """Where exponentials of a block are kept, in the type that is multiplied."""
        return self._blocks.buffer(rows, num_columns, self._blocks.precision.gradients)

    def add(
        self,
        part: int,
        rows: slice,
        exponentials: Float[Tensor, "row column"],
        weight: Float[Tensor, "column hidden"],
        drop: Float[Tensor, " row"],
    ) -> None:
        """Adds a block.

        Args:
            part: Of the vocabulary: `BOUNDARY` or `REST`.
            rows: Of the hidden states.
            exponentials: Of logits less the maximum, times `scale`, 0 at targets.
            weight: Rows of the output matrix for the columns.
            drop: By how much the maximum has grown with this block, at most 0.
        """
        total = self.parts[part][rows]
        total.mul_(drop.exp()[:, None])
        with self._blocks.multiplying():
            add_product(total, exponentials, weight.to(exponentials.dtype), total.dtype)


def hidden_gradient(
    parts: Sequence[Float[Tensor, "_ hidden"]],
    factors: Float[Tensor, "2 row"],
    target_factor: Float[Tensor, " row"],
    target_rows: Float[Tensor, "row hidden"],
) -> Float[Tensor, "row hidden"]:
    """The gradient of hidden states: what each part counts, and what the target does.

    Args:
        parts: `WeightSums.parts`.
        factors: What a row's sum over each part is multiplied by.
        target_factor: What the target's row of the output matrix is multiplied by.
        target_rows: That row, for each hidden state.

    Returns:
        The gradient, in the type of the sums.
    """
    gradient = target_rows.to(factors.dtype) * target_factor[:, None]
    for part, factor in zip(parts, factors, strict=True):
        if len(part):
            gradient.addcmul_(part, factor[:, None])
    return gradient
