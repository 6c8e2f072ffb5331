"""Merge rules of a BPE model of which only the ranks of its tokens are known.

Rank files and SentencePiece models say which token is merged before which, not out of which two
halves. The `tokenizers` library wants the halves.
"""

import logging
import time
from collections.abc import Mapping
from typing import TypeVar

log = logging.getLogger(__name__)

Piece = TypeVar("Piece", bytes, str)
NEVER = 1 << 60
SLOW_SECONDS = 5.0


def merges_of(ranks: Mapping[Piece, int | float]) -> tuple[list[tuple[Piece, Piece]], list[Piece]]:
    """The two halves out of which each token is merged, in order of rank.

    Each token is encoded by the vocabulary without itself: at every step the neighbours whose union
    has the lowest rank are joined, the leftmost first. Whatever surrounds a token in a text, its
    inside goes through the same steps, as long as nothing is joined across its edges. So a token
    has one pair of halves, if any, and a BPE with these merges gives the ids of one that looks up
    ranks.

    Args:
        ranks: From a token, as bytes or characters, to its rank: lower is merged first. Single
            bytes (or characters) are the start of every merge, tokens or not.

    Returns:
        One pair for each token that can be reached by merging, and the tokens that can't be. A text
        gives one of those only where it is looked up whole (`ignore_merges`), as tiktoken does.

    Example:
        >>> merges_of({b"a": 0, b"b": 1, b"c": 2, b"bc": 3, b"abc": 4, b"cab": 5})
        ([(b'b', b'c'), (b'a', b'bc')], [b'cab'])
    """
    start = time.perf_counter()
    merges: list[tuple[Piece, Piece]] = []
    unreachable: list[Piece] = []
    # Of equal ranks, which SentencePiece gives to all runs of spaces, the leftmost pair goes first:
    # a run grows from its left end, which is to say that the longer one is made first.
    for token in sorted(ranks, key=lambda token: (ranks[token], -len(token))):
        if len(token) < 2:
            continue
        halves = _encode(token, ranks)
        if len(halves) == 2:
            merges.append((halves[0], halves[1]))
        else:
            unreachable.append(token)
    seconds = time.perf_counter() - start
    if seconds > SLOW_SECONDS:
        log.info("Recovering the merges of %d tokens took %.0f s", len(ranks), seconds)
    return merges, unreachable


def _encode(token: Piece, ranks: Mapping[Piece, int | float]) -> list[Piece]:
    """A token in the parts that the other tokens make of it."""
    rank_of = ranks.get
    parts = [token[i : i + 1] for i in range(len(token))]
    pairs = [rank_of(token[i : i + 2], NEVER) for i in range(len(token) - 1)]
    while len(parts) > 2:
        lowest = min(pairs)
        if lowest == NEVER:
            break
        place = pairs.index(lowest)
        joined = parts[place] + parts[place + 1]
        parts[place : place + 2] = [joined]
        del pairs[place]
        # with two parts left there is one pair, the token itself: it isn't asked for any more
        if place < len(pairs):
            pairs[place] = rank_of(joined + parts[place + 1], NEVER)
        if place:
            pairs[place - 1] = rank_of(parts[place - 1] + joined, NEVER)
    return parts
