"""Texts that a tokenizer rewrites: its token ends, brought back onto the axis of the given text.

A normaliser may change the text (NFC, NFKC, U+2581 to a space). What it left alone still aligns:
only the shortest stretch that differs becomes one indivisible step of the axis.

Two ways lead there. Most normalisers work locally, so text and tokens are compared piece by piece,
byte for byte. Where that does not explain the tokens (whitespace that is dropped or collapsed, text
that has no token), the character spans that the `tokenizers` library reports are taken: they can't
tell where within a character a token ends, and cost boundaries there, but explain everything.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
from jaxtyping import Bool, Int

from alm_lightning.tokenization.encoding import INSIDE_REWRITE

Spell = Callable[[str], bytes]
"""What a tokenizer makes of a piece of text before it cuts it into tokens, in bytes."""

NON_ASCII = re.compile(r"[\x00-\x7f]?[^\x00-\x7f]+")
"""Runs of text that a normaliser of Unicode may change, with the ASCII letter in front of each,
which a combining mark may join."""


def ends_from_pieces(
    text: str, spelled: bytes, ends: Int[np.ndarray, " pos"], spell: Spell
) -> tuple[Int[np.ndarray, " pos"], int] | None:
    """Token ends on the given text, from ends on what the tokens spell, by comparing pieces.

    Args:
        text: The text as it was given.
        spelled: What the tokens spell, joined.
        ends: Ends of the tokens in `spelled`, in bytes, ascending.
        spell: The tokenizer's normaliser.

    Returns:
        Ends in the bytes of `text`, `INSIDE_REWRITE` for a token that ends strictly within a
        stretch that differs; and how many bytes of `text` lie in such stretches. None if what the
        tokens spell is not the normalised text, piece by piece.

    Example:
        >>> ends_from_pieces(
        ...     "a\u2581b", b"a b", np.array([1, 2, 3]), lambda t: t.replace("\u2581", " ").encode()
        ... )
        (array([1, 4, 5], dtype=int32), 3)
    """
    pieces = list(_pieces(text, cache(spell)))
    joined = b"".join(spelled_piece for _, spelled_piece in pieces)
    # a dummy space stands for nothing: it is a piece of no bytes
    dummy = len(spelled) - len(joined)
    if dummy < 0 or spelled != b" " * dummy + joined:
        return None
    positions = np.full(len(spelled) + 1, INSIDE_REWRITE, dtype=np.int32)
    positions[0] = positions[dummy] = 0
    in_given, in_spelled, rewritten = 0, dummy, 0
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
    """Pieces that are rewritten each on its own, the shortest where they differ."""
    position = 0
    for run in NON_ASCII.finditer(text):
        yield from _ascii_pieces(text[position : run.start()], spell)
        yield from _characters(run[0], spell)
        position = run.end()
    yield from _ascii_pieces(text[position:], spell)


def _ascii_pieces(text: str, spell: Spell) -> Iterator[tuple[bytes, bytes]]:
    given = text.encode("utf-8")
    if not given or spell(text) == given:
        yield given, given
    else:
        yield from _characters(text, spell)


def _characters(text: str, spell: Spell) -> Iterator[tuple[bytes, bytes]]:
    cluster = ""
    for character in text:
        # a mark may go past others to the letter that it melts into; Hangul and Indic vowels melt
        # into the letter before them without being marks
        belongs = cluster and (
            unicodedata.combining(character)
            or spell(cluster + character) != spell(cluster) + spell(character)
        )
        if cluster and not belongs:
            yield from _parts(cluster, spell)
            cluster = ""
        cluster += character
    if cluster:
        yield from _parts(cluster, spell)


def _parts(cluster: str, spell: Spell) -> Iterator[tuple[bytes, bytes]]:
    """A cluster cut wherever it can be: where both parts are rewritten independently."""
    start = 0
    for stop in range(1, len(cluster)):
        parts = spell(cluster[start:stop]) + spell(cluster[stop:])
        if parts == spell(cluster[start:]):
            yield cluster[start:stop].encode("utf-8"), spell(cluster[start:stop])
            start = stop
    yield cluster[start:].encode("utf-8"), spell(cluster[start:])


def ends_from_spans(
    text: str,
    spans: Int[np.ndarray, "pos 2"],
    surfaces: Int[np.ndarray, " pos"],
) -> tuple[Int[np.ndarray, " pos"], Bool[np.ndarray, " pos"]]:
    """Token ends on the given text, from the character spans that the library reports.

    Args:
        text: The text as it was given.
        spans: First character, and one past the last, of each token.
        surfaces: Number of bytes that each token spells.

    Returns:
        Ends in the bytes of `text`, `INSIDE_REWRITE` where a later token overlaps with the span;
        and whether the token spells as many bytes as its span has.

    Example:
        >>> ends_from_spans("A b", np.array([[0, 1], [2, 3]]), np.array([1, 1]))
        (array([1, 3], dtype=int32), array([ True,  True]))
    """
    byte_of = byte_positions(text)
    starts, ends = byte_of[spans[:, 0]], byte_of[spans[:, 1]]
    later_starts = np.append(np.minimum.accumulate(starts[::-1])[::-1][1:], byte_of[-1])
    return np.where(later_starts >= ends, ends, INSIDE_REWRITE), ends - starts == surfaces


def byte_positions(text: str) -> Int[np.ndarray, " character_plus_one"]:
    """Byte at which each character of a text starts, and one past the last.

    Args:
        text: Valid Unicode.

    Returns:
        One position more than there are characters.

    Example:
        >>> byte_positions("né!")
        array([0, 1, 3, 4], dtype=int32)
    """
    points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    lengths = 1 + (points > 0x7F) + (points > 0x7FF) + (points > 0xFFFF)
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
