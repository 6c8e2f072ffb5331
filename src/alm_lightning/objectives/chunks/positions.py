"""Positions in a flattened batch, row * length + position, by which objectives pick tokens."""

from jaxtyping import Bool, Int
from torch import Tensor

from alm_lightning.data.batch import SideTokens


def positions_where(chosen: Bool[Tensor, "batch pos"]) -> Int[Tensor, " row"]:
    """Positions of the chosen tokens, ascending."""
    return chosen.flatten().nonzero().squeeze(1)


def documents(tokens: SideTokens) -> Int[Tensor, "batch pos"]:
    """Number of the document of each predicted token in a packed row.

    From 1 in each row, the same on the other side; of no meaning at padding.
    """
    # every document of a packed row opens with one token that nothing comes before
    return (~tokens.has_target).long().cumsum(1)
