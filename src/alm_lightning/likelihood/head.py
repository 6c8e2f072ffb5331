"""The output layer of a model, as numbers."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class OutputHead:
    """The output layer of a model: how hidden states become logits.

    Attributes:
        weight: Output matrix.
        bias: Output bias, if the model has one.
        softcap: Soft cap on the logits, as of Gemma 2, if the model has one.
        num_tokens: Output rows up to the last one that a token has; those after them are padding,
            without mass.
        padding_ids: More rows that no token has, among the others; None where there are none.
        boundary_ids: Tokens that open a new word, and special tokens.
    """

    weight: Float[Tensor, "vocab hidden"]
    bias: Float[Tensor, " vocab"] | None
    softcap: float | None
    num_tokens: int
    padding_ids: Int[Tensor, " unused"] | None
    boundary_ids: Int[Tensor, " subset"]
