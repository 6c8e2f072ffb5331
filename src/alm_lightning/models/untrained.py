"""Tokens that a base model was never trained on: their rows of the output matrix are all alike.

With a frozen output matrix a student can't learn to say such a token and none of the others. The
ends of turns of a chat are such tokens in many base models, and answers would have no end.
"""

import torch
from jaxtyping import Float
from torch import Tensor

ALIKE = 0.97
"""Cosine from which on two rows are alike. In Gemma 3 270M, a base model, the end of a turn has
6,099 such rows. A student whose rows were trained for 120 steps, and which ends 63 of 64 answers,
has none: its nearest is at 0.965. The EOS's nearest is at 0.61."""

MANY = 16
"""Rows alike from which on a token is taken for untrained."""

BLOCK_ROWS = 16384
"""Rows that are looked at together, so that no copy of the matrix is ever whole."""


@torch.no_grad()
def num_alike(weight: Float[Tensor, "vocab hidden"], token_id: int) -> int:
    """How many other rows of an output matrix point where that of a token does.

    Args:
        weight: The output matrix.
        token_id: The token.

    Returns:
        Their number; of a row of zeros, as many as there are rows of zeros beside it.
    """
    own = weight[token_id].float()
    is_alike = torch.cat(
        [
            # of a row of zeros it holds for all rows, and of other rows of zeros for each
            (rows.float() @ own >= ALIKE * own.norm() * rows.float().norm(dim=1))
            & (rows.any(dim=1) == own.any())
            for rows in weight.split(BLOCK_ROWS)
        ]
    )
    is_alike[token_id] = False
    return int(is_alike.sum())
