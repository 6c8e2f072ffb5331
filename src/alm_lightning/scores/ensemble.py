"""Several teachers that were read from stores, side by side or as one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from alm_lightning.data.batch import DistillBatch, SideTokens
from alm_lightning.data.teacher_weights import TeacherWeights
from alm_lightning.likelihood.chunks import last_positions
from alm_lightning.likelihood.signal import ModelSignal, TokenLogprobs
from alm_lightning.models.pair import Teacher
from alm_lightning.scores.teacher import StoredTeacher
from alm_lightning.tokenization.view import TokenizerView

LOSSES, MIXTURE, GEOMETRIC = "losses", "mixture", "geometric"
WAYS = (LOSSES, MIXTURE, GEOMETRIC)
"""How several teachers are combined: their losses, or their likelihoods of chunks that all have."""


@dataclass(frozen=True)
class StoredTeachers:
    """Several teachers of one student.

    Attributes:
        each: Of each a store.
        labels: What logs and summaries call them, no two alike.
        weights: How much each counts.
        combine: One of `WAYS`.
    """

    each: tuple[StoredTeacher, ...]
    labels: tuple[str, ...]
    weights: TeacherWeights
    combine: str

    @property
    def teaching(self) -> tuple[Teacher, ...]:
        """Those whose losses are taken: all of them, or the one that they are together."""
        return self.each if self.combine == LOSSES else (StoredEnsemble(self.each, self.combine),)

    def freeze(self) -> None:
        """Does nothing: there is nothing to train."""

    def to(self, device: torch.device) -> "StoredTeachers":
        """Itself: batches bring their scores along."""
        return self


Teaching: TypeAlias = Teacher | StoredTeachers
"""Whoever teaches: one teacher, or several."""


def teachers_of(teaching: Teaching) -> tuple[Teacher, ...]:
    """The teachers whose losses are taken, one by one.

    Args:
        teaching: One teacher or several.

    Returns:
        At least one.
    """
    return teaching.teaching if isinstance(teaching, StoredTeachers) else (teaching,)


@dataclass(frozen=True)
class StoredEnsemble:
    r"""Several teachers as one, by the likelihoods that they give to chunks that all of them have.

    .. math:: \log p(c) = \log \sum_k w_k p_k(c) \quad\text{or}\quad \sum_k w_k \log p_k(c)

    for ``mixture`` and ``geometric``. The mass b of a boundary after a chunk is combined with the
    chunk: p(c) e^b is the same mean of what each teacher gives to both.

    Attributes:
        each: The teachers.
        combine: ``mixture`` or ``geometric``.
    """

    each: tuple[StoredTeacher, ...]
    combine: str

    def __call__(
        self,
        batch: DistillBatch,
        tokens: SideTokens,
        *,
        keep_tokens: bool = True,
        keep_hidden: bool = False,
        keep_distributions: bool = False,
    ) -> ModelSignal:
        """What they say of chunks together. The rest is each teacher's own, and is not there.

        The log-probability of a token is 0, but of the last one of a chunk: it is the chunk's.
        """
        if keep_hidden or keep_distributions:
            raise ValueError("teachers have a likelihood of chunks in common, and nothing else.")
        sides = [
            teacher(view, view.teacher)
            for teacher, view in zip(self.each, batch.views, strict=True)
        ]
        chunks = self._mean([side.chunk_logprobs for side in sides], batch.shares)
        both = self._mean(
            [side.chunk_logprobs + side.boundary_logprobs for side in sides], batch.shares
        )
        ends = last_positions(tokens.chunk_ids, num_chunks=chunks.shape[1])
        by_token = torch.zeros_like(tokens.ids, dtype=chunks.dtype)
        # a column that the row does not use is at the first position, and adds nothing
        by_token = by_token.scatter_add(1, ends, chunks.masked_fill(~batch.chunk_mask, 0.0))
        found = TokenLogprobs(
            token_logprobs=by_token, chunk_logprobs=chunks, boundary_logprobs=both - chunks
        )
        return ModelSignal(optional_tokens=found)

    def _mean(
        self, logprobs: Sequence[Float[Tensor, "batch chunk"]], shares: Sequence[float]
    ) -> Float[Tensor, "batch chunk"]:
        chosen = [(each, share) for each, share in zip(logprobs, shares, strict=True) if share]
        if self.combine == GEOMETRIC:
            return torch.stack([each * share for each, share in chosen]).sum(0)
        weighted = torch.stack([each + math.log(share) for each, share in chosen])
        return weighted.logsumexp(0)

    @property
    def view(self) -> TokenizerView:
        """The first teacher's tokenizer: that of `DistillBatch.teacher`."""
        return self.each[0].view

    @property
    def hidden_size(self) -> int:
        """The first teacher's."""
        return self.each[0].hidden_size

    @property
    def embedding_size(self) -> int:
        """The first teacher's."""
        return self.each[0].embedding_size

    def freeze(self) -> None:
        """Does nothing: there is nothing to train."""

    def to(self, device: torch.device) -> "StoredEnsemble":
        """Itself: batches bring their scores along."""
        return self
