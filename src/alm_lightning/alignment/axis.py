"""The axis of a chat: content bytes, and between them the structure that both sides have.

A structural pair (a role's header, an end of turn: other tokens on each side) takes one position of
the axis and is indivisible: a chunk can end before or after it, never inside. A structure that only
one side has takes no position, and its tokens are in no chunk.
"""

from dataclasses import dataclass

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
from alm_lightning.alignment.text import REASONS, AlignedText
from alm_lightning.shapes import NO_CHUNK
from alm_lightning.tokenization.view import TokenizerView


@dataclass(frozen=True)
class AxisSide:
    """One side's tokens on the axis.

    Attributes:
        ids: All tokens, structure included.
        ends: Position of the axis at which each ends, or `INSIDE_REWRITE`, which bounds nothing.
        loose: Tokens of structure that only this side has.
        mixed: Tokens that span structure and content, and belong to neither.
        unknown: Tokens that stand for no text.
        trained: Tokens in a trained span.
    """

    ids: Int[np.ndarray, " pos"]
    ends: Int[np.ndarray, " pos"]
    loose: Bool[np.ndarray, " pos"]
    mixed: Bool[np.ndarray, " pos"]
    unknown: Bool[np.ndarray, " pos"]
    trained: Bool[np.ndarray, " pos"]


@dataclass(frozen=True)
class Axis:
    """What both sides are measured on.

    Attributes:
        content: Contents of all messages, one after another.
        structure: Positions of structural pairs: each is the step from q to q + 1.
        seams: Positions where one message or structure ends and the next begins: a boundary there
            is one in coarser alignments too.
        trained: Whether each position, the step from q to q + 1, is trained on.
    """

    content: bytes
    structure: Int[np.ndarray, " step"]
    seams: Int[np.ndarray, " seam"]
    trained: Bool[np.ndarray, " position"]


def align_axis(
    axis: Axis,
    student_side: AxisSide,
    teacher_side: AxisSide,
    *,
    selection: ChunkSelection | None,
    student: TokenizerView,
    teacher: TokenizerView,
    rewritten_bytes: int,
) -> AlignedText:
    """The chunks that both sides delimit on an axis with structure.

    Args:
        axis: The axis.
        student_side: The student's tokens on it.
        teacher_side: The teacher's tokens on it.
        selection: Which common boundaries bound chunks; every one if None.
        student: The student's tokenizer.
        teacher: The teacher's tokenizer.
        rewritten_bytes: Bytes that a tokenizer's normaliser changed, the larger of the two sides.

    Returns:
        Tokens and chunks. A chunk with structure and content in it is dropped, and counted.
    """
    length = len(axis.trained)
    is_structure = np.zeros(length, dtype=bool)
    is_structure[axis.structure] = True
    # structural positions before each position, trained ones likewise
    structure_before = _counts(is_structure)
    trained_before = _counts(axis.trained)
    boundaries = common_boundaries(student_side.ends, teacher_side.ends, length)
    student_closes = closing_tokens(student_side.ends, boundaries)
    teacher_closes = closing_tokens(teacher_side.ends, boundaries)
    ends = student_side.ends[student_closes]
    if not isinstance(selection, Finest | None) and len(ends):
        common = CommonEnds(
            positions=ends - structure_before[ends],
            content=axis.content,
            student=student,
            teacher=teacher,
            student_ids=student_side.ids[student_closes],
            teacher_ids=teacher_side.ids[teacher_closes],
        )
        keep = selection.select(common) | np.isin(ends, axis.seams)
        keep[-1] = True
        student_closes[student_closes], teacher_closes[teacher_closes] = keep, keep
        ends = ends[keep]
    ends = ends.astype(np.int32)
    starts = np.append(np.int32(0), ends[:-1])[: len(ends)]
    num_structure = structure_before[ends] - structure_before[starts]
    is_mixed = (num_structure > 0) & (num_structure < ends - starts)
    sides = [
        _Chunks(student_side, chunk_ids(student_closes)),
        _Chunks(teacher_side, chunk_ids(teacher_closes)),
    ]
    keep = ~is_mixed & without(np.concatenate([side.torn() for side in sides]), len(ends))
    unknown = ~without(np.concatenate([side.unknown() for side in sides]), len(ends))
    num_bytes = ends - starts - num_structure
    outside = {
        "unknown": int(num_bytes[keep & unknown].sum()),
        "structure": int(num_bytes[~keep].sum()),
    }
    keep &= ~unknown
    first, last = starts - structure_before[starts], ends - structure_before[ends]
    outside["tail"] = len(axis.content) - int(last[-1] if len(last) else 0)
    width = ends - starts
    return AlignedText(
        content=axis.content,
        student_ids=student_side.ids,
        teacher_ids=teacher_side.ids,
        student_chunk_ids=renumbered(sides[0].ids, keep),
        teacher_chunk_ids=renumbered(sides[1].ids, keep),
        student_trained=student_side.trained,
        chunk_starts=first[keep],
        chunk_ends=last[keep],
        trained=(trained_before[ends] - trained_before[starts] == width)[keep],
        rewritten_bytes=rewritten_bytes,
        outside_bytes={reason: outside[reason] for reason in REASONS},
        is_chat=True,
    )


def _counts(flags: Bool[np.ndarray, " position"]) -> Int[np.ndarray, " position_plus_one"]:
    return np.append(np.int32(0), np.cumsum(flags, dtype=np.int32))


class _Chunks:
    """One side's chunk ids, with the tokens of its own structure taken out."""

    def __init__(self, side: AxisSide, ids: Int[np.ndarray, " pos"]):
        self.side = side
        # loose tokens lie before the first other token of the chunk that follows them, or inside
        # a chunk, which they tear
        others = np.flatnonzero(~side.loose)
        before = np.searchsorted(others, np.arange(len(ids))) - 1
        chunk_before = np.full(len(ids), NO_CHUNK, dtype=np.int32)
        chunk_before[before >= 0] = ids[others[before[before >= 0]]]
        self._torn = chunks_of(side.mixed | (side.loose & (chunk_before == ids)), ids)
        self.ids = np.where(side.loose, NO_CHUNK, ids).astype(np.int32)

    def torn(self) -> Int[np.ndarray, " marked"]:
        """Chunks with a mixed token in them, or with structure that only this side has."""
        return self._torn

    def unknown(self) -> Int[np.ndarray, " marked"]:
        """Chunks with a token that stands for no text."""
        return chunks_of(self.side.unknown, self.ids)
