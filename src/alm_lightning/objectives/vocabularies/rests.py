"""What is left of the teacher's tokens inside them, and what the student has for it."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from alm_lightning.counterparts import NONE
from alm_lightning.likelihood.distributions import TokenDistributions
from alm_lightning.objectives.vocabularies.pair_facts import PairFacts, Vocabulary
from alm_lightning.objectives.vocabularies.prefix_tree import ROOT, PrefixTree
from alm_lightning.objectives.vocabularies.tables import register_tables


@dataclass(frozen=True)
class Continuations:
    """The teacher's tokens that begin with some bytes and go on, of several such prefixes.

    Attributes:
        rows: The number of the prefix that each belongs to.
        ranks: Its rank in the order of bytes.
        places: Where its rest, the bytes after the prefix, begins in `PrefixTree.path_nodes`.
        probs: Its probability given that a token begins with the prefix and goes on; those of one
            prefix sum to 1.
        masses: For each prefix the probability that a token begins with it and goes on.
    """

    rows: Int[Tensor, " item"]
    ranks: Int[Tensor, " item"]
    places: Int[Tensor, " item"]
    probs: Float[Tensor, " item"]
    masses: Float[Tensor, " row"]


def continuations(
    tree: PrefixTree,
    teacher: TokenDistributions,
    positions: Int[Tensor, " row"],
    steps: Int[Tensor, " row"],
    nodes: Int[Tensor, " row"],
) -> Continuations:
    """The tokens that go on after some prefixes, and their probabilities given that they do.

    Args:
        tree: The trie of the teacher's vocabulary.
        teacher: The teacher's distributions.
        positions: The position of the teacher's token that has each prefix.
        steps: How many bytes each prefix has.
        nodes: The node of each prefix.

    Returns:
        One prefix after another, in the order of bytes.
    """
    # several prefixes of one token share its distribution
    distinct, which = positions.unique(return_inverse=True)
    first, last = tree.own_end[nodes], tree.last[nodes]
    counts = last - first
    rows = torch.repeat_interleave(counts)
    starts = counts.cumsum(0) - counts
    ranks = torch.arange(len(rows), device=rows.device) + (first - starts)[rows]
    ids = tree.order[ranks]
    found = teacher.logprobs(distinct)[which[rows], ids]
    # a prefix may be as unlikely as can be: relative to its likeliest token nothing underflows
    most = found.new_full((len(nodes),), -torch.inf).scatter_reduce(0, rows, found, "amax")
    scaled = (found - most[rows]).exp()
    sums = scaled.new_zeros(len(nodes)).index_add(0, rows, scaled)
    places = tree.path_start[ids] + steps[rows]
    return Continuations(rows, ranks, places, scaled / sums[rows], most.exp() * sums)


class RestMap(nn.Module):
    """Moves the teacher's mass inside a token to the longest token that each rest begins with.

    Attributes:
        columns: For each place of `PrefixTree.path_nodes` the id of the student's longest token
            that the bytes from there to the end of the teacher's token begin with, or the student's
            number of ids where there is none.

    Args:
        pair: Both vocabularies.
    """

    columns: Int[Tensor, " prefix"]

    def __init__(self, pair: PairFacts):
        super().__init__()
        teacher, student = pair.teacher.view, pair.student.view
        ends = teacher.trie.path_start + teacher.trie.lengths
        longest, _ = follow(teacher, student, np.repeat(ends, teacher.trie.lengths))
        self.num_tokens = student.num_tokens
        register_tables(self, columns=np.where(longest == NONE, student.num_tokens, longest))

    def forward(self, found: Continuations, *, num_rows: int) -> Float[Tensor, "row _"]:
        """Probabilities of the student's tokens, one row a prefix; each sums to 1.

        Mass of rests that begin with no token of the student is left out. A row without any other
        is 0.
        """
        width = self.num_tokens + 1
        moved = found.probs.new_zeros(num_rows * width)
        moved = moved.index_add(0, found.rows * width + self.columns[found.places], found.probs)
        moved = moved.view(num_rows, width)[:, :-1]
        least = torch.finfo(moved.dtype).tiny
        return moved / moved.sum(dim=1, keepdim=True).clamp_min(least)


def follow(
    source: Vocabulary, target: Vocabulary, ends: Int[np.ndarray, " prefix"]
) -> tuple[Int[np.ndarray, " prefix"], Int[np.ndarray, " prefix"]]:
    """Walks through the trie of one vocabulary along the bytes of another's tokens.

    Args:
        source: The vocabulary whose bytes are followed.
        target: The vocabulary whose trie is walked through.
        ends: For each byte of the source's tokens, one token after another, where the walk that
            begins there ends.

    Returns:
        For each walk the id of the longest token that it passed, by the rule of
        `alm_lightning.counterparts`; and the node that it ended at. `NONE` where there is none.
    """
    joined = np.frombuffer(b"".join(s or b"" for s in source.token_bytes), dtype=np.uint8)
    ids = _ids_of_nodes(target)
    # the last one is no edge, for what comes after all others
    keys = np.append(_keys(target), NONE)
    nodes = np.full(len(joined), ROOT, dtype=np.int64)
    longest = np.full(len(joined), NONE, dtype=np.int64)
    walks = np.arange(len(joined))
    depth = 0
    while len(walks):
        wanted = _key(nodes[walks], joined[walks + depth])
        found = np.searchsorted(keys[:-1], wanted)
        goes_on = keys[found] == wanted
        nodes[walks[~goes_on]] = NONE
        walks, children = walks[goes_on], found[goes_on] + 1
        nodes[walks] = children
        longest[walks] = np.where(ids[children] == NONE, longest[walks], ids[children])
        depth += 1
        walks = walks[walks + depth < ends[walks]]
    return longest, nodes


def _key(
    nodes: Int[np.ndarray, " edge"], byte: UInt8[np.ndarray, " edge"]
) -> Int[np.ndarray, " edge"]:
    return nodes * 256 + byte


def _keys(vocabulary: Vocabulary) -> Int[np.ndarray, " edge"]:
    """The node and the byte that lead to each node but the root: they ascend."""
    trie = vocabulary.trie
    parents = np.repeat(np.arange(len(trie.byte)), trie.num_children)
    return _key(parents, trie.byte[1:])


def _ids_of_nodes(vocabulary: Vocabulary) -> Int[np.ndarray, " node"]:
    """The token that is each node's prefix: the lowest ordinary one, or else a fallback."""
    trie = vocabulary.trie
    found = np.full(len(trie.byte), NONE, dtype=np.int64)
    is_fallback = np.zeros(vocabulary.num_tokens, dtype=bool)
    is_fallback[list(vocabulary.fallback_ids)] = True
    with_bytes = np.flatnonzero(trie.lengths)[::-1]
    for kind in (is_fallback[with_bytes], ~is_fallback[with_bytes]):
        ids = with_bytes[kind]
        # of several the last assignment counts, which is that of the lowest id
        found[trie.path_nodes[trie.path_start[ids] + trie.lengths[ids] - 1]] = ids
    return found
