"""New embeddings that ignore the bytes of a token: baselines of the other initialisations."""

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from alm_lightning.models.embeddings.initialisation import NewRows, Side
from alm_lightning.models.embeddings.start import BLOCK, Start
from alm_lightning.tokenization.view import TokenizerView


class Mean:
    """Shared tokens copied, special tokens by role, every other row the mean old row.

    The mean is taken over the old ordinary tokens, those that stand for bytes. All new tokens that
    are no copies begin equal, and come apart in training.
    """

    def fitted(self, *, old: TokenizerView, new: TokenizerView) -> NewRows:
        """Finds the shared tokens."""
        start = Start(old, new)
        return lambda matrix, *, side: start.rows(matrix)


class Keep:
    """Shared tokens copied, special tokens by role, the rest drawn like old rows.

    They are drawn from the normal distribution that has the mean and the covariance of the old
    ordinary rows. The covariance is the full one, not that of each channel alone: channels of
    embeddings vary together, and only so have the products of a new row with any hidden state, its
    logits, the mean and the spread that those of old tokens have.

    Args:
        seed: Of what is drawn: the same seed draws the same rows again. Input and output are
            drawn apart, in whatever order they are asked for.
    """

    def __init__(self, *, seed: int = 0):
        self.seed = seed

    def fitted(self, *, old: TokenizerView, new: TokenizerView) -> NewRows:
        """Finds the shared tokens."""
        return partial(self._rows, Start(old, new))

    def _rows(
        self, start: Start, matrix: Float[Tensor, "old_vocab width"], *, side: Side
    ) -> Float[Tensor, "new_vocab width"]:
        rows = start.rows(matrix)
        mean = start.mean(matrix)
        # a root of the covariance by its eigenvectors: Cholesky's would need full rank, which
        # fewer tokens than channels do not have
        values, vectors = torch.linalg.eigh(start.covariance(matrix))
        root = (vectors * values.clamp_min(0).sqrt()).T.float()
        # drawn on the CPU, so that one seed means the same rows on every device
        generator = torch.Generator().manual_seed(2 * self.seed + (side == "output"))
        for ids in torch.from_numpy(start.missing).split(BLOCK):
            drawn = torch.randn((len(ids), matrix.shape[1]), generator=generator)
            rows[ids.to(rows.device)] = torch.addmm(mean, drawn.to(rows.device), root)
        return rows
