"""What an objective may know of a pair before the first step."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int, UInt8


@runtime_checkable
class TextEncoder(Protocol):
    """Cuts texts into tokens."""

    def ids_of_many(
        self, texts: Sequence[str]
    ) -> tuple[Int[np.ndarray, " pos"], Int[np.ndarray, " text"]]:
        """Content ids of many pieces of texts, joined; and how many ids each piece has."""
        ...


@runtime_checkable
class Trie(Protocol):
    """The trie of a vocabulary: what `VocabularyTrie` has of it, which explains it."""

    order: Int[np.ndarray, " rank"]
    byte: UInt8[np.ndarray, " node"]
    first: Int[np.ndarray, " node"]
    own_end: Int[np.ndarray, " node"]
    last: Int[np.ndarray, " node"]
    child_start: Int[np.ndarray, " node"]
    num_children: Int[np.ndarray, " node"]
    path_start: Int[np.ndarray, " vocab"]
    path_nodes: Int[np.ndarray, " prefix"]
    lengths: Int[np.ndarray, " vocab"]

    @property
    def ids_without_bytes(self) -> Int[np.ndarray, " special"]:
        """The ids that no prefix leads to."""
        ...


@runtime_checkable
class Vocabulary(Protocol):
    """A vocabulary: what `TokenizerView` has of it, and no more.

    Attributes:
        name: What errors and logs call it.
        token_bytes: For each id the bytes that it stands for; None for a special token and for an
            id that no token has.
        roles: The ids of ``bos``, ``eos`` and ``pad``, those that it has.
        special_ids: From the text of a special token to its id.
        end_of_turn_id: The special token that ends a turn of a chat; None where there is none.
        fallback_ids: Ids of byte-fallback tokens, which spell what has no token of its own.
        num_tokens: Number of ids.
        encoder: Cuts texts into its tokens.
        trie: The trie of its tokens.
    """

    name: str
    token_bytes: Sequence[bytes | None]
    roles: Mapping[str, int]
    special_ids: Mapping[str, int]
    end_of_turn_id: int | None
    fallback_ids: AbstractSet[int]
    num_tokens: int
    encoder: TextEncoder
    trie: Trie


@dataclass(frozen=True)
class SideFacts:
    """One side of a pair.

    Attributes:
        view: Its vocabulary.
        hidden_size: Channels of its last hidden states.
        embedding_size: Channels of its input embeddings.
    """

    view: Vocabulary
    hidden_size: int
    embedding_size: int


@dataclass(frozen=True)
class PairFacts:
    """A student and its teacher."""

    student: SideFacts
    teacher: SideFacts
