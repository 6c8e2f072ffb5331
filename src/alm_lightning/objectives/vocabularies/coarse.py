"""Cells on which two vocabularies are compared: the shared tokens, and what belongs to them."""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from alm_lightning.counterparts import NONE, Prefixes
from alm_lightning.objectives.vocabularies.pair_facts import PairFacts, Vocabulary
from alm_lightning.objectives.vocabularies.shared import (
    SharedVocabulary,
    are_first,
    columns,
    shared_ids,
    token_ids,
)
from alm_lightning.objectives.vocabularies.tables import register_tables

Unshared = Literal["prefix", "bucket"]
"""Where a token that only one side has belongs: to the longest shared token that its bytes begin
with, or to one cell with all others."""


class CoarseVocabulary(nn.Module):
    """A partition of both vocabularies into the same cells: one a shared token, and a bucket.

    A cell holds a shared token and, where unshared tokens go by their prefix, those of either side
    whose bytes begin with it, and with no longer shared token. So a cell stands for one event on
    both sides, which bytes come next, whatever the length of the token that has them: a teacher
    with "unbelievable" and a student with "un" and "believable" agree. In one bucket they do not:
    there the teacher's mass is compared with whatever else the student has.

    The bucket has what is left. Where a side has nothing there, a divergence from anything that is
    not would be infinite: then neither side has a bucket, and both distributions are renormalised
    over the other cells.

    Attributes:
        has_bucket: Whether there is a cell for what is left, the last one.

    Args:
        pair: Both vocabularies.
        unshared: Where a token belongs that only one side has, one of `Unshared`.
    """

    def __init__(self, pair: PairFacts, unshared: str):
        super().__init__()
        student_ids, teacher_ids = shared_ids(pair)
        self.shared = SharedVocabulary(student_ids, teacher_ids)
        by_prefix = unshared == "prefix"
        self.student = CoarseSide(pair.student.view, student_ids, by_prefix=by_prefix)
        self.teacher = CoarseSide(pair.teacher.view, teacher_ids, by_prefix=by_prefix)
        self.has_bucket = len(self.student.left) > 0 and len(self.teacher.left) > 0
        self.student.has_bucket = self.teacher.has_bucket = self.has_bucket

    def __len__(self) -> int:
        """How many tokens are shared."""
        return len(self.shared)


class CoarseSide(nn.Module):
    """The cells of one vocabulary.

    Attributes:
        shared: Ids of the shared tokens, one a cell.
        joining: Ids of unshared tokens that belong to the cell of a shared one.
        joined: The cells of these.
        left: Ids of the bucket.
        has_bucket: Whether the bucket is a cell.

    Args:
        view: The vocabulary.
        shared: Ids of the shared tokens.
        by_prefix: Whether unshared tokens join the longest shared token that they begin with.
    """

    shared: Int[Tensor, " shared"]
    joining: Int[Tensor, " joining"]
    joined: Int[Tensor, " joining"]
    left: Int[Tensor, " left"]

    def __init__(self, view: Vocabulary, shared: Int[np.ndarray, " shared"], *, by_prefix: bool):
        super().__init__()
        self.has_bucket, self._are_first = True, are_first(shared)
        bucket = len(shared)
        cells = _cells(view, shared, by_prefix=by_prefix)
        joining = np.setdiff1d(np.flatnonzero((cells != NONE) & (cells != bucket)), shared)
        left = np.flatnonzero(cells == bucket)
        register_tables(self, shared=shared, joining=joining, joined=cells[joining], left=left)

    def forward(self, token_logprobs: Float[Tensor, "row vocab"]) -> Float[Tensor, "row cell"]:
        """Log-probabilities of the cells, nats, from those of all tokens of the vocabulary.

        The cells of the shared tokens have one order on both sides; the bucket is the last.
        """
        # summed up in log space: 1 - (what is shared) has no digits left where the rest is little
        cells = columns(token_logprobs, self.shared, are_first=self._are_first)
        if len(self.joining):
            cells = _joined(cells, token_logprobs[:, self.joining], self.joined)
        if not self.has_bucket:
            # a side with nothing left sums to 1 as it is
            return cells.log_softmax(dim=1) if len(self.left) else cells
        left = token_logprobs[:, self.left].logsumexp(dim=1, keepdim=True)
        return torch.cat([cells, left], dim=1)


def _joined(
    logprobs: Float[Tensor, "row shared"],
    joining: Float[Tensor, "row joining"],
    cells: Int[Tensor, " joining"],
) -> Float[Tensor, "row shared"]:
    """Adds up the probabilities of each cell, as a logsumexp of it."""
    index = cells.expand_as(joining)
    with torch.no_grad():
        most = logprobs.scatter_reduce(1, index, joining, "amax")
    sums = (logprobs - most).exp()
    return sums.scatter_add(1, index, (joining - most.gather(1, index)).exp()).log() + most


def _cells(
    view: Vocabulary, shared: Int[np.ndarray, " shared"], *, by_prefix: bool
) -> Int[np.ndarray, " vocab"]:
    """The cell of each id; `NONE` for an id that no token has, since it has no mass."""
    cells = np.full(view.num_tokens, NONE, dtype=np.int64)
    cells[shared] = np.arange(len(shared))
    surfaces = [view.token_bytes[id_] for id_ in shared.tolist()]
    prefixes = Prefixes({surface: cell for cell, surface in enumerate(surfaces) if surface})
    for id_ in np.setdiff1d(token_ids(view), shared).tolist():
        surface = view.token_bytes[id_]
        cell = prefixes.longest(surface, 0)[0] if by_prefix and surface else NONE
        cells[id_] = len(shared) if cell == NONE else cell
    return cells
