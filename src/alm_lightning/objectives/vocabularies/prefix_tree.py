"""What a distribution over tokens says of the next byte, wherever in a token the text stands."""

import copy
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from alm_lightning.data.batch import placed
from alm_lightning.likelihood.distributions import Distributions
from alm_lightning.objectives.vocabularies.block_sums import (
    BlockSums,
    Parts,
    exponentials,
    segment_bounds,
    segment_sums,
    within,
)
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


@dataclass(frozen=True)
class Cut:
    """How the probabilities of some rows are to be added up: of their tokens, not of their values.

    Attributes:
        order: Pieces by their rows and places; the probabilities of all rows, one after another in
            the order of bytes, are these pieces without a gap.
        lengths: How many tokens each piece has.
        places: Of the pieces before the ends of prefixes: which prefix each belongs to.
        bytes: The byte that each of them goes on with.
        kept_places: The prefixes that another one of the same token follows.
        kept_bytes: The byte that this one goes on with.
        rows: The token of each prefix.
        steps: How many bytes it has.
        longest: The most prefixes of a token.
    """

    order: Int[Tensor, " piece"]
    lengths: Int[Tensor, " piece"]
    places: Int[Tensor, " whole"]
    bytes: Int[Tensor, " whole"]
    kept_places: Int[Tensor, " kept"]
    kept_bytes: Int[Tensor, " kept"]
    rows: Int[Tensor, " prefix"]
    steps: Int[Tensor, " prefix"]
    longest: int

    def to(self, device: torch.device) -> "Cut":
        """The same on the device that computes, from the processor."""
        tensors = {k: v for k, v in vars(self).items() if k != "longest"}
        return Cut(**{k: placed(v, device) for k, v in tensors.items()}, longest=self.longest)


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
        bounds: Ranks where the tokens after a frequent prefix begin and end.

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
    bounds: Int[Tensor, " bound"]
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
            bounds=segment_bounds(trie),
            without_bytes=trie.ids_without_bytes,
            special_classes=special_classes,
        )

    def on_host(self) -> "PrefixTree":
        """The same tables once more, where no move of a module takes them from the processor."""
        # the memory that it shares with this one is never written. The tensors are new ones:
        # `fully_shard` moves those of a module in place, by their `data`
        tree = copy.copy(self)
        tree._buffers = {name: table.detach() for name, table in self.named_buffers()}
        return tree

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
        return self.masses(logprobs, self.cut(ids, counts))

    def cut(self, ids: Int[Tensor, " row"], counts: Int[Tensor, " row"]) -> Cut:
        """Where the vocabulary is cut for some tokens.

        Its sizes depend on values, so that a GPU would have to be waited for: it is found by a tree
        in the memory of the processor.

        Args:
            ids: The tokens.
            counts: How many prefixes of each are asked for.

        Returns:
            The cut.
        """
        rows = _repeated(counts)
        steps = within(counts)
        nodes = self.nodes(ids[rows], steps)
        pairs = _repeated(self.num_children[nodes])
        children = self.child_start[nodes][pairs] + within(self.num_children[nodes])
        # tokens that go on as the text's token does are cut further at the prefix that comes next
        has_next = steps[pairs] + 1 < counts[rows[pairs]]
        following = self.nodes(ids[rows], steps + 1)[pairs]
        cut_further = has_next & (children == following)
        kept = torch.where(cut_further)[0]
        apart = torch.where(~cut_further)[0]
        whole = children[apart]
        first = torch.cat([self.first[whole], self.first[nodes]])
        last = torch.cat([self.last[whole], self.own_end[nodes]])
        order = (torch.cat([rows[pairs[apart]], rows]) * len(self.order) + first).argsort()
        return Cut(
            order=order,
            lengths=(last - first)[order],
            places=pairs[apart],
            bytes=self.byte[whole],
            kept_places=pairs[kept],
            kept_bytes=self.byte[children[kept]],
            rows=rows,
            steps=steps,
            longest=int(counts.max()) if len(counts) else 0,
        )

    def masses(self, logprobs: Float[Tensor, "row vocab"], cut: Cut) -> ByteMasses:
        """Masses by a cut that is known; nothing here waits for a device.

        Args:
            logprobs: As for `forward`.
            cut: From `cut`, for the tokens at these positions.

        Returns:
            As `forward`.
        """
        probs = logprobs.index_select(1, self.order).double().exp()
        sums = segment_sums(probs.flatten(), cut.lengths)
        special = logprobs.index_select(1, self.without_bytes).double().exp()
        return self._assembled(sums, self._by_class(special, self.special_classes), cut)

    @torch.no_grad()
    def masses_at(
        self, model: Distributions, places: Int[Tensor, " row"], cut: Cut, parts: Parts
    ) -> ByteMasses:
        """Masses by a cut that is known, from a block of logits at a time, without a gradient.

        A block is as wide as a cache holds, and the output matrix is read once, where whole rows
        are so wide that only a few are made at a time, which read it as often. Nothing here waits
        for a device.

        Args:
            model: What the masses are of.
            places: Places of the tokens, as for `Distributions.predicting`.
            cut: From `cut`, for these tokens.
            parts: The pieces of the cut, in the blocks of the model.

        Returns:
            As `forward`.
        """
        sums = BlockSums.of(model.blocks(places, self.order), parts)
        maxima, by_class = list(sums.maxima), []
        num_blocks = len(maxima)
        blocks = model.blocks(places, self.without_bytes)
        for logits, classes in zip(blocks, self.special_classes.split(parts.size), strict=False):
            values, maximum = exponentials(logits)
            by_class.append(self._by_class(values.double(), classes))
            maxima.append(maximum)
        stacked = torch.stack(maxima, dim=1)
        # what the sums of each block are multiplied by, to be under the maximum of the row
        scales = (stacked - stacked.amax(dim=1, keepdim=True)).double().exp()
        special = scales.new_zeros(len(places), self.num_special)
        for values, scale in zip(by_class, scales[:, num_blocks:].T, strict=True):
            special = special + values * scale.unsqueeze(1)
        pieces = sums.pieces(parts, scales[:, :num_blocks])
        found = self._assembled(pieces, special, cut)
        # all tokens begin with the empty prefix, which is the first one of each row
        first = torch.searchsorted(cut.rows, torch.arange(len(places), device=places.device))
        total = (found.bytes[first].sum(dim=1) + special.sum(dim=1))[cut.rows].unsqueeze(1)
        return ByteMasses(found.bytes / total, found.end / total[:, 0], found.special / total)

    def _assembled(
        self,
        sums: Float[Tensor, " piece"],
        special: Float[Tensor, "row special_class"],
        cut: Cut,
    ) -> ByteMasses:
        """Masses from those of the pieces, in the order of rows."""
        sums = torch.zeros_like(sums).index_put((cut.order,), sums)
        rows, steps = cut.rows, cut.steps
        of_children, end = sums.split([len(cut.places), len(rows)])
        masses = of_children.new_zeros(len(rows), NUM_BYTES)
        masses = masses.index_put((cut.places, cut.bytes), of_children)
        # what is cut further has the mass of all that comes after it
        below = _suffix_sums(masses.sum(dim=1) + end, cut, len(special))
        place = cut.kept_places
        masses = masses.index_put((place, cut.kept_bytes), below[place + 1])
        special = special[rows].masked_fill((steps > 0).unsqueeze(1), 0.0)
        return ByteMasses(masses, end, special)

    def _by_class(
        self, probs: Float[Tensor, "row id"], classes: Int[Tensor, " id"]
    ) -> Float[Tensor, "row special_class"]:
        """The mass of each class of special tokens, from those of some of these tokens."""
        return probs.new_zeros(len(probs), self.num_special).index_add(1, classes, probs)

    def nodes(self, ids: Int[Tensor, " row"], steps: Int[Tensor, " row"]) -> Int[Tensor, " row"]:
        """The node of the first bytes of some tokens; of no meaning beyond a token's last byte."""
        places = (self.path_start[ids] + steps - 1).clamp(0, len(self.path_nodes) - 1)
        return self.path_nodes[places].long().masked_fill(steps == 0, ROOT)

    def spelled(self, ids: Int[Tensor, " row"]) -> Int[Tensor, " byte"]:
        """The bytes of tokens, one token after another; `SPECIAL` for a token without bytes."""
        lengths = self.lengths[ids]
        counts = lengths.clamp_min(1)
        values = self.byte[self.nodes(ids[_repeated(counts)], within(counts) + 1)]
        return values.masked_fill((lengths == 0).repeat_interleave(counts), SPECIAL)


def _repeated(counts: Int[Tensor, " row"]) -> Int[Tensor, " item"]:
    """The number of each row, as often as it counts."""
    return torch.repeat_interleave(counts)


def _suffix_sums(values: Float[Tensor, " item"], cut: Cut, num_rows: int) -> Float[Tensor, " item"]:
    """The sum of each value and those after it in its row."""
    padded = values.new_zeros(num_rows, cut.longest)
    padded = padded.index_put((cut.rows, cut.steps), values)
    # no cumsum, whose order of adding up an accelerator does not promise
    later = torch.ones(padded.shape[1], padded.shape[1], dtype=values.dtype, device=values.device)
    return (padded @ later.tril())[cut.rows, cut.steps]
