"""The trie of a vocabulary, in flat arrays: which tokens begin with which bytes."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from jaxtyping import Int, UInt8

ROOT = 0
"""The node of the empty prefix."""


class VocabularyTrie:
    """Every prefix of every token is a node; the tokens that begin with it are a range of ranks.

    Ranks count the tokens in the order of their bytes: what begins with the same bytes are
    neighbours, and a token that is nothing but the prefix comes first. Tokens of the same bytes
    (byte-fallback tokens, say) are neighbours too. Nodes are sorted by length, then by rank, so
    that the children of a node are neighbours.

    Attributes:
        order: The ids by rank; ids without bytes have none.
        byte: The last byte of each node; 0 for the root.
        first: The first rank that begins with the node's prefix.
        own_end: One past the last rank that is the prefix and nothing else.
        last: One past the last rank that begins with the prefix.
        child_start: The first child of each node.
        num_children: How many children each node has.
        path_start: For each id where its nodes begin in `path_nodes`.
        path_nodes: The nodes of each id's prefixes of 1, 2, ... bytes, the id's own node last.
        lengths: Bytes of each id; 0 for one that has no rank.

    Args:
        surfaces: The bytes of each id; None for one that stands for no text.

    Example:
        >>> trie = VocabularyTrie([b"to", None, b"t", b"a"])
        >>> trie.order.tolist(), bytes(trie.byte).replace(bytes(1), b"-")
        ([3, 2, 0], b'-ato')
        >>> trie.first.tolist(), trie.own_end.tolist(), trie.last.tolist()
        ([0, 0, 1, 2], [0, 1, 2, 3], [3, 1, 3, 3])
        >>> trie.path_nodes[trie.path_start[0] :][:2].tolist()
        [2, 3]
    """

    def __init__(self, surfaces: Sequence[bytes | None]):
        ranked = sorted((surface, id_) for id_, surface in enumerate(surfaces) if surface)
        self.order: Int[np.ndarray, " rank"] = np.array([id_ for _, id_ in ranked], dtype=np.int64)
        self.lengths: Int[np.ndarray, " vocab"] = np.array(
            [len(surface or b"") for surface in surfaces], dtype=np.int64
        )
        self.path_start: Int[np.ndarray, " vocab"] = self.lengths.cumsum() - self.lengths
        self.path_nodes: Int[np.ndarray, " prefix"] = np.zeros(self.lengths.sum(), dtype=np.int32)
        self._grow(np.frombuffer(b"".join(surface for surface, _ in ranked), dtype=np.uint8))

    def _grow(self, joined: UInt8[np.ndarray, " prefix"]) -> None:
        """Makes the nodes, one length of prefixes after another."""
        lengths = self.lengths[self.order]
        starts = lengths.cumsum() - lengths
        paths = self.path_start[self.order]
        ranks = np.arange(len(self.order))
        # the node that each rank has been followed to
        nodes = np.zeros(len(ranks), dtype=np.int64)
        levels = [(np.zeros(1, np.uint8), *np.array([[0], [0], [len(ranks)], [ROOT]]))]
        num_nodes = 1
        for depth in range(int(lengths.max(initial=0))):
            ranks = ranks[lengths[ranks] > depth]
            byte = joined[starts[ranks] + depth]
            parents = nodes[ranks]
            opens = np.ones(len(ranks), dtype=bool)
            opens[1:] = (parents[1:] != parents[:-1]) | (byte[1:] != byte[:-1])
            begins = np.flatnonzero(opens)
            first = ranks[begins]
            is_own = (lengths[ranks] == depth + 1).astype(np.int64)
            own_end = first + np.add.reduceat(is_own, begins)
            last = first + np.diff(begins, append=len(ranks))
            levels.append((byte[begins], first, own_end, last, parents[begins]))
            nodes[ranks] = num_nodes - 1 + opens.cumsum()
            self.path_nodes[paths[ranks] + depth] = nodes[ranks]
            num_nodes += len(begins)
        self.byte, self.first, self.own_end, self.last, parents = map(
            np.concatenate, zip(*levels, strict=True)
        )
        # the root is no child
        self.num_children: Int[np.ndarray, " node"] = np.bincount(parents[1:], minlength=num_nodes)
        self.child_start: Int[np.ndarray, " node"] = 1 + (
            self.num_children.cumsum() - self.num_children
        )

    @cached_property
    def ids_without_bytes(self) -> Int[np.ndarray, " special"]:
        """The ids that have no rank: special tokens, and ids that no token has."""
        return np.flatnonzero(self.lengths == 0)
