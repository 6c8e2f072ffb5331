"""The result of an alignment: a document tokenized twice, with the chunks that both delimit."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Int

from alm_lightning.shapes import NO_CHUNK

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
        """How many chunks there are, trained or not."""
        return len(self.chunk_ends)

    @cached_property
    def is_structure(self) -> Bool[np.ndarray, " chunk"]:
        """Whether each chunk is structure on both sides: a role's header, an end of turn."""
        is_structure: Bool[np.ndarray, " chunk"] = self.chunk_starts == self.chunk_ends
        return is_structure

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
        """The bytes that both sides' tokens of one chunk spell; none for structure."""
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
