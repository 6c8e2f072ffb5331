"""Counts over a text under two tokenizers, in the words in which they are shown."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from alm_lightning.alignment.aligned import AlignedText
from alm_lightning.shapes import NO_CHUNK
from alm_lightning.show.numbers import fixed, share
from alm_lightning.tokenization.view import TokenizerView

LONGEST_BIN = 16
"""Chunks of this many bytes and more share one bar: words end well before."""


@dataclass(frozen=True)
class SideCounts:
    """Counts of one side.

    Attributes:
        name: What the tokenizer is called.
        tokens: Number of tokens.
        tokens_outside: Number of them that are in no chunk.
        mean_length: Mean number of tokens in a content chunk; None if there is no chunk.
        max_length: Largest number of tokens in a content chunk.
        losses: What the tokenizer changes in texts.
    """

    name: str
    tokens: int
    tokens_outside: int
    mean_length: float | None
    max_length: int
    losses: tuple[str, ...]


@dataclass(frozen=True)
class Counts:
    """Counts of a text and its chunks. A content chunk is one that is not structure.

    Attributes:
        student: Of the student's side.
        teacher: Of the teacher's side.
        bytes: Content bytes.
        characters: Characters (code points) of the content.
        chunks: All chunks.
        structure_chunks: Those that are structure.
        trained_chunks: Those that are trained on, structure included.
        mean_bytes: Mean length of a content chunk in bytes; None if there is none.
        max_bytes: Largest length of a content chunk.
        one_to_one: Share of content chunks of one token on each side; None if there is none.
        coverage: Bytes in chunks, as a share of all.
        outside_bytes: Bytes in no chunk, by reason.
        rewritten_bytes: Bytes that a normaliser changed.
        histogram: Bars: a length in bytes ("3", "16+"), and the number of content chunks of it.
    """

    student: SideCounts
    teacher: SideCounts
    bytes: int
    characters: int
    chunks: int
    structure_chunks: int
    trained_chunks: int
    mean_bytes: float | None
    max_bytes: int
    one_to_one: float | None
    coverage: float
    outside_bytes: dict[str, int]
    rewritten_bytes: int
    histogram: tuple[tuple[str, int], ...]

    def facts(self) -> list[tuple[str, str]]:
        """What is counted over both sides: label and value, in the order to show them."""
        outside = sum(self.outside_bytes.values())
        reasons = ", ".join(f"{n:,} {reason}" for reason, n in self.outside_bytes.items() if n)
        return [
            ("bytes", f"{self.bytes:,}"),
            ("characters", f"{self.characters:,}"),
            ("chunks", f"{self.chunks:,}"),
            ("of these structure", f"{self.structure_chunks:,}"),
            ("of these trained", f"{self.trained_chunks:,}"),
            ("bytes a chunk, mean", fixed(self.mean_bytes, 2)),
            ("bytes a chunk, most", f"{self.max_bytes:,}"),
            ("one token to one token", share(self.one_to_one)),
            ("coverage", share(self.coverage)),
            ("bytes in no chunk", f"{outside:,}" + (f" ({reasons})" if reasons else "")),
            ("bytes rewritten", f"{self.rewritten_bytes:,}"),
        ]

    def sides(self) -> list[tuple[str, str, str]]:
        """What is counted of each side: label, student's value, teacher's value."""
        both = self.student, self.teacher
        rows = [
            ("tokens", *(f"{side.tokens:,}" for side in both)),
            ("tokens in no chunk", *(f"{side.tokens_outside:,}" for side in both)),
            ("tokens a chunk, mean", *(fixed(side.mean_length, 2) for side in both)),
            ("tokens a chunk, most", *(f"{side.max_length:,}" for side in both)),
        ]
        return [(label, student, teacher) for label, student, teacher in rows]


def counts(aligned: AlignedText, *, student: TokenizerView, teacher: TokenizerView) -> Counts:
    """Counts of a text under the student's and the teacher's tokenizer."""
    is_content = ~aligned.is_structure
    lengths = (aligned.chunk_ends - aligned.chunk_starts)[is_content]
    students = (aligned.student_ends - aligned.student_starts)[is_content]
    teachers = (aligned.teacher_ends - aligned.teacher_starts)[is_content]
    return Counts(
        student=_side(student, aligned.student_chunk_ids, students),
        teacher=_side(teacher, aligned.teacher_chunk_ids, teachers),
        bytes=len(aligned.content),
        characters=len(aligned.content.decode("utf-8")),
        chunks=aligned.num_chunks,
        structure_chunks=int(aligned.is_structure.sum()),
        trained_chunks=int(aligned.trained.sum()),
        mean_bytes=_mean(lengths),
        max_bytes=int(lengths.max(initial=0)),
        one_to_one=float(((students == 1) & (teachers == 1)).mean()) if len(lengths) else None,
        coverage=aligned.coverage,
        outside_bytes=dict(aligned.outside_bytes),
        rewritten_bytes=aligned.rewritten_bytes,
        histogram=_histogram(lengths),
    )


def _side(
    view: TokenizerView, chunk_ids: Int[np.ndarray, " pos"], lengths: Int[np.ndarray, " chunk"]
) -> SideCounts:
    return SideCounts(
        name=view.name,
        tokens=len(chunk_ids),
        tokens_outside=int((chunk_ids == NO_CHUNK).sum()),
        mean_length=_mean(lengths),
        max_length=int(lengths.max(initial=0)),
        losses=view.losses,
    )


def _mean(lengths: Int[np.ndarray, " chunk"]) -> float | None:
    return float(lengths.mean()) if len(lengths) else None


def _histogram(lengths: Int[np.ndarray, " chunk"]) -> tuple[tuple[str, int], ...]:
    """Bars from one byte to the longest chunk; those beyond `LONGEST_BIN` are one."""
    numbers = np.bincount(np.minimum(lengths, LONGEST_BIN))[1:].tolist()
    labels = [str(length) for length in range(1, LONGEST_BIN)] + [f"{LONGEST_BIN}+"]
    return tuple(zip(labels, numbers, strict=False))
