"""What two vocabularies can be compared on: the tokens that both have, and a bucket for others."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from alm_lightning.objectives.pair_facts import PairFacts, Vocabulary
from alm_lightning.objectives.shared_vocabulary import SharedVocabulary, shared_ids


class CoarseVocabulary(nn.Module):
    """A partition of both vocabularies into the same cells: the shared tokens, and a bucket.

    Where a side has no token but shared ones, its bucket would be empty, and a divergence from
    anything that is not infinite: then neither side has a bucket, and both distributions are
    renormalised over the shared tokens.

    Attributes:
        has_bucket: Whether there is a cell for what is not shared.
    """

    def __init__(self, pair: PairFacts):
        """Finds the cells; no checkpoint holds them, since the vocabularies give them again.

        Args:
            pair: Both vocabularies.
        """
        super().__init__()
        self.shared = SharedVocabulary(*shared_ids(pair))
        others = []
        for side in ("student", "teacher"):
            others.append(_others(getattr(pair, side).view, getattr(self.shared, side).numpy()))
            buffer = torch.from_numpy(others[-1])
            self.register_buffer(f"{side}_others", buffer, persistent=False)
        self.has_bucket = all(map(len, others))

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
            Nats: the shared tokens in one order for both sides, and the bucket last.
        """
        shared = token_logprobs[:, getattr(self.shared, side)]
        if not self.has_bucket:
            return shared.log_softmax(dim=1)
        # summed up in log space: 1 - (what is shared) has no digits left where the rest is little
        rest = token_logprobs[:, getattr(self, f"{side}_others")].logsumexp(dim=1, keepdim=True)
        return torch.cat([shared, rest], dim=1)


def _others(view: Vocabulary, shared: Int[np.ndarray, " shared"]) -> Int[np.ndarray, " subset"]:
    """Ids of all other tokens; ids that no token has are left out, since they have no mass."""
    special = {*view.special_ids.values(), *view.roles.values()}
    without = np.setdiff1d(np.arange(view.num_tokens), shared).tolist()
    found = [id_ for id_ in without if view.token_bytes[id_] is not None or id_ in special]
    return np.array(found, dtype=np.int64)
