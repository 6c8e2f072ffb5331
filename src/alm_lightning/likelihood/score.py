"""From a batch and the hidden states of one model to that model's side of the signal."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from alm_lightning.data.batch import SideTokens, placed
from alm_lightning.likelihood.chunks import last_positions, sum_into_chunks
from alm_lightning.likelihood.head import OutputHead
from alm_lightning.likelihood.linear import linear_log_likelihood
from alm_lightning.likelihood.signal import ModelSignal, TokenLogprobs


def token_logprobs(
    hidden: Float[Tensor, "batch pos hidden"],
    tokens: SideTokens,
    head: OutputHead,
    read: Bool[Tensor, "batch pos"] | None = None,
) -> tuple[Float[Tensor, "batch pos"], Float[Tensor, "batch pos"]]:
    """Log-probabilities of a sequence's own tokens, and of a boundary after each of them.

    This and `scored_logprobs` are the only places where logits of a position meet the next token.

    Args:
        hidden: Last hidden states.
        tokens: The sequence.
        head: The model's output layer.
        read: Positions, in the processor's memory, whose next token or boundary is asked for, none
            of them padding; None for all but padding.

    Returns:
        Log-probability of the token at each position given all before it in its document, 0.0 at
        the first position of each, for padding, and after a position that is not read; log-mass on
        boundary tokens after each position, 0.0 where that is not read. Nats.
    """
    ids, has_target = tokens.ids, tokens.has_target
    read = tokens.host.mask if read is None else read
    # after the last token of a document any token does, such as itself: that one is no target
    has_next = has_target.roll(-1, dims=1)
    # positions are left out before the product with the output matrix, which costs most
    next_ids = torch.where(has_next, ids.roll(-1, dims=1), ids)
    places = placed(read.flatten().nonzero().squeeze(1), ids.device)
    of_next, boundary = linear_log_likelihood(
        hidden.flatten(0, 1)[places],
        head.weight,
        next_ids.flatten()[places],
        boundary_ids=head.boundary_ids,
        bias=head.bias,
        softcap=head.softcap,
        num_tokens=head.num_tokens,
        padding_ids=head.padding_ids,
    )
    assert boundary is not None  # boundary ids are given above
    zeros = of_next.new_zeros(ids.numel())
    shifted = zeros.index_copy(0, places, of_next).view(ids.shape).roll(1, dims=1)
    after = zeros.index_copy(0, places, boundary).view(ids.shape)
    return shifted.masked_fill(~has_target, 0.0), after


def scored_logprobs(
    hidden: Float[Tensor, "batch pos hidden"],
    ids: Int[Tensor, "batch pos"],
    scored: Bool[Tensor, "batch pos"],
    head: OutputHead,
) -> Float[Tensor, " target"]:
    """Log-probabilities of some tokens in nats, given all before them; rows one after another.

    `scored` is True for these tokens, never for the first of a row: nothing predicts it.
    """
    logprobs, _ = linear_log_likelihood(
        hidden_before(hidden, scored),
        head.weight,
        ids[scored],
        bias=head.bias,
        softcap=head.softcap,
        num_tokens=head.num_tokens,
        padding_ids=head.padding_ids,
    )
    return logprobs


def hidden_before(
    hidden: Float[Tensor, "batch pos hidden"], scored: Bool[Tensor, "batch pos"]
) -> Float[Tensor, "target hidden"]:
    """The hidden states that predict some tokens: those one position before them."""
    return hidden[scored.roll(-1, dims=1)]


def model_signals(
    hidden: Float[Tensor, "batch pos hidden"],
    views: Sequence[tuple[SideTokens, Bool[Tensor, "batch _"]]],
    head: OutputHead,
    *,
    keep_tokens: bool,
    keep_hidden: bool,
    read: Bool[Tensor, "batch pos"] | None = None,
) -> list[ModelSignal]:
    """What one model says of its tokens; on request with hidden states at the ends of chunks.

    Without `keep_tokens` there is no product with the output matrix.

    Args:
        hidden: Last hidden states.
        views: The sequences, and which of their chunks are structure. Of several, tokens are the
            same and chunks are not: there is one product for all of them.
        head: The model's output layer.
        keep_tokens: Whether log-likelihoods are there.
        keep_hidden: Whether hidden states are there.
        read: As for `token_logprobs`.

    Returns:
        One signal a view.
    """
    of_tokens = token_logprobs(hidden, views[0][0], head, read) if keep_tokens else None
    found = []
    for tokens, is_structure in views:
        scores = None
        if of_tokens is not None:
            scores = chunk_scores(*of_tokens, tokens, is_structure)
        at_ends = states_at_ends(hidden, tokens, is_structure.shape[1]) if keep_hidden else None
        found.append(ModelSignal(optional_tokens=scores, optional_hidden=at_ends))
    return found


def chunk_scores(
    logprobs: Float[Tensor, "batch pos"],
    boundary: Float[Tensor, "batch pos"],
    tokens: SideTokens,
    chunk_is_structure: Bool[Tensor, "batch chunk"],
) -> TokenLogprobs:
    """Log-likelihoods of chunks from those of tokens.

    Args:
        logprobs: Log-probability of the token at each position, nats.
        boundary: Log-mass on boundary tokens after each position, nats.
        tokens: The sequences.
        chunk_is_structure: True for a chunk that is structure.

    Returns:
        Both.
    """
    num_chunks = chunk_is_structure.shape[1]
    ends = last_positions(tokens.chunk_ids, num_chunks=num_chunks)
    return TokenLogprobs(
        token_logprobs=logprobs,
        chunk_logprobs=sum_into_chunks(logprobs, tokens.chunk_ids, num_chunks=num_chunks),
        boundary_logprobs=boundary.gather(1, ends).masked_fill(chunk_is_structure, 0.0),
    )


def states_at_ends(
    hidden: Float[Tensor, "batch pos hidden"], tokens: SideTokens, num_chunks: int
) -> Float[Tensor, "batch chunk hidden"]:
    """Hidden states at the last token of each chunk, in float32."""
    ends = last_positions(tokens.chunk_ids, num_chunks=num_chunks)
    return hidden.gather(1, ends.unsqueeze(-1).expand(-1, -1, hidden.shape[-1])).float()
