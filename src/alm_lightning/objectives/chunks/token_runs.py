"""Positions of the tokens of each chunk, on both sides."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from alm_lightning.data.batch import SideTokens
from alm_lightning.likelihood.chunks import sum_into_chunks
from alm_lightning.likelihood.signal import Supervision
from alm_lightning.objectives.chunks.positions import positions_where


@dataclass(frozen=True)
class Runs:
    """The tokens of chunks, on one side.

    Attributes:
        positions: Positions in the flattened batch of all tokens of the chunks, one chunk after
            another.
        counts: How many of them each chunk has: one or more.
    """

    positions: Int[Tensor, " pos"]
    counts: Int[Tensor, " row"]

    @property
    def first(self) -> Int[Tensor, " row"]:
        """The position of each chunk's first token."""
        return self.positions[self.starts]

    @property
    def starts(self) -> Int[Tensor, " row"]:
        """Where in `positions` each chunk begins."""
        return self.counts.cumsum(0) - self.counts


@dataclass(frozen=True)
class TokenRuns:
    """Chunks of which both models predict every token.

    Attributes:
        chunks: Whether each chunk of the batch is one.
        student: Their tokens on the student's side.
        teacher: Their tokens on the teacher's side, in the same order of chunks.
    """

    chunks: Bool[Tensor, "batch chunk"]
    student: Runs
    teacher: Runs


def token_runs(signal: Supervision) -> TokenRuns:
    """Finds the tokens of the chunks that both models predict, in the order of the batch."""
    sides = (signal.student_tokens, signal.teacher_tokens)
    num_chunks = signal.chunk_mask.shape[1]
    counts = [_count(tokens, torch.ones_like(tokens.has_target), num_chunks) for tokens in sides]
    targets = [_count(tokens, tokens.has_target, num_chunks) for tokens in sides]
    chunks = signal.chunk_mask
    for count, target in zip(counts, targets, strict=True):
        chunks = chunks & (count > 0) & (count == target)
    runs = [
        # ids of chunks ascend in a row, so that positions come chunk by chunk
        Runs(positions_where(tokens.in_chunks(chunks)), count[chunks])
        for tokens, count in zip(sides, counts, strict=True)
    ]
    return TokenRuns(chunks, *runs)


def _count(
    tokens: SideTokens, counted: Bool[Tensor, "batch pos"], num_chunks: int
) -> Int[Tensor, "batch chunk"]:
    """How many tokens of each chunk are of a kind."""
    return sum_into_chunks(counted.float(), tokens.chunk_ids, num_chunks=num_chunks).long()
