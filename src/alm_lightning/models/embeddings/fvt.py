"""Fast vocabulary transfer: a new token begins as the mean of the old ones that it is cut into."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import embedding_bag

from alm_lightning.models.embeddings.initialisation import Side
from alm_lightning.models.embeddings.pieces import pieces
from alm_lightning.models.embeddings.start import Start
from alm_lightning.tokenization.view import TokenizerView


class FastVocabularyTransfer:
    """Shared tokens copied, special tokens by role, other tokens from what they are cut into.

    The method of Gee et al. (2022), "Fast Vocabulary Transfer for Language Model Compression"
    (docs/method.md, section 4): a token that only the new vocabulary has begins as the mean of the
    old rows of the old tokenizer's encoding of its bytes, as often as each occurs. Bytes that are
    no valid UTF-8 are cut into the longest old tokens (`pieces.pieces`). Rows that this says
    nothing of begin as the mean of the old ordinary rows: special tokens without a counterpart, ids
    that no token has, tokens of which the old tokenizer knows nothing.
    """

    def fitted(self, *, old: TokenizerView, new: TokenizerView) -> "PieceMeans":
        """Finds the old tokens that new ones are split into."""
        start = Start(old, new)
        surfaces = [new.token_bytes[index] for index in start.missing.tolist()]
        return PieceMeans(start, *pieces(old, surfaces))


class PieceMeans:
    """The rows of `FastVocabularyTransfer`.

    Args:
        start: Of the two vocabularies.
        ids: The old tokens that the missing tokens of the start are cut into, joined.
        counts: How many each missing token has.
    """

    def __init__(
        self, start: Start, ids: Int[np.ndarray, " piece"], counts: Int[np.ndarray, " token"]
    ):
        self._start = start
        self._ids = torch.from_numpy(ids)
        # a token without pieces stays the mean row that it is
        self._made = torch.from_numpy(start.missing[counts > 0])
        counts = counts[counts > 0]
        self._offsets = torch.from_numpy(np.cumsum(counts) - counts)

    def __call__(
        self, matrix: Float[Tensor, "old_vocab width"], *, side: Side
    ) -> Float[Tensor, "new_vocab width"]:
        """New rows (see `NewRows`), the same way on both sides."""
        del side
        rows = self._start.rows(matrix)
        if len(self._made):
            ids, offsets, made = (
                indices.to(matrix.device) for indices in (self._ids, self._offsets, self._made)
            )
            rows[made] = embedding_bag(ids, matrix.detach().float(), offsets, mode="mean")
        return rows
