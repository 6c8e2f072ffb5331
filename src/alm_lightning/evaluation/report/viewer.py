"""The chunk viewer: held-out documents, each chunk coloured by how far the student is off."""

import math
import re
from collections.abc import Iterable, Iterator
from html import escape

from alm_lightning.evaluation.report.data import Chunk, ShownDocument
from alm_lightning.show.numbers import MINUS, fixed
from alm_lightning.show.visible import CARRIER, NOTHING, visible

BOUNDS = (0.1, 0.5, 1.0, 2.0)
"""Differences, in nats, at which a colour gives way to the next."""

JOINERS = re.compile("([\u200c\u200d]+)")
"""Characters that show nothing, and say whether their neighbours join."""
JOINER = "¦"
"""What is shown of a chunk of nothing else."""


def shade(difference: float) -> str:
    """The class of a difference.

    Args:
        difference: Student minus teacher, nats.

    Returns:
        ``lo4`` (the student finds a chunk far less likely) to ``hi4``; ``even`` below the first
        bound; ``none`` for what is no number.

    Example:
        >>> [shade(nats) for nats in (-3.0, -0.1, 0.0, 0.7)]
        ['lo4', 'lo1', 'even', 'hi2']
    """
    if not math.isfinite(difference):
        return "none"
    strength = sum(abs(difference) >= bound for bound in BOUNDS)
    return f"{'lo' if difference < 0 else 'hi'}{strength}" if strength else "even"


def viewer(documents: tuple[ShownDocument, ...], *, is_open: bool) -> str:
    """Documents with their chunks.

    Args:
        documents: In the order to show them.
        is_open: Whether the first of them is open when the page is.

    Returns:
        HTML.
    """
    return "".join(
        _document(document, is_open=is_open and place == 0)
        for place, document in enumerate(documents)
    )


def scale_legend() -> str:
    """What the colours mean.

    Returns:
        A list, from the student's worst to its best.
    """
    shades = [f"lo{n}" for n in (4, 3, 2, 1)] + ["even"] + [f"hi{n}" for n in (1, 2, 3, 4)]
    cells = "".join(f'<li class="{kind}"></li>' for kind in shades)
    # the bounds stand below the edges between two colours
    bounds = [f"{MINUS}{bound:g}" for bound in reversed(BOUNDS)] + [f"{b:g}" for b in BOUNDS]
    return (
        '<div class="scale"><p><span>student less likely</span><span>student more likely</span></p>'
        f'<ul class="cells">{cells}</ul>'
        f'<ul class="bounds">{"".join(f"<li>{bound}</li>" for bound in bounds)}</ul>'
        "<p>difference of log-likelihoods, nats</p></div>"
    )


def signs(documents: Iterable[ShownDocument]) -> str:
    """What the signs in the text stand for, of those that a reader may not know.

    Args:
        documents: The documents.

    Returns:
        HTML: a part of a sentence.
    """
    told = "<b>·</b> is a space, <b>↵</b> a newline"
    texts = [chunk.text for document in documents for chunk in document.chunks]
    if any(JOINERS.fullmatch(text) for text in texts):
        told += f", <b>{JOINER}</b> a joiner, which shows nothing itself"
    if any("\ufffd" in text for text in texts):
        told += ", <b>\ufffd</b> a part of a character"
    return told


def _document(document: ShownDocument, *, is_open: bool) -> str:
    opened = " open" if is_open else ""
    told = (
        f"{len(document.chunks):,} chunks, mean |log p_T {MINUS} log p_S| "
        f"{fixed(document.mean_difference)} nats"
    )
    return (
        f"<details{opened}><summary><b>{escape(document.name)}</b> <span>{told}</span></summary>"
        f'<div class="text">{"".join(_paragraphs(document))}</div></details>\n'
    )


def _paragraphs(document: ShownDocument) -> Iterator[str]:
    """Lines of the text: a chunk that goes on behind a newline has a part in each."""
    line: list[str] = []
    for chunk in document.chunks:
        for part in _parts(chunk.text):
            line.append(_span(chunk, part, goes_on=bool(line)))
            if part.endswith("\n"):
                yield _paragraph(line)
                line = []
    if line:
        yield _paragraph(line)


def _parts(text: str) -> list[str]:
    """A text in its lines, each with its newline; an empty text is one part as well."""
    *whole, last = text.split("\n")
    parts = [part + "\n" for part in whole]
    return [*parts, last] if last or not parts else parts


def _paragraph(spans: list[str]) -> str:
    # the direction of a line is that of its first letter
    return f'<p dir="auto">{"".join(spans)}</p>'


def _span(chunk: Chunk, part: str, *, goes_on: bool) -> str:
    told = (
        f"student {fixed(chunk.student, 2)}, teacher {fixed(chunk.teacher, 2)}: "
        f"{_signed(chunk.difference)} nats"
    )
    # to be reached by a tap, which shows the title, not by the tab key
    return (
        f'<span class="c {shade(chunk.difference)}" tabindex="-1" title="{told}">'
        f"{''.join(_drawn(part, goes_on=goes_on))}</span>"
    )


def _drawn(part: str, *, goes_on: bool) -> Iterator[str]:
    """Text with signs for what is unseen, as words that stand in a line.

    Letters that the chunks of a word share between them keep what joins them: the joiners of
    Persian and of emoji, and marks that belong to the letter before.
    """
    if JOINERS.fullmatch(part):
        yield f"{part}<bdi>{JOINER}</bdi>"
        return
    for place, piece in enumerate(JOINERS.split(part)):
        if JOINERS.fullmatch(piece):
            yield piece
            continue
        for found in visible(piece.encode("utf-8", errors="surrogatepass")) if piece else ():
            text = found.text
            if goes_on or place:
                text = text.removeprefix(CARRIER) or CARRIER
            # a sign for a space is no place where a line may end: say so
            yield f"<wbr><bdi>{escape(text)}</bdi>" if found.is_mark else escape(text)
    if not part:
        yield f"<bdi>{NOTHING}</bdi>"


def _signed(value: float) -> str:
    return f"+{fixed(value, 2)}" if value > 0 else fixed(value, 2)
