"""Bytes made visible: what a reader sees of a token that may be a space, or a third of a letter."""

import unicodedata
from dataclasses import dataclass
from functools import lru_cache

SIGNS = {" ": "·", "\n": "↵", "\t": "→", "\r": "␍"}
"""Whitespace that is common enough to have a sign of its own."""
UNSEEN = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp", "Zs"})
"""Categories of Unicode that show nothing, or that turn the text around them."""
NOTHING = "∅"
CARRIER = "◌"
"""Carries a combining mark whose letter is in the token before."""


@dataclass(frozen=True)
class Piece:
    """A stretch of visible text.

    Attributes:
        text: What to show.
        is_mark: Whether it is a sign for something unseen, not the text itself.
    """

    text: str
    is_mark: bool


@lru_cache(maxsize=1 << 16)
def visible(raw: bytes) -> tuple[Piece, ...]:
    r"""What to show for the bytes of a token.

    Args:
        raw: Any bytes, whole characters or not.

    Returns:
        Text and signs in turn: ``·`` for a space, ``↵`` for a newline, ``→`` for a tab, ``\xNN``
        for a byte of a cut character, ``\uNNNN`` for any other character that shows
        nothing.

    Example:
        >>> "".join(piece.text for piece in visible(b" caf\xc3\xa9\n"))
        '·café↵'
        >>> [(piece.text, piece.is_mark) for piece in visible("€".encode()[:2] + b"a")]
        [('\\xe2\\x82', True), ('a', False)]
    """
    if not raw:
        return (Piece(NOTHING, is_mark=True),)
    pieces: list[Piece] = []
    for place, character in enumerate(raw.decode("utf-8", errors="surrogateescape")):
        sign = _sign(character, is_first=place == 0)
        # the carrier is one piece with its mark: a border between them would separate them again
        carrier = CARRIER if place == 0 and unicodedata.category(character)[0] == "M" else ""
        piece = Piece(sign or carrier + character, is_mark=bool(sign))
        if pieces and pieces[-1].is_mark == piece.is_mark:
            pieces[-1] = Piece(pieces[-1].text + piece.text, piece.is_mark)
        else:
            pieces.append(piece)
    return tuple(pieces)


def _sign(character: str, *, is_first: bool) -> str | None:
    """The sign of a character that shows nothing; None for one that shows itself."""
    if character in SIGNS:
        return SIGNS[character]
    point = ord(character)
    if 0xDC80 <= point <= 0xDCFF:  # how `surrogateescape` hands on a byte of no character
        return f"\\x{point - 0xDC00:02x}"
    # a variation selector shows only in what it does to the character before it
    is_selector = 0xFE00 <= point <= 0xFE0F or 0xE0100 <= point <= 0xE01EF
    if unicodedata.category(character) in UNSEEN or (is_selector and is_first):
        return f"\\u{point:04x}" if point <= 0xFFFF else f"\\U{point:08x}"
    return None
