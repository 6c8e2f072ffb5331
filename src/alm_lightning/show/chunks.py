"""The chunk viewer: chunks as tokens of two sides in boxes, or as running text in colours.

The records say what to draw; templates/chunks.html.j2 draws them on pages, and the inspection's
terminal reads the same records.
"""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from alm_lightning.show.numbers import MINUS, fixed
from alm_lightning.show.visible import CARRIER, NOTHING, Piece, visible

WORDS = {
    "unknown": "unknown token",
    "structure": "torn by structure",
    "tail": "no common end",
    "lone": "one side only",
}
"""Why tokens are in no chunk, in a few words: the reasons of `alignment.aligned.REASONS`, and
structure that the other side lacks, which has no bytes to count."""
EXPLANATIONS = {
    "unknown": "a tokenizer has no token for this text",
    "structure": "a token spans structure and content, or one side's structure stands inside",
    "tail": "no token of both sides ends after it",
    "lone": "structure without a counterpart on the other side",
}
BOUNDS = (0.1, 0.5, 1.0, 2.0)
"""Absolute differences, in nats, at which a colour changes to the next."""
SHADES = ("lo4", "lo3", "lo2", "lo1", "even", "hi1", "hi2", "hi3", "hi4")
JOINERS = re.compile("([\u200c\u200d]+)")
"""Characters that show nothing, and say whether their neighbours join."""
JOINER = "¦"
"""What is shown of a chunk of joiners alone."""


@dataclass(frozen=True)
class Token:
    """One token to draw.

    Attributes:
        id: Its id.
        pieces: What to show of it.
        is_special: Whether it stands for no text: ``<bos>``, ``<|im_end|>``, ``[UNK]``.
    """

    id: int
    pieces: tuple[Piece, ...]
    is_special: bool

    @property
    def text(self) -> str:
        """What to show of it, in one string."""
        return "".join(piece.text for piece in self.pieces)


@dataclass(frozen=True)
class Group:
    """A chunk, or a run of tokens in no chunk.

    Attributes:
        number: Number of chunks before it: that of the chunk itself, as `AlignedText.chunk_bytes`
            counts.
        start: Content byte at which it starts.
        content: Its content bytes; nothing for structure.
        student: The student's tokens.
        teacher: The teacher's tokens.
        is_structure: Whether it is structure: a role's header, an end of turn, a BOS.
        is_trained: Whether it is trained on; of tokens in no chunk: False.
        respelled: The sides whose tokens spell other bytes than the text has.
        reasons: Keys of `WORDS`: why the tokens are in no chunk; of a chunk: none.
    """

    number: int
    start: int
    content: bytes
    student: tuple[Token, ...]
    teacher: tuple[Token, ...]
    is_structure: bool
    is_trained: bool
    respelled: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()

    @property
    def end(self) -> int:
        """One past its last content byte."""
        return self.start + len(self.content)

    @property
    def is_chunk(self) -> bool:
        """Whether it is a chunk."""
        return not self.reasons

    @property
    def has_special(self) -> bool:
        """Whether one of its tokens stands for no text."""
        return any(token.is_special for token in self.student + self.teacher)

    @property
    def why(self) -> str:
        """Why it is in no chunk, in a few words."""
        return ", ".join(WORDS[reason] for reason in self.reasons)

    @property
    def kind(self) -> str:
        """How it looks: ``loose``, or ``structure``, ``even`` or ``odd``, and maybe ``pale``."""
        if not self.is_chunk:
            return "loose"
        kind = "structure" if self.is_structure else ("even", "odd")[self.number % 2]
        return kind if self.is_trained else f"{kind} pale"

    @property
    def notes(self) -> list[str]:
        """What is particular about it."""
        notes = [f"in no chunk: {EXPLANATIONS[reason]}" for reason in self.reasons]
        if self.is_chunk and not self.is_trained:
            notes.append("not trained on")
        return notes + [f"the {side}'s tokens spell it with other bytes" for side in self.respelled]

    @property
    def label(self) -> str:
        """It in words, for readers who hear the page."""
        sides = (" | ".join(t.text for t in side) for side in (self.student, self.teacher))
        student, teacher = (side or "no token" for side in sides)
        name = f"chunk {self.number}" if self.is_chunk else "no chunk"
        return "; ".join([f"{name}: student {student}, teacher {teacher}", *self.notes])

    @property
    def data(self) -> dict[str, str]:
        """What the page's script shows of it: number, bytes, ids, notes."""
        name = str(self.number) if self.is_chunk else "none"
        ids = [" ".join(str(t.id) for t in side) for side in (self.student, self.teacher)]
        return {
            "n": name + (", structure" if self.is_structure else ""),
            "r": f"{self.start}–{self.end} ({len(self.content)})",
            "x": self.content.hex(" "),
            "s": ids[0] or "none",
            "t": ids[1] or "none",
            "w": "; ".join(self.notes),
        }


def in_lines(groups: Sequence[Group]) -> Iterator[list[Group]]:
    """Groups in the lines of the text: a new one after a newline, and after a role's header."""
    line: list[Group] = []
    for group in groups:
        if line and line[-1].is_structure and not group.is_structure:
            yield line
            line = []
        line.append(group)
        # indentation that is in one token with its newline stays on the line before
        if b"\n" in group.content:
            yield line
            line = []
    if line:
        yield line


@dataclass(frozen=True)
class Chunk:
    """A chunk of a held-out document.

    Attributes:
        text: Its text.
        student: Its log-likelihood under the student, nats.
        teacher: The same under the teacher.
    """

    text: str
    student: float
    teacher: float

    @property
    def difference(self) -> float:
        """Student minus teacher, nats: below 0 where the student finds it less likely."""
        return self.student - self.teacher

    @property
    def label(self) -> str:
        """Both log-likelihoods and their difference."""
        plus = "+" if self.difference > 0 else ""
        return (
            f"student {fixed(self.student, 2)}, teacher {fixed(self.teacher, 2)}: "
            f"{plus}{fixed(self.difference, 2)} nats"
        )

    @property
    def shade(self) -> str:
        """Its colour."""
        return shade(self.difference)


@dataclass(frozen=True)
class ScoredDocument:
    """The first chunks of a held-out document, with log-likelihoods.

    Attributes:
        name: What the document is called.
        chunks: Its chunks, in order.
    """

    kind = "document"
    name: str
    chunks: tuple[Chunk, ...]

    @property
    def mean_difference(self) -> float:
        """Mean of ``|log p_T - log p_S|`` over its chunks, nats; NaN without chunks."""
        differences = [abs(chunk.difference) for chunk in self.chunks]
        return sum(differences) / len(differences) if differences else math.nan

    @property
    def lines(self) -> list[list[tuple[Chunk, list[Piece]]]]:
        """Lines of the text: a chunk that continues behind a newline has a part in each."""
        lines: list[list[tuple[Chunk, list[Piece]]]] = [[]]
        for chunk in self.chunks:
            for part in _parts(chunk.text):
                lines[-1].append((chunk, list(_pieces(part, continues=bool(lines[-1])))))
                if part.endswith("\n"):
                    lines.append([])
        return [line for line in lines if line]


def shade(difference: float) -> str:
    """The class of a difference.

    Args:
        difference: Student minus teacher, nats.

    Returns:
        ``lo4`` (the student finds a chunk far less likely) to ``hi4``; ``even`` below the first
        bound; ``none`` for NaN and infinities.

    Example:
        >>> [shade(nats) for nats in (-3.0, -0.1, 0.0, 0.7)]
        ['lo4', 'lo1', 'even', 'hi2']
    """
    if not math.isfinite(difference):
        return "none"
    strength = sum(abs(difference) >= bound for bound in BOUNDS)
    return f"{'lo' if difference < 0 else 'hi'}{strength}" if strength else "even"


def bounds() -> list[str]:
    """The differences between two `SHADES`, as they are written."""
    return [f"{MINUS}{bound:g}" for bound in reversed(BOUNDS)] + [f"{b:g}" for b in BOUNDS]


def signs(documents: Iterable[ScoredDocument]) -> dict[str, str]:
    """Meanings of the signs in the text, of those that a reader may not know."""
    found = {"·": "is a space", "↵": "a newline"}
    texts = [chunk.text for document in documents for chunk in document.chunks]
    if any(JOINERS.fullmatch(text) for text in texts):
        found[JOINER] = "a joiner, which shows nothing itself"
    if any("\ufffd" in text for text in texts):
        found["\ufffd"] = "a part of a character"
    return found


def _parts(text: str) -> list[str]:
    """A text in its lines, each with its newline; an empty text is one part as well."""
    *whole, last = text.split("\n")
    parts = [part + "\n" for part in whole]
    return [*parts, last] if last or not parts else parts


def _pieces(part: str, *, continues: bool) -> Iterator[Piece]:
    """Text with signs for what is unseen.

    Letters of a word that are in different chunks keep what joins them: the joiners of Persian and
    of emoji, and marks that belong to the letter before.
    """
    if not part:
        yield Piece(NOTHING, is_mark=True)
    for place, text in enumerate(JOINERS.split(part)):
        if JOINERS.fullmatch(text):
            yield Piece(text, is_mark=False)
        elif text:
            for piece in visible(text.encode("utf-8", errors="surrogatepass")):
                shown = piece.text
                if continues or place:
                    shown = shown.removeprefix(CARRIER) or CARRIER
                yield Piece(shown, piece.is_mark)
    if JOINERS.fullmatch(part):
        yield Piece(JOINER, is_mark=True)
