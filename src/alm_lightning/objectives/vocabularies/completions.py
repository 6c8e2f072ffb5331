"""Sets of the student's tokens that complete a token of the teacher, from inside it."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from alm_lightning.counterparts import NONE
from alm_lightning.objectives.vocabularies.pair_facts import PairFacts, Trie
from alm_lightning.objectives.vocabularies.rests import Continuations, follow
from alm_lightning.objectives.vocabularies.tables import register_tables


class CompletionSets(nn.Module):
    """For each rest of a token of the teacher, the student's tokens that begin with it.

    A rest is what a token has after a prefix. Rests that begin with another rest of the same prefix
    are in its group: with tokens ``Bread``, ``Breads`` and ``Break`` after ``Br`` there are two
    groups, ``ead`` and ``eak``. Their sets are disjoint.

    Attributes:
        group_starts: For each place of `PrefixTree.path_nodes` the first rank of the group that the
            rest from there on is in.
        set_starts: The first of the student's ranks in the set of that group.
        set_ends: One past the last of them; the same as the first for an empty set.
        order: The student's ids by rank.

    Args:
        pair: Both vocabularies.
    """

    group_starts: Int[Tensor, " prefix"]
    set_starts: Int[Tensor, " prefix"]
    set_ends: Int[Tensor, " prefix"]
    order: Int[Tensor, " rank"]

    def __init__(self, pair: PairFacts):
        super().__init__()
        teacher, student = pair.teacher.view, pair.student.view
        shortest = _next_own(teacher.trie)
        longest, nodes = follow(teacher, student, shortest + 1)
        order = student.trie.order
        ranks = np.full(student.num_tokens, NONE, dtype=np.int64)
        ranks[order] = np.arange(len(order))
        # an id of NONE is the last one here: the outer choice takes care of it
        single = np.where(longest == NONE, NONE, ranks[longest])
        is_set = nodes != NONE
        register_tables(
            self,
            group_starts=teacher.trie.first[teacher.trie.path_nodes[shortest]],
            set_starts=np.where(is_set, student.trie.first[nodes], single),
            set_ends=np.where(is_set, student.trie.last[nodes], single + (single != NONE)),
            order=order,
        )

    def forward(
        self, found: Continuations, logprobs: Float[Tensor, "row vocab"]
    ) -> Float[Tensor, ""]:
        """Cross-entropy of the student's sets under the teacher's groups, summed over prefixes.

        Args:
            found: The teacher's tokens after each prefix.
            logprobs: The student's log-probabilities after each prefix, nats.

        Returns:
            Minus the mass of each group times the log of the probability of its set, in nats. Each
            group counts with its mass among all tokens, whether or not they begin with the prefix.
        """
        is_start = found.ranks == self.group_starts[found.places]
        groups = is_start.cumsum(0) - 1
        rows, places = found.rows[is_start], found.places[is_start]
        masses = found.probs * found.masses[found.rows]
        masses = masses.new_zeros(len(rows)).index_add(0, groups, masses)
        counts = self.set_ends[places] - self.set_starts[places]
        sets = torch.repeat_interleave(counts)
        starts = counts.cumsum(0) - counts
        ranks = (
            torch.arange(len(sets), device=sets.device) + (self.set_starts[places] - starts)[sets]
        )
        logs = _logsumexp(logprobs[rows[sets], self.order[ranks]], sets, num_sets=len(rows))
        return -(masses * logs.masked_fill(counts == 0, 0.0)).sum()


def _next_own(trie: Trie) -> Int[np.ndarray, " prefix"]:
    """For each place of a path the next one, or itself, at which a token ends."""
    is_own = trie.own_end > trie.first
    places = np.arange(len(trie.path_nodes))
    # a path ends with the token's own node: what is found never lies on the next path
    ends = np.where(is_own[trie.path_nodes], places, len(places))
    return np.minimum.accumulate(ends[::-1])[::-1]


def _logsumexp(
    values: Float[Tensor, " item"], sets: Int[Tensor, " item"], *, num_sets: int
) -> Float[Tensor, " set"]:
    """Log of the sum of the exponentials in each set; of no meaning in an empty one."""
    most = values.detach().new_zeros(num_sets)
    most = most.scatter_reduce(0, sets, values.detach(), "amax", include_self=False)
    sums = values.new_zeros(num_sets).index_add(0, sets, (values - most[sets]).exp())
    # no set but an empty one has a sum below 1
    return sums.clamp_min(0.5).log() + most
