"""Fast vocabulary transfer: a new token begins as the mean of the old ones that it is cut into."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import embedding_bag

from alm_lightning.models.embeddings.initialisation import NewRows, Side
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

    def fitted(self, *, old: TokenizerView, new: TokenizerView) -> NewRows:
        """Finds the old tokens that new ones are split into."""
        start = Start(old, new)
        surfaces = [new.token_bytes[index] for index in start.missing.tolist()]
        ids, counts = pieces(old, surfaces)
        # a token without pieces stays the mean row that it is
        made = start.missing[counts > 0]
        counts = counts[counts > 0]
        indices = [torch.from_numpy(each) for each in (ids, np.cumsum(counts) - counts, made)]

        def rows_of(
            matrix: Float[Tensor, "old_vocab width"], *, side: Side
        ) -> Float[Tensor, "new_vocab width"]:
            rows = start.rows(matrix)
            if len(made):
                ids, offsets, places = (each.to(matrix.device) for each in indices)
                rows[places] = embedding_bag(ids, matrix.detach().float(), offsets, mode="mean")
            return rows

        return rows_of
