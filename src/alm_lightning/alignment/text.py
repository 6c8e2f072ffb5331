"""One document under two tokenizers, with the chunks that both delimit."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Int

from alm_lightning.alignment.boundaries import (
    ChunkSelection,
    CommonEnds,
    Finest,
    chunk_ids,
    closing_tokens,
    common_boundaries,
)
from alm_lightning.alignment.dropping import chunks_of, renumbered, without
from alm_lightning.shapes import NO_CHUNK
from alm_lightning.tokenization.view import TokenizerView

REASONS = ("unknown", "structure", "tail")
"""Why bytes lie in no chunk: a token that stands for no text, a token that spans structure and
content, a rest after the last common boundary."""


@dataclass(frozen=True)
class AlignedText:
    """A document tokenized twice, and its chunks: a plain text, or a chat with its structure.

    Attributes:
        content: The document's bytes; of a chat the contents of its messages, one after another.
        student_ids: The student's tokens: of a text content only, of a chat all of them.
        teacher_ids: The teacher's tokens, likewise.
        student_chunk_ids: For each student token its chunk, or `NO_CHUNK`.
        teacher_chunk_ids: For each teacher token its chunk, or `NO_CHUNK`.
        student_trained: Whether each student token lies in a trained span, in a chunk or not.
        chunk_starts: Byte position at which each chunk starts.
        chunk_ends: Byte position at which each chunk ends: where it starts, if it is structure.
        trained: Whether each chunk lies in a trained span.
        rewritten_bytes: Bytes that a tokenizer's normaliser changed, the larger of the two sides.
        outside_bytes: Bytes in no chunk, by `REASONS`.
        is_chat: Whether the ids hold structure of their own, a start and ends of turns.
    """

    content: bytes
    student_ids: Int[np.ndarray, " student_pos"]
    teacher_ids: Int[np.ndarray, " teacher_pos"]
    student_chunk_ids: Int[np.ndarray, " student_pos"]
    teacher_chunk_ids: Int[np.ndarray, " teacher_pos"]
    student_trained: Bool[np.ndarray, " student_pos"]
    chunk_starts: Int[np.ndarray, " chunk"]
    chunk_ends: Int[np.ndarray, " chunk"]
    trained: Bool[np.ndarray, " chunk"]
    rewritten_bytes: int
    outside_bytes: Mapping[str, int]
    is_chat: bool = False

    @property
    def num_chunks(self) -> int:
        """Number of chunks."""
        return len(self.chunk_ends)

    @cached_property
    def is_structure(self) -> Bool[np.ndarray, " chunk"]:
        """Whether each chunk is structure on both sides: a role's header, an end of turn."""
        return self.chunk_starts == self.chunk_ends

    @cached_property
    def student_starts(self) -> Int[np.ndarray, " chunk"]:
        """Index of each chunk's first student token."""
        return _first(self.student_chunk_ids, self.num_chunks)

    @cached_property
    def student_ends(self) -> Int[np.ndarray, " chunk"]:
        """One past the index of each chunk's last student token."""
        return _past(self.student_chunk_ids, self.num_chunks)

    @cached_property
    def teacher_starts(self) -> Int[np.ndarray, " chunk"]:
        """Index of each chunk's first teacher token."""
        return _first(self.teacher_chunk_ids, self.num_chunks)

    @cached_property
    def teacher_ends(self) -> Int[np.ndarray, " chunk"]:
        """One past the index of each chunk's last teacher token."""
        return _past(self.teacher_chunk_ids, self.num_chunks)

    @property
    def chunks(self) -> list[tuple[int, int, int, int]]:
        """Token index ranges of each chunk: student start and end, teacher start and end."""
        columns = (self.student_starts, self.student_ends, self.teacher_starts, self.teacher_ends)
        return list(zip(*(column.tolist() for column in columns), strict=True))

    def chunk_bytes(self, index: int) -> bytes:
        """The bytes of one chunk.

        Args:
            index: Which chunk, from 0.

        Returns:
            What both sides' tokens of the chunk spell; nothing for structure.
        """
        return self.content[int(self.chunk_starts[index]) : int(self.chunk_ends[index])]

    @property
    def coverage(self) -> float:
        """Bytes in chunks, as a share of the document's bytes; 1.0 for an empty one."""
        if not self.content:
            return 1.0
        return float((self.chunk_ends - self.chunk_starts).sum()) / len(self.content)


def _first(ids: Int[np.ndarray, " pos"], num_chunks: int) -> Int[np.ndarray, " chunk"]:
    positions = np.flatnonzero(ids != NO_CHUNK)
    return positions[np.searchsorted(ids[positions], np.arange(num_chunks))]


def _past(ids: Int[np.ndarray, " pos"], num_chunks: int) -> Int[np.ndarray, " chunk"]:
    positions = np.flatnonzero(ids != NO_CHUNK)
    return positions[np.searchsorted(ids[positions], np.arange(num_chunks), side="right") - 1] + 1


def align_text(
    text: str,
    *,
    student: TokenizerView,
    teacher: TokenizerView,
    alignment: ChunkSelection | None = None,
    name: str = "text",
) -> AlignedText:
    """A text under both tokenizers, cut into the chunks that both delimit.

    Args:
        text: The text. What looks like a special token in it is content like any other.
        student: The student's tokenizer.
        teacher: The teacher's tokenizer.
        alignment: Which common boundaries bound chunks; every one if None.
        name: What an error calls the text.

    Returns:
        Tokens, chunks and coverage.

    Raises:
        BadDocument: If the text is no valid Unicode.

    Example:
        >>> from alm_lightning.tokenization.load import load_tokenizer
        >>> view = load_tokenizer("bytes")
        >>> aligned = align_text("né", student=view, teacher=view)
        >>> aligned.chunks
        [(0, 1, 0, 1), (1, 2, 1, 2), (2, 3, 2, 3)]
        >>> aligned.chunk_bytes(0), aligned.coverage
        (b'n', 1.0)
    """
    student_side = student.encode(text, name=name)
    teacher_side = teacher.encode(text, name=name)
    content = text.encode("utf-8")
    boundaries = common_boundaries(student_side.ends, teacher_side.ends, len(content))
    student_closes = closing_tokens(student_side.ends, boundaries)
    teacher_closes = closing_tokens(teacher_side.ends, boundaries)
    ends = student_side.ends[student_closes]
    if not isinstance(alignment, Finest | None) and len(ends):
        common = CommonEnds(
            positions=ends,
            content=content,
            student=student,
            teacher=teacher,
            student_ids=student_side.ids[student_closes],
            teacher_ids=teacher_side.ids[teacher_closes],
        )
        keep = alignment.select(common)
        keep[-1] = True
        # as many tokens of each side close as there are boundaries, in the same order
        student_closes[student_closes], teacher_closes[teacher_closes] = keep, keep
        ends = ends[keep]
    student_chunks, teacher_chunks = chunk_ids(student_closes), chunk_ids(teacher_closes)
    ends = ends.astype(np.int32)
    starts = np.zeros_like(ends)
    starts[1:] = ends[:-1]
    outside = dict.fromkeys(REASONS, 0)
    outside["tail"] = len(content) - int(ends[-1] if len(ends) else 0)
    if student_side.unknown is not None or teacher_side.unknown is not None:
        unknown = np.append(
            chunks_of(student_side.unknown, student_chunks),
            chunks_of(teacher_side.unknown, teacher_chunks),
        )
        keep = without(unknown, len(ends))
        outside["unknown"] = int((ends - starts)[~keep].sum())
        student_chunks, teacher_chunks = (
            renumbered(ids, keep) for ids in (student_chunks, teacher_chunks)
        )
        starts, ends = starts[keep], ends[keep]
    return AlignedText(
        content=content,
        student_ids=student_side.ids,
        teacher_ids=teacher_side.ids,
        student_chunk_ids=student_chunks,
        teacher_chunk_ids=teacher_chunks,
        student_trained=np.ones(len(student_side.ids), dtype=bool),
        chunk_starts=starts,
        chunk_ends=ends,
        trained=np.ones(len(ends), dtype=bool),
        rewritten_bytes=max(student_side.rewritten_bytes, teacher_side.rewritten_bytes),
        outside_bytes=outside,
    )
