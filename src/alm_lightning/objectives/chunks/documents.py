"""Documents of packed rows, told apart on both sides alike."""

from jaxtyping import Int
from torch import Tensor

from alm_lightning.data.batch import SideTokens


def documents(tokens: SideTokens) -> Int[Tensor, "batch pos"]:
    """Number of the document of each predicted token.

    Args:
        tokens: The tokens of one side.

    Returns:
        From 1 in each row, the same on the other side; of no meaning at padding.
    """
    # every document of a packed row opens with one token that nothing comes before
    return (~tokens.has_target).long().cumsum(1)
