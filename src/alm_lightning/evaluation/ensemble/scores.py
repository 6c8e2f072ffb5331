"""What is scored of an ensemble, and whether its members give numbers."""

from collections.abc import Sequence

from jaxtyping import Bool, Float
from torch import Tensor

from alm_lightning.evaluation.evaluated_model import BROKEN


def scored_tokens(mask: Bool[Tensor, "batch pos"]) -> Bool[Tensor, "batch pos"]:
    """The tokens that have one before them: all of a mask but the first of each row.

    A ValueError says that a row begins with padding.
    """
    if not bool(mask[:, :1].all()):
        raise ValueError(
            "mask says that a row begins with padding: expected padding on the right, so that the "
            "first token of a row, which nothing predicts, is at position 0."
        )
    scored = mask.clone()
    scored[:, :1] = False
    return scored


def scattered(
    values: Float[Tensor, " target"], scored: Bool[Tensor, "batch pos"]
) -> Float[Tensor, "batch pos"]:
    """Values of scored tokens at their positions, 0.0 elsewhere."""
    return values.new_zeros(scored.shape).masked_scatter(scored, values)


def check_numbers(values: Float[Tensor, " member *rest"], names: Sequence[str]) -> None:
    """Refuses log-probabilities or normalisers of which one is not finite, and names the member."""
    fine = values.isfinite().flatten(1).all(1)
    # one wait for the accelerator, whatever the number of members
    for name, is_fine in zip(names, fine.tolist(), strict=True):
        if not is_fine:
            raise ValueError(
                f"member {name} of the ensemble gives logits that are not numbers (NaN or "
                f"infinite): {BROKEN}, or leave that member out."
            )
