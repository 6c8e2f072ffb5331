"""A text that is most of its corpus, such as a book: cut, so that its end is held out."""

from dataclasses import replace

from alm_lightning.corpus.document import Document

LEAST_CHARACTERS = 2_000
"""Shorter texts are not cut: nothing could be measured on their ends."""
PIECE_CHARACTERS = 4_000
"""Most characters of a piece: two windows of the published byte recipe, so that `windows=first`
reads half of the text."""
GAP_SHARE, GAP_CHARACTERS = 0.01, (200, 10_000)
"""Share of the text between the trained and the held-out part, and its least and most characters:
what directly follows a trained sentence is easier to predict than other text."""
REACH_SHARE = 0.05
"""Share of the text that is searched for a good place to end a part, a piece at most."""
BREAKS = ("\n\n", "\r\n\r\n", "\n", ". ", " ")
"""What a text is cut after, the best first."""


def cut_off_end(
    document: Document, *, heldout_share: float
) -> tuple[list[Document], list[Document]]:
    """Pieces of a text to train on, and pieces of its end, which are held out.

    Args:
        document: A text of at least `LEAST_CHARACTERS`.
        heldout_share: Share of its characters that is held out, between 0 and 1.

    Returns:
        Both lists; the gap between is in neither. Each piece is named by its characters:
        ``book.txt:1[0:3980]``.

    Example:
        >>> book = Document("One word after another. " * 200, name="book.txt:1")
        >>> train, heldout = cut_off_end(book, heldout_share=0.1)
        >>> [piece.name for piece in train], [piece.name for piece in heldout]
        (['book.txt:1[0:3984]', 'book.txt:1[3984:4104]'], ['book.txt:1[4320:4800]'])
    """
    text = document.text
    end = min(max(round(len(text) * (1 - heldout_share)), 1), len(text) - 1)
    # where line ends are rare, the last one may be far from here
    reach = min(round(len(text) * REACH_SHARE), PIECE_CHARACTERS)
    heldout_start = _break_before(text, end, lowest=max(end // 2, end - reach))
    least, most = GAP_CHARACTERS
    # no more than half of what comes before it, where nearly all is held out
    gap = min(max(round(len(text) * GAP_SHARE), least), most, heldout_start // 2)
    latest = heldout_start - gap
    train_end = _break_before(text, latest, lowest=max(latest // 2, latest - reach))
    return _pieces(document, 0, train_end), _pieces(document, heldout_start, len(text))


def _pieces(document: Document, start: int, end: int) -> list[Document]:
    pieces = []
    while start < end:
        stop = end
        if end - start > PIECE_CHARACTERS:
            latest = start + PIECE_CHARACTERS
            stop = _break_before(document.text, latest, lowest=start + PIECE_CHARACTERS // 2)
        name = f"{document.name}[{start}:{stop}]"
        piece = replace(document, text=document.text[start:stop], name=name)
        if not piece.is_blank:
            pieces.append(piece)
        start = stop
    return pieces


def _break_before(text: str, latest: int, *, lowest: int) -> int:
    """The best place to cut a text, above `lowest` and no later than `latest`."""
    for mark in BREAKS:
        found = text.rfind(mark, lowest, latest)
        if found >= 0:
            return found + len(mark)
    # a script without spaces
    return latest
