"""The plain record of everything to be drawn: groups of tokens, and counts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from alm_lightning.inspection.counts import Counts
from alm_lightning.show.visible import Piece

WORDS = {
    "unknown": "unknown token",
    "structure": "torn by structure",
    "tail": "no common end",
    "lone": "one side only",
}
"""Why tokens are in no chunk, in a few words: the reasons of `alignment.text.REASONS`, and
structure that the other side lacks, which has no bytes to count."""
EXPLANATIONS = {
    "unknown": "a tokenizer has no token for this text",
    "structure": "a token spans structure and content, or one side's structure stands inside",
    "tail": "no token of both sides ends after it",
    "lone": "structure without a counterpart on the other side",
}


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
    def why(self) -> str:
        """Why it is in no chunk, in a few words."""
        return ", ".join(WORDS[reason] for reason in self.reasons)


@dataclass(frozen=True)
class Report:
    """What there is to say of a text under two tokenizers.

    Attributes:
        title: What the text is called.
        student_name: What the student's tokenizer is called.
        teacher_name: What the teacher's tokenizer is called.
        alignment: What the alignment is called.
        groups: Chunks and the tokens between them, from the start of the text.
        counts: Counts over the whole text.
    """

    title: str
    student_name: str
    teacher_name: str
    alignment: str
    groups: tuple[Group, ...]
    counts: Counts

    def first(self, most: int) -> tuple[Group, ...]:
        """The groups up to a number of chunks, and what follows the last one if it is the last.

        Args:
            most: Largest number of chunks.

        Returns:
            Groups, from the start of the text.
        """
        is_whole = self.counts.chunks <= most
        return tuple(group for group in self.groups if is_whole or group.number < most)


def in_lines(groups: Sequence[Group]) -> Iterator[list[Group]]:
    """Groups in the lines of the text: a new one after a newline, and after a role's header.

    Args:
        groups: Groups in the order of the text.

    Yields:
        Lines, none of them empty.
    """
    line: list[Group] = []
    for group in groups:
        if line and line[-1].is_structure and not group.is_structure:
            yield line
            line = []
        line.append(group)
        # the indentation that comes in one token with its newline stays behind
        if b"\n" in group.content:
            yield line
            line = []
    if line:
        yield line
