"""Where a document is cut: runs of whole chunks that fit one sequence, and what each accounts for.

Everything here is a search in sorted token ends: one step a window, none a token.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from alm_lightning.alignment.aligned import REASONS, AlignedText

Side = tuple[Int[np.ndarray, " chunk"], Int[np.ndarray, " chunk"], int, int]
"""First tokens of the chunks of a side, their ends, the most tokens of a window, and all tokens."""


@dataclass(frozen=True)
class Span:
    """A run of whole chunks that fits one sequence.

    Attributes:
        start: Its first chunk.
        stop: One past its last chunk.
        student: Its student tokens, those in no chunk included.
        teacher: Its teacher tokens.
        opens: Whether a start token belongs before it.
        is_last: Whether both sides end with it.
    """

    start: int
    stop: int
    student: slice
    teacher: slice
    opens: bool
    is_last: bool


def spans(
    aligned: AlignedText, student_length: int, teacher_length: int
) -> tuple[list[Span], Bool[np.ndarray, " chunk"]]:
    """The windows of a document, each as long as both limits allow.

    Args:
        aligned: The document under both tokenizers.
        student_length: The most student tokens of a window.
        teacher_length: The most teacher tokens of a window.

    Returns:
        The spans in order, and whether each chunk is too long for any.
    """
    sides = (
        (aligned.student_starts, aligned.student_ends, student_length, len(aligned.student_ids)),
        (aligned.teacher_starts, aligned.teacher_ends, teacher_length, len(aligned.teacher_ids)),
    )
    found: list[Span] = []
    too_long = np.zeros(aligned.num_chunks, dtype=bool)
    start, last = 0, aligned.num_chunks
    # the first token of the window: what lies before its first chunk, in no chunk, is part of it
    firsts = [0, 0]
    while start < last:
        stop = _stop(sides, firsts)
        if stop <= start:
            # what lies before the chunk gives way to it
            firsts = [int(starts[start]) for starts, *_ in sides]
            stop = _stop(sides, firsts)
        if stop <= start:
            too_long[start] = True
            stop = start + 1
        else:
            ends = [int(side_ends[stop - 1]) for _, side_ends, *_ in sides]
            totals = [total for *_, total in sides]
            if stop == last and all(
                total - first <= length
                for total, first, (*_, length, _) in zip(totals, firsts, sides, strict=True)
            ):
                ends = totals
            found.append(
                Span(
                    start,
                    stop,
                    student=slice(firsts[0], ends[0]),
                    teacher=slice(firsts[1], ends[1]),
                    opens=not aligned.is_chat or firsts != [0, 0],
                    is_last=ends == totals,
                )
            )
        firsts = [int(side_ends[stop - 1]) for _, side_ends, *_ in sides]
        start = stop
    return found, too_long


def _stop(sides: Sequence[Side], firsts: Sequence[int]) -> int:
    """One past the last chunk at whose end neither side exceeds its length."""
    return min(
        int(np.searchsorted(ends, first + length, side="right"))
        for (_, ends, length, _), first in zip(sides, firsts, strict=True)
    )


def accounts(
    aligned: AlignedText,
    found: Sequence[Span],
    trained: Bool[np.ndarray, " chunk"],
    too_long: Bool[np.ndarray, " chunk"],
) -> Iterator[tuple[Int[np.ndarray, " reason"], int]]:
    """What each window has to say of the document's bytes that are not trained on.

    A window accounts for all that lies between the end of the one before and its own, the last one
    for the rest of the document too: the counts of all windows add up to the document's. What lies
    between chunks is handed out in the order of `REASONS`, which is exact where there is one.

    Args:
        aligned: The document.
        found: Its windows.
        trained: True for a chunk that is trained on.
        too_long: True for a chunk that no window can hold.

    Yields:
        Bytes outside trained chunks by reason, and rewritten bytes, of each window.
    """
    num_chunks, num_bytes = aligned.num_chunks, len(aligned.content)
    lengths = aligned.chunk_ends - aligned.chunk_starts
    # how much there is before each chunk and its gap; the last place holds all of it
    zero = np.zeros(1, dtype=np.int64)
    inside = np.concatenate([zero, np.cumsum(lengths)])
    untrained = np.concatenate([zero, np.cumsum(lengths * ~(trained | too_long))])
    left_out = np.concatenate([zero, np.cumsum(lengths * too_long)])
    outside = np.concatenate([zero, aligned.chunk_ends]) - inside
    reasons = np.cumsum([0, *(aligned.outside_bytes[reason] for reason in REASONS)])
    start, start_gap, start_byte = 0, 0, 0
    for index, span in enumerate(found):
        is_last = index == len(found) - 1
        stop = num_chunks if is_last else span.stop
        gap = num_bytes - int(inside[-1]) if is_last else int(outside[stop])
        byte = num_bytes if is_last else int(aligned.chunk_ends[stop - 1])
        shares = np.clip(gap, reasons[:-1], reasons[1:]) - np.clip(
            start_gap, reasons[:-1], reasons[1:]
        )
        counted = (untrained[stop] - untrained[start], left_out[stop] - left_out[start])
        rewritten = _share(aligned, byte) - _share(aligned, start_byte)
        yield np.array([*shares, *counted], dtype=np.int64), rewritten
        start, start_gap, start_byte = stop, gap, byte


def _share(aligned: AlignedText, byte: int) -> int:
    """Rewritten bytes up to a byte, as if they were spread evenly: where they lie is not known."""
    return aligned.rewritten_bytes * byte // max(len(aligned.content), 1)
