"""Where a whole distribution can be compared: chunks of one token on both sides."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from alm_lightning.data.batch import SideTokens
from alm_lightning.likelihood.chunks import sum_into_chunks
from alm_lightning.likelihood.signal import Supervision
from alm_lightning.objectives.chunks.positions import positions_where


@dataclass(frozen=True)
class OneToOne:
    """Chunks that are one token on both sides, both of them predicted.

    Attributes:
        chunks: Whether each chunk of the batch is one.
        student_positions: Positions of their tokens in the flattened batch.
        teacher_positions: The same for the teacher, in the same order.
    """

    chunks: Bool[Tensor, "batch chunk"]
    student_positions: Int[Tensor, " row"]
    teacher_positions: Int[Tensor, " row"]


def one_to_one(signal: Supervision) -> OneToOne:
    """Finds the chunks at which both models predict one token; positions ascend."""
    sides = (signal.student_tokens, signal.teacher_tokens)
    single = [_is_single(tokens, signal.chunk_mask) for tokens in sides]
    chunks = signal.chunk_mask & single[0] & single[1]
    return OneToOne(chunks, *(positions_where(tokens.in_chunks(chunks)) for tokens in sides))


def _is_single(
    tokens: SideTokens, chunk_mask: Bool[Tensor, "batch chunk"]
) -> Bool[Tensor, "batch chunk"]:
    """Whether a chunk has one token, which is predicted."""
    num_chunks = chunk_mask.shape[1]
    ones = torch.ones_like(tokens.ids, dtype=torch.float32)
    count = sum_into_chunks(ones, tokens.chunk_ids, num_chunks=num_chunks)
    predicted = sum_into_chunks(tokens.has_target.float(), tokens.chunk_ids, num_chunks=num_chunks)
    return (count == 1) & (predicted == 1)
