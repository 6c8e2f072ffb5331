"""The alignment itself: two token sequences on one axis, cut where both have a token end.

The axis of a text is its bytes. That of a chat has the bytes of its contents, and between them the
structure that both sides have: a structural pair (a role's header, an end of turn: other tokens on
each side) takes one position and is indivisible, so that a chunk can end before or after it, never
inside. A structure that only one side has takes no position, and its tokens are in no chunk.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from alm_lightning.alignment.aligned import REASONS, AlignedText
from alm_lightning.alignment.boundaries import (
    ChunkBounds,
    CommonEnds,
    chunk_ids,
    closing_tokens,
    common_boundaries,
)
from alm_lightning.shapes import NO_CHUNK
from alm_lightning.tokenization.view import Encoding, TokenizerView


@dataclass(frozen=True)
class SideStructure:
    """Which tokens of a chat are not in chunks like any other.

    Attributes:
        loose: Tokens of structure that only this side has.
        mixed: Tokens that span structure and content, and belong to neither.
    """

    loose: Bool[np.ndarray, " pos"]
    mixed: Bool[np.ndarray, " pos"]


class AxisSide(NamedTuple):
    """One side's tokens on the axis.

    Attributes:
        view: The tokenizer.
        tokens: All tokens, structure included; their ends are positions of the axis.
        structure: Of a chat; None for a text, which has none.
    """

    view: TokenizerView
    tokens: Encoding
    structure: SideStructure | None = None


@dataclass(frozen=True)
class ChatLayout:
    """What the axis of a chat has besides content.

    Attributes:
        pairs: Positions of structural pairs: each is the step from q to q + 1.
        seams: Positions where one message or structure ends and the next begins: a boundary there
            is one in coarser alignments too.
        trained: Whether each position, the step from q to q + 1, is trained on.
        student_trained: Whether each of the student's tokens is in a trained span.
    """

    pairs: Int[np.ndarray, " step"]
    seams: Int[np.ndarray, " seam"]
    trained: Bool[np.ndarray, " position"]
    student_trained: Bool[np.ndarray, " student_pos"]

    @cached_property
    def structure_before(self) -> Int[np.ndarray, " position_plus_one"]:
        """Structural positions before each position."""
        is_structure = np.zeros(len(self.trained), dtype=bool)
        is_structure[self.pairs] = True
        return _counts(is_structure)

    @cached_property
    def trained_before(self) -> Int[np.ndarray, " position_plus_one"]:
        """Trained positions before each position."""
        return _counts(self.trained)


def align_axis(
    content: bytes,
    student: AxisSide,
    teacher: AxisSide,
    *,
    alignment: ChunkBounds | None,
    chat: ChatLayout | None = None,
) -> AlignedText:
    """The chunks that both sides delimit: the algorithm behind `align_text` and `align_messages`.

    A chunk with a token that stands for no text, or with structure and content in it, is dropped,
    and its bytes are counted by `REASONS`.

    Args:
        content: The bytes of a text, or of the contents of all messages, one after another.
        student: The student's tokens.
        teacher: The teacher's tokens.
        alignment: Which common boundaries bound chunks; every one if None.
        chat: Structure and trained spans of a chat; None for a text, which is all content.

    Returns:
        Tokens, chunks, and why bytes are in none.
    """
    num_positions = len(content) if chat is None else len(chat.trained)
    boundaries = common_boundaries(student.tokens.ends, teacher.tokens.ends, num_positions)
    student_closes = closing_tokens(student.tokens.ends, boundaries)
    teacher_closes = closing_tokens(teacher.tokens.ends, boundaries)
    ends = student.tokens.ends[student_closes]
    if alignment is not None and len(ends):
        common = CommonEnds(
            positions=ends if chat is None else ends - chat.structure_before[ends],
            content=content,
            student=student.view,
            teacher=teacher.view,
            student_tokens=student.tokens.ids,
            teacher_tokens=teacher.tokens.ids,
            student_closes=student_closes,
            teacher_closes=teacher_closes,
        )
        keep = alignment.select(common)
        if keep is not None:
            if chat is not None:
                keep = keep | np.isin(ends, chat.seams)
            keep[-1] = True
            # as many tokens of each side close as there are boundaries, in the same order
            student_closes[student_closes], teacher_closes[teacher_closes] = keep, keep
            ends = ends[keep]
    ends = ends.astype(np.int32)
    starts = np.zeros_like(ends)
    starts[1:] = ends[:-1]
    first, last = starts, ends
    trained = np.ones(len(ends), dtype=bool)
    if chat is not None:
        first, last = starts - chat.structure_before[starts], ends - chat.structure_before[ends]
        trained = chat.trained_before[ends] - chat.trained_before[starts] == ends - starts
    outside = dict.fromkeys(REASONS, 0)
    outside["tail"] = len(content) - int(last[-1] if len(last) else 0)
    student_ids, teacher_ids = chunk_ids(student_closes), chunk_ids(teacher_closes)
    unusable = {}
    if student.structure is not None and teacher.structure is not None:
        student_ids, student_torn = _without_loose(student.structure, student_ids)
        teacher_ids, teacher_torn = _without_loose(teacher.structure, teacher_ids)
        # some structure, and some content
        is_torn = (last - first < ends - starts) & (last > first)
        is_torn[np.append(student_torn, teacher_torn)] = True
        unusable["structure"] = is_torn
    if student.tokens.unknown is not None or teacher.tokens.unknown is not None:
        is_unknown = np.zeros(len(ends), dtype=bool)
        is_unknown[_chunks_of(student.tokens.unknown, student_ids)] = True
        is_unknown[_chunks_of(teacher.tokens.unknown, teacher_ids)] = True
        unusable["unknown"] = is_unknown
    if unusable:
        keep = np.ones(len(ends), dtype=bool)
        for reason, is_unusable in unusable.items():
            outside[reason] = int((last - first)[keep & is_unusable].sum())
            keep &= ~is_unusable
        student_ids, teacher_ids = _renumbered(student_ids, keep), _renumbered(teacher_ids, keep)
        first, last, trained = first[keep], last[keep], trained[keep]
    return AlignedText(
        content=content,
        student_ids=student.tokens.ids,
        teacher_ids=teacher.tokens.ids,
        student_chunk_ids=student_ids,
        teacher_chunk_ids=teacher_ids,
        student_trained=(
            np.ones(len(student.tokens.ids), dtype=bool) if chat is None else chat.student_trained
        ),
        chunk_starts=first,
        chunk_ends=last,
        trained=trained,
        rewritten_bytes=max(student.tokens.rewritten_bytes, teacher.tokens.rewritten_bytes),
        outside_bytes=outside,
        is_chat=chat is not None,
    )


def _without_loose(
    structure: SideStructure, ids: Int[np.ndarray, " pos"]
) -> tuple[Int[np.ndarray, " pos"], Int[np.ndarray, " marked"]]:
    """Chunk ids without loose tokens, and the chunks that a loose or a mixed token tears."""
    loose = structure.loose
    # loose tokens lie before the first other token of the chunk that follows them, or inside a
    # chunk, which they tear
    others = np.flatnonzero(~loose)
    before = np.searchsorted(others, np.arange(len(ids))) - 1
    chunk_before = np.full(len(ids), NO_CHUNK, dtype=np.int32)
    chunk_before[before >= 0] = ids[others[before[before >= 0]]]
    torn = _chunks_of(structure.mixed | (loose & (chunk_before == ids)), ids)
    return np.where(loose, np.int32(NO_CHUNK), ids), torn


def _chunks_of(
    marked: Bool[np.ndarray, " pos"] | None, ids: Int[np.ndarray, " pos"]
) -> Int[np.ndarray, " marked"]:
    """The chunks of marked tokens."""
    if marked is None:
        return ids[:0]
    chunks: Int[np.ndarray, " marked"] = ids[marked & (ids != NO_CHUNK)]
    return chunks


def _renumbered(
    ids: Int[np.ndarray, " pos"], keep: Bool[np.ndarray, " chunk"]
) -> Int[np.ndarray, " pos"]:
    """Chunk ids counted again after chunks were dropped, whose tokens get `NO_CHUNK`."""
    places = np.where(keep, np.cumsum(keep) - 1, NO_CHUNK).astype(np.int32)
    # a token in no chunk looks at one more place, behind all chunks
    renumbered: Int[np.ndarray, " pos"] = np.append(places, np.int32(NO_CHUNK))[ids]
    return renumbered


def _counts(flags: Bool[np.ndarray, " position"]) -> Int[np.ndarray, " position_plus_one"]:
    return np.append(np.int32(0), np.cumsum(flags, dtype=np.int32))
