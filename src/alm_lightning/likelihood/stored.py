"""Next-token distributions of which a store has the likeliest tokens, and the mass of the rest."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from alm_lightning.likelihood.distributions import TokenDistributions

LEAST_REST = 1e-12
"""The least probability of a token that is not among the likeliest."""


@dataclass(frozen=True)
class StoredDistributions(TokenDistributions):
    """Distributions made of the likeliest tokens and of the token that the text has.

    What these leave is spread evenly over all other tokens. With as many likeliest tokens as the
    vocabulary has, the distributions are whole.

    Attributes:
        top_ids: The likeliest tokens in place of the one at each position; -1 for none.
        top_logprobs: Their log-probabilities, nats.
        ids: The tokens of the text.
        logprobs_of_ids: Their log-probabilities, nats.
        size: Number of ids of the vocabulary.
        unused_ids: Ids that no token has.
    """

    top_ids: Int[Tensor, "batch pos top"]
    top_logprobs: Float[Tensor, "batch pos top"]
    ids: Int[Tensor, "batch pos"]
    logprobs_of_ids: Float[Tensor, "batch pos"]
    size: int
    unused_ids: Int[Tensor, " unused"]

    @property
    def num_tokens(self) -> int:
        """Number of ids."""
        return self.size

    @property
    def device(self) -> torch.device:
        """Where the numbers are."""
        return self.ids.device

    def logprobs(self, places: Int[Tensor, " row"]) -> Float[Tensor, "row vocab"]:
        """Log-probabilities of every token at some places, as `TokenDistributions` says."""
        ids = self.top_ids.flatten(0, 1)[places].long()
        known = self.top_logprobs.flatten(0, 1)[places].float()
        own = self.ids.flatten()[places].long().unsqueeze(1)
        own_logprobs = self.logprobs_of_ids.flatten()[places].float().unsqueeze(1)
        is_there = ids >= 0
        is_own = (ids == own) & is_there
        # the text's own token has its exact value, whatever the others were rounded to
        known = torch.where(is_own, own_logprobs, known).masked_fill(~is_there, -torch.inf)
        has_own = is_own.any(dim=1, keepdim=True)
        mass = known.exp().sum(dim=1, keepdim=True)
        mass = mass + torch.where(has_own, 0.0, own_logprobs.exp())
        count = is_there.sum(dim=1, keepdim=True) + (~has_own).long()
        others = (self.size - len(self.unused_ids) - count).clamp_min(1)
        lowest = torch.finfo(torch.float32).min / 4
        # never so low that what a student has there would drown all else
        rest = ((1.0 - mass) / others).clamp_min(LEAST_REST).log()
        rows = rest.expand(-1, self.size).index_fill(1, self.unused_ids, lowest)
        # a column more for what is none
        rows = torch.cat([rows, rest], dim=1)
        rows = rows.scatter(1, torch.where(is_there, ids, self.size), known.clamp_min(lowest))
        return rows.scatter(1, own, own_logprobs)[:, :-1]
