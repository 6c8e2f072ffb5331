"""What a distribution over tokens says of the next byte, wherever in a token the text stands."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from alm_lightning.objectives.vocabularies.pair_facts import Trie
from alm_lightning.objectives.vocabularies.tables import register_tables

NUM_BYTES = 256
SPECIAL = NUM_BYTES
"""Stands for a token without bytes where bytes are listed."""
ROOT = 0
"""The node of the empty prefix."""


@dataclass(frozen=True)
class ByteMasses:
    """Probability masses of tokens, by the byte that they have after a prefix.

    One row is one prefix of one token: ``byte_row``. The masses of a row add up to that of all
    tokens that begin with the prefix; they are not renormalised.

    Attributes:
        bytes: Mass of the tokens that go on with each of the 256 bytes.
        end: Mass of the token that is the prefix and nothing else; 0 for the empty prefix.
        special: Mass of special tokens, by class; 0 but for the empty prefix.
    """

    bytes: Float[Tensor, "byte_row 256"]
    end: Float[Tensor, " byte_row"]
    special: Float[Tensor, "byte_row special_class"]


class PrefixTree(nn.Module):
    r"""The trie of a vocabulary, on the device of the objective that holds it.

    With u a prefix of the token that the text has at a position, and P the distribution there,

    .. math:: m(ub) = \sum_{t:\, t \text{ begins with } ub} P(t), \quad
       m(u) = P(u) + \sum_b m(ub)

    One vector of probabilities serves all prefixes of a token. The tokens that begin with the first
    byte of the text's token are a range in the order of bytes, those that begin with its first two
    bytes a range in that range, and so on: all that is asked for is sums over the pieces between.
    Each piece is added up by itself, in float64, so that a mass of 1e-200 is as exact as any other;
    differences of running sums would lose all digits of a mass below 1e-16.

    Attributes:
        lengths: Bytes of each token; 0 for a special token.

    Args:
        trie: The trie of the vocabulary.
        special_classes: The class of each id without bytes, in their order; one for all if None.
        num_special: How many such classes there are.
    """

    order: Int[Tensor, " rank"]
    byte: Int[Tensor, " node"]
    first: Int[Tensor, " node"]
    own_end: Int[Tensor, " node"]
    last: Int[Tensor, " node"]
    child_start: Int[Tensor, " node"]
    num_children: Int[Tensor, " node"]
    path_start: Int[Tensor, " vocab"]
    path_nodes: Int[Tensor, " prefix"]
    lengths: Int[Tensor, " vocab"]
    without_bytes: Int[Tensor, " special"]
    special_classes: Int[Tensor, " special"]

    def __init__(
        self,
        trie: Trie,
        special_classes: Int[np.ndarray, " special"] | None = None,
        num_special: int = 1,
    ):
        super().__init__()
        if special_classes is None:
            special_classes = np.zeros(len(trie.ids_without_bytes), dtype=np.int64)
        self.num_special = num_special
        register_tables(
            self,
            order=trie.order,
            byte=trie.byte.astype(np.int64),
            first=trie.first,
            own_end=trie.own_end,
            last=trie.last,
            child_start=trie.child_start,
            num_children=trie.num_children,
            path_start=trie.path_start,
            # the last entry stands for the nodes of a token without bytes, which has none
            path_nodes=np.append(trie.path_nodes, np.int32(ROOT)),
            lengths=trie.lengths,
            without_bytes=trie.ids_without_bytes,
            special_classes=special_classes,
        )

    def forward(
        self,
        logprobs: Float[Tensor, "row vocab"],
        ids: Int[Tensor, " row"],
        counts: Int[Tensor, " row"],
    ) -> ByteMasses:
        """Masses of the bytes after the first prefixes of some tokens, with a gradient.

        Args:
            logprobs: Log-probabilities of all tokens at the position of each token, nats.
            ids: The tokens.
            counts: How many prefixes of each token are asked for, from the empty one on: at least
                1, and at most one more than it has bytes.

        Returns:
            Float64, the prefixes of one token after another.
        """
        rows = _repeated(counts)
        steps = _within(counts)
        nodes = self.nodes(ids[rows], steps)
        pairs = _repeated(self.num_children[nodes])
        children = self.child_start[nodes][pairs] + _within(self.num_children[nodes])
        # tokens that go on as the text's token does are cut further at the prefix that comes next
        has_next = steps[pairs] + 1 < counts[rows[pairs]]
        following = self.nodes(ids[rows], steps + 1)[pairs]
        cut_further = has_next & (children == following)
        kept = torch.where(cut_further)[0]
        apart = torch.where(~cut_further)[0]
        whole = children[apart]
        sums = self._sums(
            logprobs,
            torch.cat([rows[pairs[apart]], rows]),
            torch.cat([self.first[whole], self.first[nodes]]),
            torch.cat([self.last[whole], self.own_end[nodes]]),
        )
        of_children, end = sums.split([len(apart), len(nodes)])
        masses = of_children.new_zeros(len(rows), NUM_BYTES)
        masses = masses.index_put((pairs[apart], self.byte[whole]), of_children)
        # what is cut further has the mass of all that comes after it
        below = _suffix_sums(masses.sum(dim=1) + end, rows, steps, counts)
        place = pairs[kept]
        masses = masses.index_put((place, self.byte[children[kept]]), below[place + 1])
        probs = logprobs.index_select(1, self.without_bytes).double().exp()
        special = probs.new_zeros(len(logprobs), self.num_special)
        special = special.index_add(1, self.special_classes, probs)[rows]
        return ByteMasses(masses, end, special.masked_fill((steps > 0).unsqueeze(1), 0.0))

    def nodes(self, ids: Int[Tensor, " row"], steps: Int[Tensor, " row"]) -> Int[Tensor, " row"]:
        """The node of the first bytes of some tokens; of no meaning beyond a token's last byte."""
        places = (self.path_start[ids] + steps - 1).clamp(0, len(self.path_nodes) - 1)
        return self.path_nodes[places].long().masked_fill(steps == 0, ROOT)

    def spelled(self, ids: Int[Tensor, " row"]) -> Int[Tensor, " byte"]:
        """The bytes of tokens, one token after another; `SPECIAL` for a token without bytes."""
        lengths = self.lengths[ids]
        counts = lengths.clamp_min(1)
        values = self.byte[self.nodes(ids[_repeated(counts)], _within(counts) + 1)]
        return values.masked_fill((lengths == 0).repeat_interleave(counts), SPECIAL)

    def _sums(
        self,
        logprobs: Float[Tensor, "row vocab"],
        rows: Int[Tensor, " piece"],
        first: Int[Tensor, " piece"],
        last: Int[Tensor, " piece"],
    ) -> Float[Tensor, " piece"]:
        """Probability of ranges of ranks, which are disjoint and cover each row."""
        order = (rows * len(self.order) + first).argsort()
        probs = logprobs.index_select(1, self.order).double().exp()
        sums = torch.segment_reduce(
            probs.flatten(), "sum", lengths=(last - first)[order], initial=0.0, unsafe=True
        )
        return torch.zeros_like(sums).index_put((order,), sums)


def _repeated(counts: Int[Tensor, " row"]) -> Int[Tensor, " item"]:
    """The number of each row, as often as it counts."""
    return torch.repeat_interleave(counts)


def _within(counts: Int[Tensor, " row"]) -> Int[Tensor, " item"]:
    """0, 1, ... within each row."""
    starts = counts.cumsum(0) - counts
    return torch.arange(int(counts.sum()), device=counts.device) - starts.repeat_interleave(counts)


def _suffix_sums(
    values: Float[Tensor, " item"],
    rows: Int[Tensor, " item"],
    steps: Int[Tensor, " item"],
    counts: Int[Tensor, " row"],
) -> Float[Tensor, " item"]:
    """The sum of each value and those after it in its row."""
    padded = values.new_zeros(len(counts), int(counts.max()) if len(counts) else 0)
    padded = padded.index_put((rows, steps), values)
    # no cumsum, whose order of adding up an accelerator does not promise
    later = torch.ones(padded.shape[1], padded.shape[1], dtype=values.dtype, device=values.device)
    return (padded @ later.tril())[rows, steps]
