"""One text under two tokenizers, with the chunks that both delimit."""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Int

from alm_lightning.alignment.boundaries import Finest, chunk_ids, common_boundaries
from alm_lightning.shapes import NO_CHUNK
from alm_lightning.tokenization.view import TokenizerView


@runtime_checkable
class ChunkSelection(Protocol):
    """Which common boundaries bound chunks: `Finest`, `Whitespace`."""

    def select(
        self, boundaries: Bool[np.ndarray, " byte"], content: bytes
    ) -> Bool[np.ndarray, " byte"]:
        """A selection of the common boundaries."""


@dataclass(frozen=True)
class AlignedText:
    """A text tokenized twice, and its chunks.

    Attributes:
        content: The text's bytes.
        student_ids: The student's tokens, content only.
        teacher_ids: The teacher's tokens, content only.
        student_chunk_ids: For each student token its chunk, or `NO_CHUNK`.
        teacher_chunk_ids: For each teacher token its chunk, or `NO_CHUNK`.
        chunk_ends: Byte position at which each chunk ends; it starts where the one before ended.
        rewritten_bytes: Bytes that a tokenizer's normaliser changed, the larger of the two sides.
    """

    content: bytes
    student_ids: Int[np.ndarray, " student_pos"]
    teacher_ids: Int[np.ndarray, " teacher_pos"]
    student_chunk_ids: Int[np.ndarray, " student_pos"]
    teacher_chunk_ids: Int[np.ndarray, " teacher_pos"]
    chunk_ends: Int[np.ndarray, " chunk"]
    rewritten_bytes: int

    @cached_property
    def student_bounds(self) -> Int[np.ndarray, " chunk_plus_one"]:
        """Student token index at which each chunk starts, and one past the last chunk."""
        return self._bounds(self.student_chunk_ids)

    @cached_property
    def teacher_bounds(self) -> Int[np.ndarray, " chunk_plus_one"]:
        """Teacher token index at which each chunk starts, and one past the last chunk."""
        return self._bounds(self.teacher_chunk_ids)

    def _bounds(self, ids: Int[np.ndarray, " pos"]) -> Int[np.ndarray, " chunk_plus_one"]:
        in_chunk = ids[ids != NO_CHUNK]
        return np.searchsorted(in_chunk, np.arange(len(self.chunk_ends) + 1))

    @property
    def chunks(self) -> list[tuple[int, int, int, int]]:
        """Token index ranges of each chunk: student start and end, teacher start and end."""
        student, teacher = self.student_bounds.tolist(), self.teacher_bounds.tolist()
        return list(zip(student[:-1], student[1:], teacher[:-1], teacher[1:], strict=True))

    def chunk_bytes(self, index: int) -> bytes:
        """The bytes of one chunk.

        Args:
            index: Which chunk, from 0.

        Returns:
            What both sides' tokens of the chunk spell.
        """
        ends = self.chunk_ends
        index = range(len(ends))[index]
        return self.content[int(ends[index - 1]) if index else 0 : int(ends[index])]

    @property
    def coverage(self) -> float:
        """Bytes in chunks, as a share of the text's bytes; 1.0 for an empty text."""
        if not self.content:
            return 1.0
        return float(self.chunk_ends[-1]) / len(self.content) if len(self.chunk_ends) else 0.0


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
        text: The text.
        student: The student's tokenizer.
        teacher: The teacher's tokenizer.
        alignment: Which common boundaries bound chunks; every one if None.
        name: What an error calls the text.

    Returns:
        Tokens, chunks and coverage.

    Raises:
        ValueError: If the text is no valid Unicode, or a side has no tokens for it.

    Example:
        >>> from alm_lightning.tokenization.load import load_tokenizer
        >>> view = load_tokenizer("bytes")
        >>> aligned = align_text("né", student=view, teacher=view)
        >>> aligned.chunks
        [(0, 1, 0, 1), (1, 2, 1, 2), (2, 3, 2, 3)]
        >>> aligned.chunk_bytes(0), aligned.coverage
        (b'n', 1.0)
    """
    student_encoding = student.encode(text, name=name)
    teacher_encoding = teacher.encode(text, name=name)
    content = text.encode("utf-8")
    boundaries = (alignment or Finest()).select(
        common_boundaries(student_encoding.ends, teacher_encoding.ends, len(content)), content
    )
    return AlignedText(
        content=content,
        student_ids=student_encoding.ids,
        teacher_ids=teacher_encoding.ids,
        student_chunk_ids=chunk_ids(student_encoding.ends, boundaries),
        teacher_chunk_ids=chunk_ids(teacher_encoding.ends, boundaries),
        chunk_ends=np.flatnonzero(boundaries),
        rewritten_bytes=max(student_encoding.rewritten_bytes, teacher_encoding.rewritten_bytes),
    )
