"""What two vocabularies can be compared on: the tokens that both have, and what goes with them."""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from alm_lightning.counterparts import NONE, Prefixes
from alm_lightning.objectives.vocabularies.pair_facts import PairFacts, Vocabulary
from alm_lightning.objectives.vocabularies.shared import SharedVocabulary, shared_ids

Unshared = Literal["prefix", "bucket"]
"""Where a token that only one side has belongs: to the longest shared token that its bytes begin
with, or to one cell with all others."""


class CoarseVocabulary(nn.Module):
    """A partition of both vocabularies into the same cells: one a shared token, and a bucket.

    A cell holds a shared token and, where unshared tokens go by their prefix, those of either side
    whose bytes begin with it, and with no longer shared token. So a cell stands for one event on
    both sides, how the text goes on, however far the token reaches that a side takes for it: a
    teacher with "unbelievable" and a student with "un" and "believable" agree. In one bucket they
    do not: there the teacher's mass meets whatever else the student has.

    The bucket has what is left. Where a side has nothing there, a divergence from anything that is
    not would be infinite: then neither side has a bucket, and both distributions are renormalised
    over the other cells.

    Attributes:
        has_bucket: Whether there is a cell for what is left, the last one.
    """

    def __init__(self, pair: PairFacts, unshared: str):
        """Finds the cells; no checkpoint holds them, since the vocabularies give them again.

        Args:
            pair: Both vocabularies.
            unshared: Where a token belongs that only one side has, one of `Unshared`.
        """
        super().__init__()
        self.shared = SharedVocabulary(*shared_ids(pair))
        bucket = len(self.shared)
        lefts = []
        for side in ("student", "teacher"):
            view, ids = getattr(pair, side).view, getattr(self.shared, side).numpy()
            cells = _cells(view, ids, by_prefix=unshared == "prefix")
            joining = np.setdiff1d(np.flatnonzero((cells != NONE) & (cells != bucket)), ids)
            tables = {
                "joining": joining,
                "joined": cells[joining],
                "left": np.flatnonzero(cells == bucket),
            }
            lefts.append(len(tables["left"]))
            for name, table in tables.items():
                self.register_buffer(f"{side}_{name}", torch.from_numpy(table), persistent=False)
        self.has_bucket = all(lefts)

    def __len__(self) -> int:
        """How many tokens are shared."""
        return len(self.shared)

    def logprobs(
        self, token_logprobs: Float[Tensor, "row vocab"], side: str
    ) -> Float[Tensor, "row cell"]:
        """Log-probabilities of the cells.

        Args:
            token_logprobs: Log-probabilities of all tokens of a side, nats.
            side: ``student`` or ``teacher``.

        Returns:
            Nats: the cells of the shared tokens in one order for both sides, and the bucket last.
        """
        # summed up in log space: 1 - (what is shared) has no digits left where the rest is little
        found = token_logprobs[:, getattr(self.shared, side)]
        joining = getattr(self, f"{side}_joining")
        if len(joining):
            found = _joined(found, token_logprobs[:, joining], getattr(self, f"{side}_joined"))
        if not self.has_bucket:
            return found.log_softmax(dim=1)
        left = token_logprobs[:, getattr(self, f"{side}_left")].logsumexp(dim=1, keepdim=True)
        return torch.cat([found, left], dim=1)


def _joined(
    logprobs: Float[Tensor, "row shared"],
    joining: Float[Tensor, "row joining"],
    cells: Int[Tensor, " joining"],
) -> Float[Tensor, "row shared"]:
    """Adds up the probabilities of each cell, as a logsumexp of it."""
    places = cells.expand_as(joining)
    with torch.no_grad():
        most = logprobs.scatter_reduce(1, places, joining, "amax")
    sums = (logprobs - most).exp()
    return sums.scatter_add(1, places, (joining - most.gather(1, places)).exp()).log() + most


def _cells(
    view: Vocabulary, shared: Int[np.ndarray, " shared"], *, by_prefix: bool
) -> Int[np.ndarray, " vocab"]:
    """The cell of each id; that of no token has none, since it has no mass."""
    special = {*view.special_ids.values(), *view.roles.values()}
    cells = np.full(view.num_tokens, NONE, dtype=np.int64)
    cells[shared] = np.arange(len(shared))
    surfaces = [view.token_bytes[id_] for id_ in shared.tolist()]
    prefixes = Prefixes({surface: cell for cell, surface in enumerate(surfaces) if surface})
    for id_ in np.flatnonzero(cells == NONE).tolist():
        surface = view.token_bytes[id_]
        found = prefixes.longest(surface, 0)[0] if by_prefix and surface else NONE
        if found != NONE:
            cells[id_] = found
        elif surface is not None or id_ in special:
            cells[id_] = len(shared)
    return cells
