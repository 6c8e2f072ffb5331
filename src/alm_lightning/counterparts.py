"""Which tokens of two vocabularies stand for the same bytes: one rule for models and objectives.

Several tokens of a vocabulary may stand for the same bytes: Gemma spells ``A`` by that letter's
token, and has a byte-fallback token ``<0x41>`` that it never needs. The rule, everywhere: an
ordinary token is an ordinary one's counterpart and a fallback a fallback's; where there is only
the other kind, that one; among equals the lowest id.
"""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int

NONE = -1
"""Stands for the counterpart of a token that has none."""


@runtime_checkable
class TokenBytes(Protocol):
    """What is compared of a vocabulary."""

    @property
    def token_bytes(self) -> Sequence[bytes | None]:
        """For each id its bytes; None for a special token and for an id that no token has."""
        ...

    @property
    def fallback_ids(self) -> AbstractSet[int]:
        """Ids of byte-fallback tokens, which spell what has no token of its own."""
        ...


@runtime_checkable
class Tokens(Protocol):
    """What two vocabularies are told apart by."""

    @property
    def token_bytes(self) -> Sequence[bytes | None]:
        """For each id its bytes; None for a special token and for an id that no token has."""
        ...

    @property
    def special_ids(self) -> Mapping[str, int]:
        """From the text of a special token to its id."""
        ...


def token_texts(vocabulary: Tokens) -> list[bytes | None]:
    """For each id its bytes, of a special token those of its name; None where there is no token."""
    texts = list(vocabulary.token_bytes)
    for name, index in vocabulary.special_ids.items():
        texts[index] = name.encode()
    return texts


def is_same_vocabulary(first: Tokens, other: Tokens) -> bool:
    """Whether every id stands for the same token on both sides.

    Files of one tokenizer differ in which added tokens they call special, without which an id is
    the same token all the same.
    """
    return token_texts(first) == token_texts(other)


def same_bytes(source: TokenBytes, target: TokenBytes) -> Int[np.ndarray, " vocab"]:
    """For each id of `source` the id of `target` with the same bytes, or `NONE`.

    Special tokens have no bytes, and so no counterpart here.
    """
    ordinary, fallback = _by_kind(target)
    in_order = (ordinary, fallback), (fallback, ordinary)
    found = np.full(len(source.token_bytes), NONE, dtype=np.int64)
    for index, surface in enumerate(source.token_bytes):
        if surface is not None:
            first, second = in_order[index in source.fallback_ids]
            found[index] = first.get(surface, second.get(surface, NONE))
    return found


def ids_by_bytes(vocabulary: TokenBytes) -> dict[bytes, int]:
    """From bytes to the id that texts are tokenized with: an ordinary one where there is one."""
    ordinary, fallback = _by_kind(vocabulary)
    ids = {**fallback, **ordinary}
    ids.pop(b"", None)
    return ids


def _by_kind(vocabulary: TokenBytes) -> tuple[dict[bytes, int], dict[bytes, int]]:
    """From bytes to the lowest id, of ordinary tokens and of byte-fallback tokens."""
    ordinary: dict[bytes, int] = {}
    fallback: dict[bytes, int] = {}
    for index, surface in enumerate(vocabulary.token_bytes):
        if surface is not None:
            kind = fallback if index in vocabulary.fallback_ids else ordinary
            kind.setdefault(surface, index)
    return ordinary, fallback


class Prefixes:
    """Finds tokens of a vocabulary at the beginning of bytes.

    A hash of all tokens stands in for the nodes of a trie: a token has few bytes, and each length
    is one look-up.

    Args:
        ids: What is found for the bytes of each token.
    """

    def __init__(self, ids: Mapping[bytes, int]):
        self._ids = ids
        self._most = max(map(len, self._ids), default=0)

    def longest(self, content: bytes, start: int) -> tuple[int, int]:
        """The longest token at `start`, and where it ends; `NONE` and `start` if there is none."""
        for end in range(min(len(content), start + self._most), start, -1):
            id_ = self._ids.get(content[start:end])
            if id_ is not None:
                return id_, end
        return NONE, start

    def cut(self, content: bytes) -> Iterator[int]:
        """Cuts bytes from the left into the longest tokens; bytes without a token are left out."""
        start = 0
        while start < len(content):
            id_, end = self.longest(content, start)
            if id_ != NONE:
                yield id_
            start = max(end, start + 1)
