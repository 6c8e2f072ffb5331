"""Windows of aligned documents: what fits one sequence, cut on both sides at the same byte."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from alm_lightning.alignment.text import AlignedText
from alm_lightning.shapes import NO_CHUNK


@dataclass(frozen=True)
class Window:
    """A run of whole chunks of one document, on both sides.

    Attributes:
        student_ids: The student's tokens, content only.
        teacher_ids: The teacher's tokens, content only.
        student_chunk_ids: For each student token its chunk, counted from 0 in the window.
        teacher_chunk_ids: The same for the teacher.
        num_chunks: Number of chunks.
        num_bytes: Length of the window in bytes; all of them lie in chunks.
        ends_document: Whether the document ends here, so that an EOS follows.
    """

    student_ids: Int[np.ndarray, " student_pos"]
    teacher_ids: Int[np.ndarray, " teacher_pos"]
    student_chunk_ids: Int[np.ndarray, " student_pos"]
    teacher_chunk_ids: Int[np.ndarray, " teacher_pos"]
    num_chunks: int
    num_bytes: int
    ends_document: bool


def windows(
    aligned: AlignedText, *, student_length: int, teacher_length: int, name: str
) -> Iterator[Window]:
    """A document cut into windows, each as long as both limits allow, ending at a chunk's end.

    Args:
        aligned: The document under both tokenizers.
        student_length: The most student tokens of a window, special tokens not counted.
        teacher_length: The most teacher tokens of a window, special tokens not counted.
        name: What an error calls the document.

    Yields:
        The windows in order; together they hold every chunk once.

    Raises:
        ValueError: If a single chunk is longer than a window may be.
    """
    student, teacher = aligned.student_bounds, aligned.teacher_bounds
    last = len(aligned.chunk_ends)
    start = 0
    while start < last:
        stop = min(
            int(np.searchsorted(student, student[start] + student_length, side="right")) - 1,
            int(np.searchsorted(teacher, teacher[start] + teacher_length, side="right")) - 1,
        )
        if stop <= start:
            raise ValueError(
                f"{name}: chunk {start} ({aligned.chunk_bytes(start)[:40]!r}) takes "
                f"{student[start + 1] - student[start]} student and "
                f"{teacher[start + 1] - teacher[start]} teacher tokens, but a sequence has room "
                f"for {student_length} and {teacher_length}. Raise budget.student_length and "
                "budget.teacher_length."
            )
        yield _window(aligned, start, stop)
        start = stop


def _window(aligned: AlignedText, start: int, stop: int) -> Window:
    student = slice(aligned.student_bounds[start], aligned.student_bounds[stop])
    teacher = slice(aligned.teacher_bounds[start], aligned.teacher_bounds[stop])
    first_byte = int(aligned.chunk_ends[start - 1]) if start else 0
    return Window(
        student_ids=aligned.student_ids[student],
        teacher_ids=aligned.teacher_ids[teacher],
        student_chunk_ids=aligned.student_chunk_ids[student] - start,
        teacher_chunk_ids=aligned.teacher_chunk_ids[teacher] - start,
        num_chunks=stop - start,
        num_bytes=int(aligned.chunk_ends[stop - 1]) - first_byte,
        ends_document=stop == len(aligned.chunk_ends)
        and NO_CHUNK not in (aligned.student_chunk_ids[-1], aligned.teacher_chunk_ids[-1]),
    )
