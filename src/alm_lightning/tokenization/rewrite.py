"""Texts that a tokenizer rewrites: its token ends, brought back onto the axis of the given text.

A normaliser may change the text (NFC, NFKC, U+2581 to a space). What it left alone still aligns:
only the shortest stretch that differs becomes one indivisible step of the axis.

Two ways lead there. Most normalisers work locally, so text and tokens are compared piece by piece,
byte for byte. Where that does not explain the tokens (whitespace that is dropped or collapsed, text
that has no token), the character spans that the `tokenizers` library reports are taken: they can't
tell where within a character a token ends, and lose boundaries there, but explain everything.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Int

INSIDE_REWRITE = -1
"""Byte end of a token that ends inside a stretch which the tokenizer rewrote: it bounds nothing."""

Spell = Callable[[str], bytes]
"""What a tokenizer makes of a piece of text before it cuts it into tokens, in bytes."""

NON_ASCII = re.compile(r"[\x00-\x7f]?[^\x00-\x7f]+")
"""Runs of text that a normaliser of Unicode may change, with the ASCII letter in front of each,
which a combining mark may join."""
WINDOW = 32
"""Characters to both sides that a normaliser is expected to look at: what is looked for in a run of
marks or spaces is looked for within so many, so that time grows with a text, not with its square.
Where a normaliser looks further, the pieces do not explain the tokens, and the spans are taken."""
REMEMBERED = 1 << 14
"""Answers of a normaliser to keep while one text is cut into pieces."""

Pieces = list[tuple[bytes, bytes]]
"""A text cut where both sides are rewritten independently: each piece as given, and rewritten."""


def pieces_of(text: str, spell: Spell) -> Pieces:
    r"""A text in pieces that are rewritten each on its own, the shortest where they differ.

    Args:
        text: The text as it was given.
        spell: The tokenizer's normaliser.

    Returns:
        The pieces.

    Example:
        >>> pieces_of("a\u2581b", lambda t: t.replace("\u2581", " ").encode())
        [(b'a', b'a'), (b'\xe2\x96\x81', b' '), (b'b', b'b')]
    """
    return list(_pieces(text, lru_cache(REMEMBERED)(spell)))


def ends_from_pieces(
    pieces: Pieces, spelled: bytes, ends: Int[np.ndarray, " pos"]
) -> tuple[Int[np.ndarray, " pos"], int] | None:
    r"""Token ends on the given text, from ends on what the tokens spell, by comparing pieces.

    Args:
        pieces: From `pieces_of`.
        spelled: What the tokens spell, joined.
        ends: Ends of the tokens in `spelled`, in bytes, ascending.

    Returns:
        Ends in the bytes of `text`, `INSIDE_REWRITE` for a token that ends strictly within a
        stretch that differs; and how many bytes of `text` lie in such stretches. None if what the
        tokens spell is not the normalised text, piece by piece.

    Example:
        >>> ends_from_pieces([(b"ab", b"ab"), (b"\xe2\x96\x81", b" ")], b"ab ", np.array([1, 3]))
        (array([1, 5], dtype=int32), 3)
    """
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
    position = 0
    for run in NON_ASCII.finditer(text):
        yield from _ascii_pieces(text[position : run.start()], spell)
        yield from _characters(run[0], spell)
        position = run.end()
    yield from _ascii_pieces(text[position:], spell)


def _ascii_pieces(text: str, spell: Spell) -> Iterator[tuple[bytes, bytes]]:
    given = text.encode("utf-8")
    if spell(text) != given:
        yield from _characters(text, spell)
    elif given:
        yield given, given


def _characters(text: str, spell: Spell) -> Iterator[tuple[bytes, bytes]]:
    start = 0
    for place, character in enumerate(text):
        before = text[max(start, place - WINDOW) : place]
        # a mark may go past others to the letter that it melts into; Hangul and Indic vowels melt
        # into the letter before them without being marks
        belongs = (
            not before
            or unicodedata.combining(character)
            or spell(before + character) != spell(before) + spell(character)
        )
        if not belongs:
            yield from _parts(text[start:place], spell)
            start = place
    yield from _parts(text[start:], spell)


def _parts(cluster: str, spell: Spell) -> Iterator[tuple[bytes, bytes]]:
    """A cluster cut wherever it can be: where both parts are rewritten independently."""
    start = 0
    for stop in range(1, len(cluster)):
        before = cluster[max(start, stop - WINDOW) : stop]
        after = cluster[stop : stop + WINDOW]
        if spell(before) + spell(after) == spell(before + after):
            yield cluster[start:stop].encode("utf-8"), spell(cluster[start:stop])
            start = stop
    yield cluster[start:].encode("utf-8"), spell(cluster[start:])


def ends_from_spans(
    pieces: Pieces,
    spans: Int[np.ndarray, "pos 2"],
    surfaces: Int[np.ndarray, " pos"],
) -> tuple[Int[np.ndarray, " pos"], Bool[np.ndarray, " pos"]]:
    """Token ends on the given text, from the spans that the library reports.

    The span of a composed character is that of its letter alone: an end within a piece that is
    rewritten as a whole is put behind the piece.

    Args:
        pieces: From `pieces_of`.
        spans: First byte, and one past the last, of each token.
        surfaces: Number of bytes that each token spells.

    Returns:
        Ends in the bytes of the text, `INSIDE_REWRITE` where another token overlaps with the span;
        and whether the token spells as many bytes as its span has.

    Example:
        >>> pieces = [(b"A", b"a"), (b" b", b" b")]
        >>> ends_from_spans(pieces, np.array([[0, 1], [2, 3]]), np.array([1, 1]))
        (array([1, 3], dtype=int32), array([ True,  True]))
    """
    num_bytes = sum(len(given) for given, _ in pieces)
    behind = np.arange(num_bytes + 1, dtype=np.int32)
    place = 0
    for given, spelled in pieces:
        if given != spelled:
            behind[place + 1 : place + len(given)] = place + len(given)
        place += len(given)
    starts, ends = spans[:, 0], behind[spans[:, 1]]
    later_starts = np.append(np.minimum.accumulate(starts[::-1])[::-1][1:], num_bytes)
    is_end = (later_starts >= ends) & (np.maximum.accumulate(ends) == ends)
    return np.where(is_end, ends, np.int32(INSIDE_REWRITE)), ends - starts == surfaces


def byte_positions(text: str) -> Int[np.ndarray, " character_plus_one"]:
    """Byte at which each character of a text starts, and one past the last: 0, 1, 3, 4 of "né!"."""
    points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    lengths = 1 + (points > 0x7F) + (points > 0x7FF) + (points > 0xFFFF)
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
