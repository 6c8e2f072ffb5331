"""Common boundaries, where both tokenizations of a text have a token end, and a choice of them.

Both sides lie on one byte axis. Marking the ends of each side in a byte mask, and keeping the marks
that both have, gives every common boundary in linear time, with no search. A `ChunkSelection` says
which of them bound a chunk: every one (`Finest`), those before whitespace (`Whitespace`), or those
whose tokens have a small bias (`alm_lightning.alignment.bias.BiasThreshold`).
"""

from collections.abc import Iterable
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Int

from alm_lightning.corpus.sources.source import AnyDocument
from alm_lightning.shapes import NO_CHUNK
from alm_lightning.tokenization.view import TokenizerView

WHITESPACE = np.frombuffer(b" \t\n\r", np.uint8)


def common_boundaries(
    student_ends: Int[np.ndarray, " student_pos"],
    teacher_ends: Int[np.ndarray, " teacher_pos"],
    num_bytes: int,
) -> Bool[np.ndarray, " byte_plus_one"]:
    """Mask over byte positions 0..num_bytes: whether both sides have a token end there.

    Args:
        student_ends: Byte ends of the student's tokens; a negative one bounds nothing.
        teacher_ends: Byte ends of the teacher's tokens.
        num_bytes: Length of the text in bytes.

    Returns:
        One flag a position. Position 0 is never set: a chunk needs bytes.

    Example:
        >>> np.flatnonzero(common_boundaries(np.array([1, 2, 3, 4]), np.array([2, 4]), 4))
        array([2, 4])
    """
    # a negative end marks one more position, behind the text, which is cut off
    mask, teacher_mask = np.zeros((2, num_bytes + 2), dtype=bool)
    mask[student_ends] = True
    teacher_mask[teacher_ends] = True
    mask &= teacher_mask
    mask[0] = False
    return mask[:-1]


def chunk_ids(closes: Bool[np.ndarray, " pos"]) -> Int[np.ndarray, " pos"]:
    """For each token its chunk, counted from 0.

    Args:
        closes: From `closing_tokens`.

    Returns:
        Chunk ids, ascending; `NO_CHUNK` for the tokens after the last boundary.

    Example:
        >>> boundaries = common_boundaries(np.array([1, 2, 3, 4]), np.array([2, 4]), 4)
        >>> chunk_ids(closing_tokens(np.array([1, 2, 3, 4]), boundaries))
        array([0, 0, 1, 1], dtype=int32)
    """
    # converted once: a sum over truth values converts them piecemeal, three times as slowly
    steps = closes.astype(np.int32)
    ids = steps.cumsum(dtype=np.int32)
    ids -= steps
    # open at the end: what lies behind the last token that closes, which is among the last few
    num_open = int(closes[::-1].argmax()) if len(closes) else 0
    is_closed = len(closes) > 0 and closes[len(closes) - 1 - num_open]
    ids[len(ids) - num_open if is_closed else 0 :] = NO_CHUNK
    return ids


def closing_tokens(
    ends: Int[np.ndarray, " pos"], boundaries: Bool[np.ndarray, " byte_plus_one"]
) -> Bool[np.ndarray, " pos"]:
    """Whether each token is the one that ends a chunk: as many are as there are boundaries."""
    # a negative end looks at the last position, which is a boundary: it bounds nothing all the same
    closes = boundaries.take(ends, mode="wrap")
    closes &= ends > 0
    # several tokens may end at one byte (a dummy space spells nothing): the last of them closes
    closes[:-1] &= ends[:-1] != ends[1:]
    return closes


class CommonEnds(NamedTuple):
    """The common boundaries of a document, and all that an alignment may look at.

    Attributes:
        positions: Content bytes before each boundary, ascending.
        content: The document's content bytes.
        student: The student's tokenizer.
        teacher: The teacher's tokenizer.
        student_tokens: The student's tokens.
        teacher_tokens: The teacher's tokens.
        student_closes: Which of the student's tokens end at a boundary.
        teacher_closes: Which of the teacher's tokens end at a boundary.
    """

    positions: Int[np.ndarray, " boundary"]
    content: bytes
    student: TokenizerView
    teacher: TokenizerView
    student_tokens: Int[np.ndarray, " student_pos"]
    teacher_tokens: Int[np.ndarray, " teacher_pos"]
    student_closes: Bool[np.ndarray, " student_pos"]
    teacher_closes: Bool[np.ndarray, " teacher_pos"]

    @property
    def student_ids(self) -> Int[np.ndarray, " boundary"]:
        """The student's token that ends at each boundary."""
        return self.student_tokens.compress(self.student_closes)

    @property
    def teacher_ids(self) -> Int[np.ndarray, " boundary"]:
        """The teacher's token that ends at each boundary."""
        return self.teacher_tokens.compress(self.teacher_closes)


@runtime_checkable
class ChunkBounds(Protocol):
    """Says which common boundaries of a document bound chunks."""

    def select(self, ends: CommonEnds) -> Bool[np.ndarray, " boundary"] | None:
        """Whether each common boundary bounds a chunk; None if all of them do.

        The last one, and those next to structure, always do, whatever is returned here.
        """
        ...


@runtime_checkable
class ChunkSelection(ChunkBounds, Protocol):
    """An alignment, which bounds the chunks of any document of a pair."""

    def fitted(
        self, *, student: TokenizerView, teacher: TokenizerView, documents: Iterable[AnyDocument]
    ) -> "ChunkSelection":
        """The alignment for a pair of tokenizers, after a look at documents if it needs one."""
        ...


class Finest:
    """Every common boundary bounds a chunk: the finest alignment, the one that ALM starts from."""

    def fitted(
        self, *, student: TokenizerView, teacher: TokenizerView, documents: Iterable[AnyDocument]
    ) -> "Finest":
        """The same for every pair."""
        del student, teacher, documents
        return self

    def select(self, ends: CommonEnds) -> None:
        """All of them."""
        del ends


class Whitespace:
    """Chunks end only where whitespace follows, or the text ends ("space" chunks).

    Fewer tokens leak what follows them there, at the price of longer chunks: the fourth, simpler
    choice of docs/method.md, section 2, that people compare debiasing and the threshold with.
    """

    def fitted(
        self, *, student: TokenizerView, teacher: TokenizerView, documents: Iterable[AnyDocument]
    ) -> "Whitespace":
        """The same for every pair."""
        del student, teacher, documents
        return self

    def select(self, ends: CommonEnds) -> Bool[np.ndarray, " boundary"]:
        """Those that whitespace follows; the end of the content counts as such."""
        is_white = np.isin(np.frombuffer(ends.content, np.uint8), WHITESPACE)
        selected: Bool[np.ndarray, " boundary"] = np.append(is_white, True)[ends.positions]
        return selected
