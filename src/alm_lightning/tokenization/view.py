"""The project's view of a tokenizer: ids, and the bytes that they stand for."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Int
from transformers import PreTrainedTokenizerFast

from alm_lightning.corpus.document import BadDocument
from alm_lightning.tokenization.byte_table import ByteTable
from alm_lightning.tokenization.chat.formats import END, MARKS, fitting
from alm_lightning.tokenization.rewrite import (
    byte_positions,
    ends_from_pieces,
    ends_from_spans,
    pieces_of,
)
from alm_lightning.tokenization.trie import VocabularyTrie

BOUNDARY_BYTES = b" \t\n"
"""Bytes that only ever start a pretoken (docs/method.md, section 1)."""


@dataclass(frozen=True)
class Encoding:
    """Tokens of one text, on the byte axis of the text as it was given.

    Attributes:
        ids: Token ids, content only: no BOS, no EOS.
        ends: For each token, how many bytes of the text lie before its end, or `INSIDE_REWRITE`.
        rewritten_bytes: Bytes of the text that no token spells as they are: the tokenizer's
            normaliser changed or dropped them.
        unknown: True for a token that stands for no text (``[UNK]``); None where none is.
    """

    ids: Int[np.ndarray, " pos"]
    ends: Int[np.ndarray, " pos"]
    rewritten_bytes: int = 0
    unknown: Bool[np.ndarray, " pos"] | None = None


@runtime_checkable
class Encoder(Protocol):
    """What cuts texts into tokens: `FastEncoder`, `ByteEncoder`."""

    def ids(self, text: str, *, continued: bool) -> Int[np.ndarray, " pos"]:
        """Content ids of a text, nothing added and nothing parsed as special."""
        ...

    def ids_of_many(
        self, texts: Sequence[str]
    ) -> tuple[Int[np.ndarray, " pos"], Int[np.ndarray, " text"]]:
        """Content ids of many pieces of texts, joined; and how many ids each piece has."""
        ...

    def spans(self, text: str, *, continued: bool) -> Int[np.ndarray, "pos 2"]:
        """First character, and one past the last, of each of these tokens."""
        ...

    def spell(self, text: str) -> bytes:
        """What the normaliser makes of a piece of text, in bytes."""
        ...

    def decode(self, ids: Int[np.ndarray, " pos"]) -> str:
        """What ids stand for by the tokenizer's own decoder."""
        ...

    def state(self) -> bytes:
        """Everything that changes a tokenization."""
        ...


# compared by identity: it is the key of caches, and its tables are large
@dataclass(frozen=True, eq=False)
class TokenizerView:
    """A tokenizer, reduced to what alignment and likelihoods need.

    Attributes:
        name: What errors and logs call it.
        token_bytes: For each id the bytes that it stands for; None for a special token and for an
            id that no token has.
        special_ids: Structure: from the text of a special token to its id. The unknown token is
            one of them.
        roles: The ids of ``bos``, ``eos`` and ``pad``, those that it has.
        fallback_ids: Ids of byte-fallback tokens, which spell what has no token of its own.
        prepends_bos: Whether its sequences start with a BOS.
        encoder: Cuts texts into tokens.
        hf: The tokenizer itself, for export, chat templates and generation.
        losses: Where the tokenizer does not give texts back as they were, in words.
    """

    name: str
    token_bytes: Sequence[bytes | None] = field(repr=False)
    special_ids: Mapping[str, int] = field(repr=False)
    roles: Mapping[str, int]
    fallback_ids: frozenset[int] = field(repr=False)
    prepends_bos: bool
    encoder: Encoder = field(repr=False)
    hf: PreTrainedTokenizerFast = field(repr=False)
    losses: tuple[str, ...] = ()

    @property
    def num_tokens(self) -> int:
        """Number of ids, the highest one plus one: at most the output rows of its model."""
        return len(self.token_bytes)

    def id_of(self, role: str) -> int:
        """The id of ``bos``, ``eos`` or ``pad``; a ValueError where the tokenizer has none."""
        if role not in self.roles:
            raise ValueError(
                f"tokenizer {self.name!r} has no {role} token, only {sorted(self.roles)}. Give "
                f"{role}=... to load_tokenizer, or set {role}_token in its tokenizer_config.json."
            )
        return self.roles[role]

    @property
    def start_id(self) -> int:
        """The token before a document's first, without which that one would have no likelihood.

        The BOS where the tokenizer prepends one; else the EOS, as after the document before.
        """
        return self.id_of("bos" if self.prepends_bos else "eos")

    @property
    def end_of_turn_id(self) -> int | None:
        """The special token that ends a turn in the chat format that the tokenizer has tokens of.

        Base models may have one that is not their EOS, as Gemma's <end_of_turn>. None where there
        is none.
        """
        marks = [mark for name in fitting(self.special_ids) for mark in MARKS[name].items()]
        return next((self.special_ids[text] for text, does in marks if does == END), None)

    @cached_property
    def table(self) -> ByteTable:
        """The bytes of all ids, in arrays."""
        return ByteTable(self.token_bytes)

    @cached_property
    def trie(self) -> VocabularyTrie:
        """The trie of all tokens."""
        return VocabularyTrie(self.token_bytes)

    @property
    def byte_lengths(self) -> Int[np.ndarray, " vocab"]:
        """Number of bytes that each id stands for, 0 for structure."""
        return self.table.lengths

    @cached_property
    def boundary_ids(self) -> Int[np.ndarray, " subset"]:
        """Ids before which a token certainly ends: boundary bytes and structure.

        The tokens whose first byte is a space, a tab or a newline, and the special tokens
        (docs/method.md, section 1, the set B).
        """
        content = (i for i, s in enumerate(self.token_bytes) if s and s[0] in BOUNDARY_BYTES)
        return np.array(sorted({*content, *self.special_ids.values()}), dtype=np.int64)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of everything that changes a tokenization or what its tokens stand for."""
        digest = hashlib.blake2b(self.encoder.state(), digest_size=16)
        for surface in self.token_bytes:
            digest.update(b"-" if surface is None else b"%d:%b" % (len(surface), surface))
        digest.update(repr(sorted(self.special_ids.items())).encode())
        return digest.hexdigest()

    def encode(self, text: str, *, name: str = "text", continued: bool = False) -> Encoding:
        """Content tokens of a text, and where each ends on the text's own byte axis.

        Args:
            text: The text; what looks like a special token in it is content like any other.
            name: What an error calls the text.
            continued: Whether the text follows a special token, where some tokenizers add no dummy
                space.

        Returns:
            Ids and byte ends.
        """
        content = content_bytes(text, name)
        ids = self.encoder.ids(text, continued=continued)
        ends, is_exact = self.table.ends(ids, content)
        if is_exact:
            return Encoding(ids, ends)
        return self._rewritten(text, content, ids, ends, continued)

    def _rewritten(
        self,
        text: str,
        content: bytes,
        ids: Int[np.ndarray, " pos"],
        ends: Int[np.ndarray, " pos"],
        continued: bool,
    ) -> Encoding:
        """The encoding of a text that the tokens do not spell as it is."""
        unknown = ~self.table.is_content[ids]
        spelled = self.table.spelled(ids)
        pieces = pieces_of(text, self.encoder.spell)
        if not unknown.any():
            found = ends_from_pieces(pieces, spelled.tobytes(), ends)
            if found is not None:
                return Encoding(ids, *found)
        spans = byte_positions(text)[self.encoder.spans(text, continued=continued)]
        lengths = self.byte_lengths[ids]
        own_ends, same_length = ends_from_spans(pieces, spans, lengths)
        # bytes that stand where they stood, of tokens as long as the text they stand for
        comparable = np.repeat(same_length & (own_ends >= 0), lengths)
        places = np.arange(len(spelled)) + np.repeat(own_ends - ends, lengths)
        given = np.frombuffer(content, np.uint8)
        is_kept = np.zeros(len(given) + 1, dtype=bool)
        is_kept[places[comparable]] = spelled[comparable] == given[places[comparable]]
        # what an unknown token stands for is lost, not rewritten; several may stand for one text
        lost = np.zeros(len(given) + 1, dtype=np.int64)
        np.add.at(lost, spans[unknown, 0], 1)
        np.add.at(lost, spans[unknown, 1], -1)
        accounted = is_kept | (lost.cumsum() > 0)
        return Encoding(
            ids,
            own_ends,
            rewritten_bytes=len(given) - int(accounted.sum()),
            unknown=unknown if unknown.any() else None,
        )


def content_bytes(text: str, name: str) -> bytes:
    """UTF-8 bytes of a text; `name` is what an error calls it.

    A lone surrogate is refused as a BadDocument: no valid UTF-8 stands for it.
    """
    if not isinstance(text, str):
        raise TypeError(f"{name}: expected a text (str), got {type(text).__name__}.")
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadDocument(
            f"{name}: lone surrogate U+{ord(text[error.start]):04X} at character {error.start}: "
            "this is not valid Unicode, and no tokens stand for it. Repair or drop it."
        ) from error
