"""What the log-probabilities of an ensemble's members are made of: output layers, positions."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from alm_lightning.likelihood.head import OutputHead
from alm_lightning.likelihood.linear import linear_log_likelihood
from alm_lightning.models.structure import UNSUPPORTED_HEADS, last_hidden


def bare_head(
    model: PreTrainedModel, num_tokens: int, unused: Int[Tensor, " unused"]
) -> OutputHead:
    """The output layer of a model whose tokenizer need not be known.

    Args:
        model: A causal language model.
        num_tokens: Output rows that count.
        unused: Ids among them that no token has.

    Returns:
        The layer, with no boundary tokens.

    Raises:
        ValueError: The model scales its logits in a way that is not supported.
    """
    layer = model.get_output_embeddings()
    config = model.config.get_text_config()
    for scale in UNSUPPORTED_HEADS:
        if getattr(config, scale, None) not in (None, 1, 1.0):
            raise ValueError(
                f"{type(model).__name__} scales its logits ({scale}={getattr(config, scale)}), "
                "which is not supported yet. Open an issue with the model's name."
            )
    device = layer.weight.device
    return OutputHead(
        weight=layer.weight,
        bias=getattr(layer, "bias", None),
        softcap=getattr(config, "final_logit_softcapping", None),
        num_tokens=num_tokens,
        padding_ids=unused.to(device) if len(unused) else None,
        boundary_ids=torch.zeros(0, dtype=torch.long, device=device),
    )


def states_before(
    model: PreTrainedModel, ids: Int[Tensor, "batch pos"], mask: Bool[Tensor, "batch pos"]
) -> Float[Tensor, "target hidden"]:
    """Last hidden states before the tokens that are scored.

    Args:
        model: A causal language model.
        ids: Token ids, padded on the right.
        mask: True for a token, False for padding.

    Returns:
        One a scored token, rows one after another.
    """
    return last_hidden(model, ids, mask)[:, :-1][scored_positions(mask)]


def own_logprobs(
    model: PreTrainedModel,
    ids: Int[Tensor, "batch pos"],
    mask: Bool[Tensor, "batch pos"],
    head: OutputHead,
) -> Float[Tensor, " target"]:
    """Log-probabilities of the tokens that are scored, under one model.

    Args:
        model: A causal language model.
        ids: Token ids, padded on the right.
        mask: True for a token, False for padding.
        head: Its output layer.

    Returns:
        Nats, rows one after another.
    """
    found, _ = linear_log_likelihood(
        states_before(model, ids, mask),
        head.weight,
        ids[:, 1:][scored_positions(mask)],
        bias=head.bias,
        softcap=head.softcap,
        num_tokens=head.num_tokens,
        padding_ids=head.padding_ids,
    )
    return found


def scored_positions(mask: Bool[Tensor, "batch pos"]) -> Bool[Tensor, "batch pos_before_last"]:
    """Where the next position has a token: all positions but the last.

    Args:
        mask: True for a token, False for padding, which must be on the right.

    Returns:
        One flag for each position that has a next one.

    Raises:
        ValueError: A row begins with padding.
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
    """Values of scored tokens, put where their tokens are, one position after what predicts them.

    Args:
        values: One a token, rows one after another.
        has_target: Where the next position has a token.

    Returns:
        The values, 0.0 elsewhere.
    """
    shape = (has_target.shape[0], has_target.shape[1] + 1)
    places = values.new_zeros(shape)
    places[:, 1:] = places[:, 1:].masked_scatter(has_target, values)
    return places


def check_numbers(values: Float[Tensor, " member *rest"], names: Sequence[str]) -> None:
    """Refuses what is no number.

    Args:
        values: Log-probabilities or normalisers of each member.
        names: The members.

    Raises:
        ValueError: One of them is NaN or infinite.
    """
    fine = values.isfinite().flatten(1).all(1)
    # one wait for the accelerator, whatever the number of members
    for name, is_fine in zip(names, fine.tolist(), strict=True):
        if not is_fine:
            raise ValueError(
                f"member {name} of the ensemble gives logits that are no numbers (NaN or "
                "infinite): its weights are broken, or overflow in their type. Take dtype=float32, "
                "or another checkpoint, or leave that member out."
            )
