"""Log-likelihoods of chunks: token log-probabilities, added up by chunk id."""

import math

from jaxtyping import Bool, Float, Int
from torch import Tensor

from alm_lightning.shapes import NO_CHUNK


def sum_into_chunks(
    token_values: Float[Tensor, "batch pos"],
    chunk_ids: Int[Tensor, "batch pos"],
    *,
    num_chunks: int,
) -> Float[Tensor, "batch chunk"]:
    r"""Sums of token values over each chunk; of log-probabilities: its log-likelihood, nats.

    A chunk is a run of tokens that spells the same bytes under both tokenizers, so its likelihood
    is a number on which student and teacher can be compared, whatever their vocabularies:

    .. math:: L(c) = \sum_{t \in c} \log p(x_t \mid x_{<t})

    Reference: Minixhofer, Vulić and Ponti (2025), arXiv:2503.20083.

    Args:
        token_values: One value a token, for the token *at* the position, not for the next one.
        chunk_ids: The chunk of each token, counted from 0 in its row, or `NO_CHUNK`.
        num_chunks: Width of the result.

    Returns:
        One sum a chunk; 0.0 in a column that the row does not use: select with a mask.

    Example:
        >>> import torch
        >>> values = torch.tensor([[0.0, -1.0, -2.0, -0.5]])
        >>> sum_into_chunks(values, torch.tensor([[NO_CHUNK, 0, 0, 1]]), num_chunks=3)
        tensor([[-3.0000, -0.5000,  0.0000]])
    """
    outside = chunk_ids == NO_CHUNK
    # masked_fill, not a product with the mask: -inf * 0 is nan, and so is its gradient
    counted = token_values.masked_fill(outside, 0.0)
    sums = token_values.new_zeros(len(token_values), num_chunks)
    # a batch holds ids of 32 bits, and sums by id want 64
    return sums.scatter_add(1, chunk_ids.long().clamp_min(0), counted)


def last_positions(
    chunk_ids: Int[Tensor, "batch pos"], *, num_chunks: int
) -> Int[Tensor, "batch chunk"]:
    """Position of the last token of each chunk.

    Args:
        chunk_ids: The chunk of each token, ascending within its row, or `NO_CHUNK`.
        num_chunks: Width of the result.

    Returns:
        A position a chunk; 0 in a column that the row does not use.

    Example:
        >>> import torch
        >>> last_positions(torch.tensor([[NO_CHUNK, 0, 0, 1]]), num_chunks=3)
        tensor([[2, 3, 0]])
    """
    chunk_ids = chunk_ids.long()
    positions = row_positions(chunk_ids).masked_fill(chunk_ids == NO_CHUNK, 0)
    last = chunk_ids.new_zeros(len(chunk_ids), num_chunks)
    return last.scatter_reduce(1, chunk_ids.clamp_min(0), positions, reduce="amax")


def row_positions(ids: Int[Tensor, "batch pos"]) -> Int[Tensor, "batch pos"]:
    """Positions 0, 1, ... of each row, on the device of `ids`."""
    return ids.new_ones(ids.shape).cumsum(1) - 1


def merged_ids(
    passes: Bool[Tensor, "batch chunk"], chunk_mask: Bool[Tensor, "batch chunk"]
) -> Int[Tensor, "batch chunk"]:
    """Where each chunk goes when those that do not pass are merged with the ones after them.

    A chunk that does not pass is merged up to and including the next that does; a trailing run that
    never passes is one merged chunk as well (docs/method.md, section 2, device 2).

    Args:
        passes: Whether each chunk is the last of a merged one: it passes, or its run ends there.
        chunk_mask: True for a chunk of the row, False for padding.

    Returns:
        Merged chunk ids, counted from 0 in each row, `NO_CHUNK` for padding.

    Example:
        >>> import torch
        >>> passes = torch.tensor([[True, False, False, True, False]])
        >>> merged_ids(passes, torch.ones_like(passes))
        tensor([[0, 1, 1, 1, 2]])
    """
    closing = (passes & chunk_mask).long()
    return (closing.cumsum(1) - closing).masked_fill(~chunk_mask, NO_CHUNK)


def passes_threshold(
    boundary_logprobs: Float[Tensor, "batch chunk"], threshold: float
) -> Bool[Tensor, "batch chunk"]:
    """Whether a boundary is likely enough after each chunk: exp(b) > threshold.

    Args:
        boundary_logprobs: The teacher's log-mass on boundary tokens after each chunk, nats.
        threshold: Gamma, in [0, 1); 0 lets every chunk pass that a boundary can follow at all.

    Returns:
        One flag a chunk.
    """
    return boundary_logprobs > (math.log(threshold) if threshold else -math.inf)
