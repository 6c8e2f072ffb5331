"""Log-probabilities of an ensemble's members: hidden states, output layers, positions."""

from collections.abc import Sequence

from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from alm_lightning.evaluation.evaluated_model import BROKEN
from alm_lightning.likelihood.head import OutputHead
from alm_lightning.likelihood.linear import linear_log_likelihood
from alm_lightning.models.structure import last_hidden


def states_before(
    model: PreTrainedModel, ids: Int[Tensor, "batch pos"], mask: Bool[Tensor, "batch pos"]
) -> Float[Tensor, "target hidden"]:
    """Last hidden states before each scored token, rows one after another."""
    return last_hidden(model, ids, mask)[:, :-1][scored_positions(mask)]


def own_logprobs(
    model: PreTrainedModel,
    ids: Int[Tensor, "batch pos"],
    mask: Bool[Tensor, "batch pos"],
    head: OutputHead,
) -> Float[Tensor, " target"]:
    """Log-probabilities of the scored tokens under one model, in nats, rows one after another."""
    logprobs, _ = linear_log_likelihood(
        states_before(model, ids, mask),
        head.weight,
        ids[:, 1:][scored_positions(mask)],
        bias=head.bias,
        softcap=head.softcap,
        num_tokens=head.num_tokens,
        padding_ids=head.padding_ids,
    )
    return logprobs


def scored_positions(mask: Bool[Tensor, "batch pos"]) -> Bool[Tensor, "batch pos_before_last"]:
    """Where the next position has a token: a flag for each position but the last.

    A ValueError says that a row begins with padding.
    """
    if not bool(mask[:, :1].all()):
        raise ValueError(
            "mask says that a row begins with padding: expected padding on the right, so that the "
            "first token of a row, which nothing predicts, is at position 0."
        )
    return mask[:, 1:]


def scattered(
    values: Float[Tensor, " target"], has_target: Bool[Tensor, "batch pos_before_last"]
) -> Float[Tensor, "batch pos"]:
    """Values of scored tokens at the tokens' own positions, 0.0 elsewhere."""
    shape = (has_target.shape[0], has_target.shape[1] + 1)
    places = values.new_zeros(shape)
    places[:, 1:] = places[:, 1:].masked_scatter(has_target, values)
    return places


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
