"""From a batch and the hidden states of one model to that model's side of the signal."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from alm_lightning.data.batch import SideTokens
from alm_lightning.likelihood.chunks import last_positions, sum_into_chunks
from alm_lightning.likelihood.head import OutputHead
from alm_lightning.likelihood.linear import linear_log_likelihood
from alm_lightning.likelihood.signal import ModelSignal


def token_logprobs(
    hidden: Float[Tensor, "batch pos hidden"],
    tokens: SideTokens,
    head: OutputHead,
) -> tuple[Float[Tensor, "batch pos"], Float[Tensor, "batch pos"]]:
    """Log-probabilities of a sequence's own tokens, and of a boundary after each of them.

    The one place of the project where logits of a position meet the token of the next.

    Args:
        hidden: Last hidden states.
        tokens: The sequence.
        head: The model's output layer.

    Returns:
        Log-probability of the token at each position given all before it in its document, 0.0 at
        the first position of each and for padding; log-mass on boundary tokens after each position.
        Nats.
    """
    ids, mask, has_target = tokens.ids, tokens.mask, tokens.has_target
    # after the last token of a document any token does, such as itself: that one is no target
    has_next = has_target.roll(-1, dims=1)
    # padded positions are left out before the product with the output matrix, which costs most
    next_ids = torch.where(has_next, ids.roll(-1, dims=1), ids)[mask]
    of_next, boundary = linear_log_likelihood(
        hidden[mask],
        head.weight,
        next_ids,
        boundary_ids=head.boundary_ids,
        bias=head.bias,
        softcap=head.softcap,
        num_tokens=head.num_tokens,
        padding_ids=head.padding_ids,
    )
    zeros = of_next.new_zeros(ids.shape)
    shifted = zeros.masked_scatter(mask, of_next).roll(1, dims=1)
    return shifted.masked_fill(~has_target, 0.0), zeros.masked_scatter(mask, boundary)


def model_signal(
    hidden: Float[Tensor, "batch pos hidden"],
    tokens: SideTokens,
    chunk_is_structure: Bool[Tensor, "batch chunk"],
    head: OutputHead,
    *,
    keep_hidden: bool,
) -> ModelSignal:
    """What one model says of its tokens; hidden states at the ends of chunks on request."""
    num_chunks = chunk_is_structure.shape[1]
    logprobs, boundary = token_logprobs(hidden, tokens, head)
    ends = last_positions(tokens.chunk_ids, num_chunks=num_chunks)
    at_ends = hidden.gather(1, ends.unsqueeze(-1).expand(-1, -1, hidden.shape[-1]))
    return ModelSignal(
        token_logprobs=logprobs,
        chunk_logprobs=sum_into_chunks(logprobs, tokens.chunk_ids, num_chunks=num_chunks),
        boundary_logprobs=boundary.gather(1, ends).masked_fill(chunk_is_structure, 0.0),
        optional_hidden=at_ends.float() if keep_hidden else None,
    )
