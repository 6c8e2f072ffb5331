"""The start of every initialisation: copies of old rows, and the mean row elsewhere."""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from alm_lightning.counterparts import NONE, same_bytes
from alm_lightning.tokenization.specials.roles import old_special_ids
from alm_lightning.tokenization.view import TokenizerView

BLOCK = 8192
"""Rows that are turned into float64 at once."""


class Start:
    """Copied rows for what both vocabularies have, the mean row for all the rest.

    A special token is copied from the old special token that does the same
    (`tokenization.specials.roles`), any other token from the one with the same bytes
    (`counterparts.same_bytes`). The mean is that of the old ordinary tokens: those that stand for
    bytes.

    Args:
        old: The tokenizer that the model was trained with.
        new: The tokenizer that it gets.

    Attributes:
        old_ids: For each new id the old one that it is copied from, or `NONE`.
        missing: Ordinary new ids whose bytes no old token stands for: these have to be made.
    """

    def __init__(self, old: TokenizerView, new: TokenizerView):
        self._old_name, self._old_size = old.name, old.num_tokens
        self._ordinary = np.flatnonzero(old.table.is_content)
        self.old_ids: Int[np.ndarray, " new_vocab"] = same_bytes(new, old)
        is_missing = new.table.is_content & (self.old_ids == NONE)
        self.missing: Int[np.ndarray, " subset"] = np.flatnonzero(is_missing)
        for new_id, old_id in old_special_ids(old, new).items():
            self.old_ids[new_id] = old_id

    def rows(self, matrix: Float[Tensor, "old_vocab width"]) -> Float[Tensor, "new_vocab width"]:
        """Copies, and the mean for everything else: a tensor of its own, in float32.

        A ValueError says that there are fewer rows than the old vocabulary has ids.
        """
        if len(matrix) < self._old_size:
            raise ValueError(
                f"tokenizer {self._old_name!r} has {self._old_size:,} ids, but the matrix has only "
                f"{len(matrix):,} rows. Take tokenizer and weights from one revision."
            )
        rows = matrix.new_empty((len(self.old_ids), matrix.shape[1]), dtype=torch.float32)
        rows[:] = self.mean(matrix)
        copied = torch.from_numpy(np.flatnonzero(self.old_ids != NONE)).to(matrix.device)
        sources = torch.from_numpy(self.old_ids).to(matrix.device)[copied]
        rows[copied] = matrix.detach()[sources].float()
        return rows

    def mean(self, matrix: Float[Tensor, "old_vocab width"]) -> Float[Tensor, " width"]:
        """The mean of the old ordinary rows, summed up in float64."""
        return mean_row(matrix, self._ordinary)

    def covariance(
        self, matrix: Float[Tensor, "old_vocab width"]
    ) -> Float[Tensor, "width other_width"]:
        """The covariance of the channels of the old ordinary rows, in float64."""
        width = matrix.shape[1]
        mean = self.mean(matrix)
        total = matrix.new_zeros((width, width), dtype=torch.float64)
        for block in self.ordinary_blocks(matrix):
            # products in float32, which is three times as fast; their sums are exact enough
            deviations = block.float() - mean
            total += (deviations.T @ deviations).double()
        return total / len(self._ordinary)

    def ordinary_blocks(
        self, matrix: Float[Tensor, "old_vocab width"]
    ) -> Iterator[Float[Tensor, "subset width"]]:
        """The old ordinary rows in float64, in blocks: all at once would double the memory."""
        yield from _blocks(matrix, self._ordinary)


def mean_row(
    matrix: Float[Tensor, "old_vocab width"], ids: Int[np.ndarray, " subset"]
) -> Float[Tensor, " width"]:
    """The mean of the rows with these ids, in float32, summed up in float64."""
    total = matrix.new_zeros(matrix.shape[1], dtype=torch.float64)
    for block in _blocks(matrix, ids):
        total += block.sum(dim=0)
    return (total / len(ids)).float()


def _blocks(
    matrix: Float[Tensor, "old_vocab width"], ids: Int[np.ndarray, " subset"]
) -> Iterator[Float[Tensor, "subset width"]]:
    for block in torch.from_numpy(ids).to(matrix.device).split(BLOCK):
        yield matrix.detach()[block].double()
