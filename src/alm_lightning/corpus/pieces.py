"""Long texts cut into pieces at places that no tokenizer chooses."""

import numpy as np
from jaxtyping import Int

from alm_lightning.corpus.document import Document

LEAST_BYTES = 4
"""As many as a character may have."""
_SPACES = np.frombuffer(b" \t\n\r", np.uint8)
_CONTINUES, _MARK = 0b1100_0000, 0b1000_0000
"""The bits of a byte that continues a character of UTF-8, and what they are there."""


def pieces(document: Document, most_bytes: int) -> list[Document]:
    r"""A text in pieces of at most so many bytes, each as long as possible.

    A piece ends before the whitespace that comes before a word, where tokens of most vocabularies
    end too; where there is none, at the end of a character.

    Args:
        document: The text.
        most_bytes: The most bytes of a piece, at least `LEAST_BYTES`.

    Returns:
        The pieces, which together are the text; the text itself where it is short enough.

    Example:
        >>> [piece.text for piece in pieces(Document("one two three", name="a"), 8)]
        ['one two', ' three']
    """
    content = document.text.encode("utf-8")
    if len(content) <= most_bytes:
        return [document]
    values = np.frombuffer(content, np.uint8)
    is_space = np.isin(values, _SPACES)
    before_word = 1 + np.flatnonzero(is_space[1:] & ~is_space[:-1])
    characters = np.flatnonzero(values & _CONTINUES != _MARK)
    found, start = [], 0
    while start < len(content):
        stop = len(content)
        if stop - start > most_bytes:
            stop = _last(before_word, start, start + most_bytes) or _last(
                characters, start, start + most_bytes
            )
        text = content[start:stop].decode("utf-8")
        name = f"{document.name}, bytes {start} to {stop}"
        found.append(Document(text, name=name, group=document.group))
        start = stop
    return found


def _last(places: Int[np.ndarray, " place"], after: int, until: int) -> int:
    """The last of some ascending places beyond one, up to another; 0 where there is none."""
    found = int(np.searchsorted(places, until, side="right"))
    return int(places[found - 1]) if found and places[found - 1] > after else 0
