"""New embeddings from those of a donor: the model that the new tokenizer comes from."""

import logging

import numpy as np
import torch
from jaxtyping import Float, Int
from rich.console import Console
from rich.progress import track
from torch import Tensor

from alm_lightning.counterparts import NONE
from alm_lightning.models.embeddings.donor import anchors, donor_ids
from alm_lightning.models.embeddings.initialisation import Side
from alm_lightning.models.embeddings.pursuit import Combination, Pursuit
from alm_lightning.models.embeddings.start import Start
from alm_lightning.models.loading import load_causal_lm, load_view
from alm_lightning.models.weights.sources import WeightSource
from alm_lightning.tokenization.view import TokenizerView

log = logging.getLogger(__name__)


class OrthogonalMatchingPursuit:
    """Shared tokens copied, special tokens by role, other tokens in the donor's proportions.

    The method of Goddard and Fernandes Neto (2025), arXiv:2506.06607; see docs/method.md, section
    4. The donor is a model that has the new tokenizer. Its embedding of a token that the old
    vocabulary lacks is written as a sparse combination of its embeddings of tokens that both
    vocabularies have (`pursuit`), and the same combination of the old embeddings is the new one.
    Input and output have coefficients of their own, unless the donor ties the two.

    A special token without an old counterpart is made like an ordinary one if the donor has a
    special token of that text. Rows of which the donor says nothing begin as the mean of the old
    ordinary rows.

    Args:
        donor: Where the weights and the tokenizer of the donor come from.
        k: Most shared tokens that a new one is written in. Time grows with it.
        batch_size: New tokens that are worked on at once.
        table_gib: Memory for products of shared tokens, in GiB. 46,000 of them need 8; where
            it is too small, the search takes three times as long.
    """

    def __init__(
        self, *, donor: WeightSource, k: int = 8, batch_size: int = 128, table_gib: float = 8.0
    ):
        if k < 1 or batch_size < 1:
            raise ValueError(f"k is {k} and batch_size {batch_size}: expected 1 or more of each.")
        self.donor = donor
        self.k = k
        self.batch_size = batch_size
        self.table_bytes = int(table_gib * 2**30)

    def fitted(self, *, old: TokenizerView, new: TokenizerView) -> "DonorRows":
        """Loads the donor; coefficients of each side are computed when they are first needed."""
        view = load_view(self.donor, name=f"the donor, {self.donor.describe()}")
        model = load_causal_lm(self.donor, dtype=torch.float32, attn_implementation=None)
        matrix = model.get_input_embeddings().weight.detach()
        output = model.get_output_embeddings().weight.detach()
        return DonorRows(
            Start(old, new),
            donor_ids=donor_ids(view, new, min(len(matrix), len(output))),
            anchors=anchors(old, new),
            donor_input=matrix,
            donor_output=None if output.data_ptr() == matrix.data_ptr() else output,
            k=self.k,
            batch_size=self.batch_size,
            table_bytes=self.table_bytes,
        )


class DonorRows:
    """The rows of `OrthogonalMatchingPursuit`; anchors are new ids that both vocabularies have."""

    def __init__(
        self,
        start: Start,
        *,
        donor_ids: Int[np.ndarray, " new_vocab"],
        anchors: Int[np.ndarray, " atom"],
        donor_input: Float[Tensor, "donor_vocab donor_width"],
        donor_output: Float[Tensor, "donor_vocab donor_width"] | None,
        k: int,
        batch_size: int,
        table_bytes: int,
    ):
        self._start = start
        self._anchors = torch.from_numpy(start.old_ids[anchors])
        self._donor_anchors = torch.from_numpy(donor_ids[anchors])
        made = np.flatnonzero((start.old_ids == NONE) & (donor_ids != NONE))
        self._made, self._donor_made = torch.from_numpy(made), torch.from_numpy(donor_ids[made])
        self._donor = {"input": donor_input}
        if donor_output is not None:
            self._donor["output"] = donor_output
        self._k, self._batch_size, self._table_bytes = k, batch_size, table_bytes
        self._found: dict[str, list[Combination]] = {}

    def __call__(
        self, matrix: Float[Tensor, "old_vocab width"], *, side: Side
    ) -> Float[Tensor, "new_vocab width"]:
        """New rows (see `NewRows`), in the proportions of the donor's matrix on that side."""
        rows = self._start.rows(matrix)
        anchors = matrix.detach()[self._anchors.to(matrix.device)].float()
        combinations = self._combinations(side, matrix.device)
        parts = self._made.to(matrix.device).split(self._batch_size)
        for made, combination in zip(parts, combinations, strict=True):
            # a donor's row of zeros was never trained: the mean row says more
            is_said = combination.coefficients.any(dim=1)
            rows[made[is_said]] = combination.of(anchors)[is_said]
        return rows

    def _combinations(self, side: str, device: torch.device) -> list[Combination]:
        """The combinations of all new tokens, in batches; computed once for each side."""
        side = side if side in self._donor else "input"
        if side not in self._found:
            donor = self._donor[side].to(device)
            # for a few tokens, most of a table would be computed for one use
            pays = len(self._made) * self._k > len(self._anchors)
            pursuit = Pursuit(
                donor[self._donor_anchors.to(device)],
                table_bytes=self._table_bytes if pays else 0,
            )
            log.info(
                "Writing the %s embeddings of %s tokens in at most %d of %s shared ones each",
                side if len(self._donor) > 1 else "donor's",
                f"{len(self._made):,}",
                self._k,
                f"{pursuit.num_atoms:,}",
            )
            console = Console(stderr=True)
            self._found[side] = [
                pursuit.combinations(donor[ids], sparsity=self._k)
                for ids in track(
                    self._donor_made.to(device).split(self._batch_size),
                    "orthogonal matching pursuit",
                    console=console,
                    transient=True,
                    disable=not console.is_terminal,
                )
            ]
        return self._found[side]
