"""The project's view of a tokenizer: ids, and the bytes that they stand for."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Int
from transformers import PreTrainedTokenizerFast

from alm_lightning.tokenization.encoding import Encoding, content_bytes
from alm_lightning.tokenization.rewrite import ends_on_given_text
from alm_lightning.tokenization.surface import (
    BYTE_FALLBACK,
    normal_bytes,
    piece_reader,
    token_bytes,
)

BOUNDARY_BYTES = b" \t\n"
"""Bytes that only ever start a pretoken (method.md, section 1)."""


@dataclass(frozen=True)
class TokenizerView:
    """A tokenizer, reduced to what alignment and likelihoods need.

    Attributes:
        name: What errors and logs call it.
        token_bytes: For each id the bytes that it stands for; None for a special token and for an
            id that no token has.
        special_ids: Structure: from the text of a special token to its id.
        roles: The ids of ``bos``, ``eos`` and ``pad``, those that it has.
        fallback_ids: Ids of byte-fallback tokens, which spell what has no token of its own.
        prepends_bos: Whether its sequences start with a BOS.
        encode_ids: From text to content ids, nothing added and nothing parsed as special.
        spell: What the tokenizer's normaliser makes of a text, in bytes.
        hf: The tokenizer itself, for export and generation.
    """

    name: str
    token_bytes: Sequence[bytes | None]
    special_ids: Mapping[str, int]
    roles: Mapping[str, int]
    fallback_ids: frozenset[int]
    prepends_bos: bool
    encode_ids: Callable[[str], Int[np.ndarray, " pos"]] = field(repr=False)
    spell: Callable[[str], bytes] = field(repr=False)
    hf: PreTrainedTokenizerFast = field(repr=False)

    @property
    def num_tokens(self) -> int:
        """Number of ids, the highest one plus one: at most the output rows of its model."""
        return len(self.token_bytes)

    def id_of(self, role: str) -> int:
        """The id of a role.

        Args:
            role: ``bos``, ``eos`` or ``pad``.

        Returns:
            The token id.

        Raises:
            ValueError: If the tokenizer has no token for the role.
        """
        if role not in self.roles:
            raise ValueError(
                f"tokenizer {self.name!r} has no {role} token, only {sorted(self.roles)}. Set "
                f"{role}_token in its tokenizer_config.json."
            )
        return self.roles[role]

    @property
    def start_id(self) -> int:
        """The token before a document's first, without which that one would have no likelihood.

        The BOS where the tokenizer prepends one; else the EOS, as after the document before.
        """
        return self.id_of("bos" if self.prepends_bos else "eos")

    @cached_property
    def byte_lengths(self) -> Int[np.ndarray, " vocab"]:
        """Number of bytes that each id stands for, 0 for structure."""
        return np.array([len(surface or b"") for surface in self.token_bytes], dtype=np.int64)

    @cached_property
    def boundary_ids(self) -> Int[np.ndarray, " subset"]:
        """Ids after which nobody doubts that the last token ended: boundary bytes and structure.

        The tokens whose first byte is a space, a tab or a newline, and the special tokens
        (method.md, section 1, the set B).
        """
        content = (i for i, s in enumerate(self.token_bytes) if s and s[0] in BOUNDARY_BYTES)
        return np.array(sorted({*content, *self.special_ids.values()}), dtype=np.int64)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of everything that changes a tokenization: which id stands for which bytes."""
        digest = hashlib.blake2b(digest_size=16)
        for surface in self.token_bytes:
            digest.update(b"-" if surface is None else b"%d:%b" % (len(surface), surface))
        digest.update(repr(sorted(self.special_ids.items())).encode())
        return digest.hexdigest()

    def encode(self, text: str, *, name: str = "text") -> Encoding:
        """Content tokens of a text, and where each ends on the text's own byte axis.

        Args:
            text: The text; what looks like a special token in it is content like any other.
            name: What an error calls the text.

        Returns:
            Ids and byte ends.

        Raises:
            ValueError: If the text holds a lone surrogate, or the tokenizer has no token for a
                part of it and drops that part as structure.
        """
        given = content_bytes(text, name)
        ids = self.encode_ids(text)
        ends = np.cumsum(self.byte_lengths[ids])
        surfaces = [self.token_bytes[index] for index in ids]
        if None in surfaces:
            index = int(ids[surfaces.index(None)])
            raise ValueError(
                f"{name}: tokenizer {self.name!r} has no token for a part of the text and gave the "
                f"special token {index} instead. Its vocabulary lacks a byte fallback: use another "
                "tokenizer, or drop the document."
            )
        spelled = b"".join(surfaces)
        if spelled == given:
            return Encoding(ids, ends)
        ends, rewritten_bytes = ends_on_given_text(text, spelled, ends, self.spell)
        return Encoding(ids, ends, rewritten_bytes)


def view_of(tokenizer: PreTrainedTokenizerFast, *, name: str) -> TokenizerView:
    """The project's view of a fast tokenizer of transformers.

    Args:
        tokenizer: The tokenizer. The view owns it from here on: its backend is told to leave
            special tokens in a text alone.
        name: What errors and logs call it.

    Returns:
        The view.

    Raises:
        ValueError: If it is neither byte-level nor SentencePiece style.
    """
    backend = tokenizer.backend_tokenizer
    # content is content: '<bos>' in a document is five characters, not the start of one
    backend.encode_special_tokens = True
    added = backend.get_added_tokens_decoder()
    special = {index: token.content for index, token in added.items() if token.special}
    vocabulary = backend.get_vocab(with_added_tokens=True)
    read_piece = piece_reader(backend.decoder, name)
    surfaces = token_bytes(vocabulary, added.keys(), special.keys(), read_piece)
    normalise = backend.normalizer.normalize_str if backend.normalizer else str

    def spell(text: str) -> bytes:
        # a SentencePiece normaliser answers in the alphabet of its pieces
        return normal_bytes(normalise(text), read_piece)

    roles = {
        "bos": tokenizer.bos_token_id,
        "eos": tokenizer.eos_token_id,
        "pad": tokenizer.pad_token_id,
    }
    template_ids = backend.encode("a", add_special_tokens=True).ids
    return TokenizerView(
        name=name,
        token_bytes=surfaces,
        special_ids={content: index for index, content in sorted(special.items())},
        roles={role: index for role, index in roles.items() if index is not None},
        fallback_ids=frozenset(
            index for piece, index in vocabulary.items() if BYTE_FALLBACK.fullmatch(piece)
        ),
        prepends_bos=bool(template_ids) and template_ids[0] == tokenizer.bos_token_id,
        encode_ids=lambda text: np.array(
            backend.encode(text, add_special_tokens=False).ids, dtype=np.int64
        ),
        spell=spell,
        hf=tokenizer,
    )
