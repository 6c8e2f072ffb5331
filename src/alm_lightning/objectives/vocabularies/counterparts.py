"""For each token of one vocabulary a token of another: the same bytes, or a beginning of them."""

from collections.abc import Iterator, Mapping

import numpy as np
from jaxtyping import Int

from alm_lightning.objectives.vocabularies.pair_facts import Vocabulary
from alm_lightning.objectives.vocabularies.shared import ids_by_surface, special_pairs

NONE = -1
"""Stands for a token that there is not."""


def same_tokens(source: Vocabulary, target: Vocabulary) -> Int[np.ndarray, " vocab"]:
    """The token of another vocabulary that stands for the same, for each token of one.

    Args:
        source: The vocabulary whose ids are asked about.
        target: The vocabulary to look in.

    Returns:
        For each id of the source the id of the target with the same bytes; of a special token, its
        counterpart (`special_pairs`); else `NONE`.
    """
    ids = ids_by_surface(target)
    found = [NONE if surface is None else ids.get(surface, NONE) for surface in source.token_bytes]
    for index, counterpart in special_pairs(source, target).items():
        found[index] = counterpart
    return np.array(found, dtype=np.int64)


def longest_prefixes(source: Vocabulary, target: Vocabulary) -> Int[np.ndarray, " vocab"]:
    """The longest token of another vocabulary that the bytes of each token of one begin with.

    Args:
        source: The vocabulary whose ids are asked about.
        target: The vocabulary to look in.

    Returns:
        For each id of the source an id of the target, or `NONE`; special tokens as `same_tokens`.
    """
    found = same_tokens(source, target)
    prefixes = Prefixes(ids_by_surface(target))
    for id_, surface in enumerate(source.token_bytes):
        if surface and found[id_] == NONE:
            found[id_] = prefixes.longest(surface, 0)[0]
    return found


class Prefixes:
    """Finds tokens of a vocabulary at the beginning of bytes.

    A hash of all tokens stands in for the nodes of a trie: a token has few bytes, and each length
    is one look-up.
    """

    def __init__(self, ids: Mapping[bytes, int]):
        """Sets up the look-up.

        Args:
            ids: What is found for the bytes of each token.
        """
        self._ids = ids
        self._most = max(map(len, self._ids), default=0)

    def longest(self, content: bytes, start: int) -> tuple[int, int]:
        """The longest token that stands in some bytes at a place.

        Args:
            content: The bytes.
            start: The place.

        Returns:
            Its id and where it ends; `NONE` and the place where there is none.
        """
        for end in range(min(len(content), start + self._most), start, -1):
            id_ = self._ids.get(content[start:end])
            if id_ is not None:
                return id_, end
        return NONE, start

    def cut(self, content: bytes) -> Iterator[int]:
        """Cuts bytes from the left into the longest tokens; bytes that have none are passed over.

        Args:
            content: The bytes.

        Yields:
            Ids.
        """
        start = 0
        while start < len(content):
            id_, end = self.longest(content, start)
            if id_ != NONE:
                yield id_
            start = max(end, start + 1)
