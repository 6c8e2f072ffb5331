"""Texts that a tokenizer rewrites: its token ends, brought back onto the axis of the given text.

A normaliser may change the text (NFC, NFKC, U+2581 to a space). What it left alone still aligns:
only the shortest stretch that differs becomes one indivisible step of the axis.
"""

import unicodedata
from collections.abc import Callable, Iterator
from difflib import SequenceMatcher
from functools import cache

import numpy as np
from jaxtyping import Int

from alm_lightning.tokenization.encoding import INSIDE_REWRITE

Spell = Callable[[str], bytes]
"""What a tokenizer makes of a piece of text before it cuts it into tokens, in bytes."""


def ends_on_given_text(
    text: str, spelled: bytes, ends: Int[np.ndarray, " pos"], spell: Spell
) -> tuple[Int[np.ndarray, " pos"], int]:
    """Token ends measured on the given text, from ends measured on what the tokens spell.

    Args:
        text: The text as it was given.
        spelled: What the tokens spell, joined.
        ends: Ends of the tokens in `spelled`, in bytes, ascending.
        spell: The tokenizer's normaliser.

    Returns:
        Ends in the bytes of `text`, `INSIDE_REWRITE` for a token that ends strictly within a
        stretch that differs; and how many bytes of `text` lie in such stretches.

    Example:
        >>> ends_on_given_text(
        ...     "a\u2581b", b"a b", np.array([1, 2, 3]), lambda t: t.replace("\u2581", " ").encode()
        ... )
        (array([1, 4, 5]), 3)
    """
    pieces = list(_pieces(text, spell))
    joined = b"".join(spelled_piece for _, spelled_piece in pieces)
    dummy = len(spelled) - len(joined)
    if dummy >= 0 and spelled == b" " * dummy + joined:
        pieces.insert(0, (b"", b" " * dummy))
    else:
        # a rewrite that depends on more than its surroundings: compare the whole texts
        pieces = list(_compared(text.encode("utf-8"), spelled))
    positions = np.full(len(spelled) + 1, INSIDE_REWRITE, dtype=np.int64)
    positions[0] = in_given = in_spelled = rewritten = 0
    for given_piece, spelled_piece in pieces:
        if given_piece == spelled_piece:
            steps = np.arange(1, len(given_piece) + 1)
            positions[in_spelled + steps] = in_given + steps
        else:
            rewritten += len(given_piece)
        in_given += len(given_piece)
        in_spelled += len(spelled_piece)
        positions[in_spelled] = in_given
    return positions[ends], rewritten


def _pieces(text: str, spell: Spell) -> Iterator[tuple[bytes, bytes]]:
    """The shortest pieces that are rewritten each on its own: given bytes and spelled bytes."""
    spell_once = cache(spell)
    piece = ""
    for character in text:
        # a mark that follows, or a letter that melts into the one before it (Hangul, Indic vowels)
        belongs = piece and (
            unicodedata.combining(character)
            or spell_once(piece + character) != spell_once(piece) + spell_once(character)
        )
        if piece and not belongs:
            yield piece.encode("utf-8"), spell_once(piece)
            piece = ""
        piece += character
    if piece:
        yield piece.encode("utf-8"), spell_once(piece)


def _compared(given: bytes, spelled: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Stretches that are equal and stretches that differ, by comparison alone."""
    blocks = SequenceMatcher(None, given, spelled, autojunk=False).get_opcodes()
    for _, given_start, given_end, spelled_start, spelled_end in blocks:
        yield given[given_start:given_end], spelled[spelled_start:spelled_end]
