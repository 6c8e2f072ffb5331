"""Windows of aligned documents: what fits one sequence, cut on both sides at the same byte."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Int

from alm_lightning.alignment.aligned import REASONS, AlignedText
from alm_lightning.data.spans import Span, accounts, spans
from alm_lightning.shapes import NO_CHUNK

log = logging.getLogger(__name__)

NUM_EXTRA = 2
"""Tokens that a window may need beyond its content: one before it, one after it."""

DATA_REASONS = (*REASONS, "untrained", "too_long")
"""Why bytes of a document lie in no chunk of a window, in the order of `Window.outside_bytes`."""

_TOLD: set[tuple[int, int]] = set()
"""Lengths of windows for which this process has said that a chunk was too long; (0, 0) stands for
a document that leaves nothing to train on."""


@dataclass(frozen=True)
class WindowTokens:
    """The tokens of one side of a window.

    Attributes:
        ids: Token ids; structure among them where the document is a chat.
        chunk_ids: For each token its trained chunk, counted from 0 in the window, or `NO_CHUNK`.
    """

    ids: Int[np.ndarray, " pos"]
    chunk_ids: Int[np.ndarray, " pos"]


@dataclass(frozen=True)
class Window:
    """A run of whole chunks of one document, on both sides.

    Only trained chunks have ids here. What else lies between them is there to be read.

    Attributes:
        student: The student's tokens.
        teacher: The teacher's tokens.
        student_targets: True for a student token that the next-token loss predicts.
        chunk_is_structure: True for a chunk that is structure on both sides.
        chunk_ends_run: True for a chunk that no trained chunk follows at once: what comes next is
            untrained, in no chunk, or in another window.
        num_bytes: Bytes in the trained chunks.
        outside_bytes: Bytes in none of them, by reason: `DATA_REASONS`.
        rewritten_bytes: Bytes that a normaliser changed: the document's, shared by length.
        opens: Whether a start token belongs before it; False where it has its own.
        ends_document: Whether a document ends here, so that an EOS follows.
        document: Hash of what the window is cut from, by which scores of it are found; 0: unknown.
        others: The same tokens of the student beside those of other teachers, one window each.
        shares: How much each teacher counts here; they sum to 1.
    """

    student: WindowTokens
    teacher: WindowTokens
    student_targets: Bool[np.ndarray, " student_pos"]
    chunk_is_structure: Bool[np.ndarray, " chunk"]
    chunk_ends_run: Bool[np.ndarray, " chunk"]
    num_bytes: int
    outside_bytes: Int[np.ndarray, " reason"]
    rewritten_bytes: int
    opens: bool
    ends_document: bool
    document: int = 0
    others: tuple["Window", ...] = ()
    shares: tuple[float, ...] = (1.0,)

    @property
    def views(self) -> tuple["Window", ...]:
        """The window under each teacher, this one first."""
        return (self, *self.others)

    def taught_by(self, others: Sequence["Window"], shares: tuple[float, ...]) -> "Window":
        """The same window with those of other teachers.

        Args:
            others: Of the same tokens of the student.
            shares: How much each teacher counts, this window's first.

        Returns:
            All of them in one.
        """
        return replace(self, others=tuple(others), shares=shares)

    @property
    def num_chunks(self) -> int:
        """Number of trained chunks."""
        return len(self.chunk_is_structure)


def windows(
    aligned: AlignedText,
    *,
    student_length: int,
    teacher_length: int,
    name: str,
    continues: bool = False,
    document: int = 0,
) -> Iterator[Window]:
    """A document cut into windows, each as long as both limits allow, ending at a chunk's end.

    Tokens in no chunk stay with the chunk that follows them, and those after the last chunk with
    the last window, where they fit. A chunk that no window can hold is left out with its tokens,
    and counted. A window without a trained chunk is left out; its bytes are counted with the next.

    Args:
        aligned: The document under both tokenizers.
        student_length: The most student tokens of a window, special tokens not counted.
        teacher_length: The most teacher tokens of a window, special tokens not counted.
        name: What the log calls the document.
        continues: Whether more text of the same document follows, so that no EOS does.
        document: Hash of the document, for `Window.document`.

    Yields:
        The windows in order; none where nothing of the document is left.
    """
    found, too_long = spans(aligned, student_length, teacher_length)
    if too_long.any():
        _say_once(aligned, too_long, student_length, teacher_length, name)
    trained = aligned.trained.copy()
    if found and not found[0].opens:
        # the first token of all has no likelihood, so that a chunk that holds it has none either
        trained[: _first_with_likelihood(aligned)] = False
    found = [span for span in found if trained[span.start : span.stop].any()]
    if not found and not too_long.any():
        _say_nothing_left_once(name)
    counts = accounts(aligned, found, trained, too_long)
    for span, (outside_bytes, rewritten_bytes) in zip(found, counts, strict=True):
        yield _window(
            aligned,
            span,
            trained,
            outside_bytes,
            rewritten_bytes,
            ends_document=span.is_last and not aligned.is_chat and not continues,
            document=document,
        )


def bytes_without_window(aligned: AlignedText) -> Int[np.ndarray, " reason"]:
    """Why the bytes of a document that leaves no window are trained on nowhere.

    Args:
        aligned: The document under both tokenizers.

    Returns:
        Its bytes by reason: `DATA_REASONS`. What is trained on fits no window.
    """
    lengths = aligned.chunk_ends - aligned.chunk_starts
    outside = [aligned.outside_bytes[reason] for reason in REASONS]
    return np.array(
        [*outside, lengths[~aligned.trained].sum(), lengths[aligned.trained].sum()], dtype=np.int64
    )


def _first_with_likelihood(aligned: AlignedText) -> int:
    """The first chunk with a token before it on both sides."""
    return int(((aligned.student_starts == 0) | (aligned.teacher_starts == 0)).sum())


def _window(
    aligned: AlignedText,
    span: Span,
    trained: Bool[np.ndarray, " chunk"],
    outside_bytes: Int[np.ndarray, " reason"],
    rewritten_bytes: int,
    *,
    ends_document: bool,
    document: int,
) -> Window:
    chunks = slice(span.start, span.stop)
    kept = span.start + np.flatnonzero(trained[chunks])
    student, teacher = span.student, span.teacher
    return Window(
        student=WindowTokens(
            aligned.student_ids[student],
            _local_ids(aligned.student_chunk_ids[student], span, kept),
        ),
        teacher=WindowTokens(
            aligned.teacher_ids[teacher],
            _local_ids(aligned.teacher_chunk_ids[teacher], span, kept),
        ),
        student_targets=aligned.student_trained[student],
        chunk_is_structure=aligned.is_structure[kept],
        chunk_ends_run=_ends_run(aligned, kept),
        num_bytes=int((aligned.chunk_ends[kept] - aligned.chunk_starts[kept]).sum()),
        outside_bytes=outside_bytes,
        rewritten_bytes=rewritten_bytes,
        opens=span.opens,
        ends_document=ends_document,
        document=document,
    )


def _local_ids(
    ids: Int[np.ndarray, " pos"], span: Span, kept: Int[np.ndarray, " chunk"]
) -> Int[np.ndarray, " pos"]:
    """From the document's chunk ids to the window's."""
    outside = ids == NO_CHUNK
    if len(kept) == span.stop - span.start:
        local = ids - np.int32(span.start)
        local[outside] = NO_CHUNK
        return local
    places = np.full(span.stop - span.start + 1, NO_CHUNK, dtype=np.int32)
    places[kept - span.start] = np.arange(len(kept), dtype=np.int32)
    return places[np.where(outside, len(places) - 1, ids - span.start)]


def _ends_run(aligned: AlignedText, kept: Int[np.ndarray, " chunk"]) -> Bool[np.ndarray, " chunk"]:
    """Whether each chunk is not followed by the next one at once, on both sides."""
    here, following = kept[:-1], kept[1:]
    apart = (aligned.student_ends[here] != aligned.student_starts[following]) | (
        aligned.teacher_ends[here] != aligned.teacher_starts[following]
    )
    return np.append(apart, True)


def _say_once(
    aligned: AlignedText,
    too_long: Bool[np.ndarray, " chunk"],
    student_length: int,
    teacher_length: int,
    name: str,
) -> None:
    if (student_length, teacher_length) in _TOLD:
        return
    _TOLD.add((student_length, teacher_length))
    first = int(too_long.argmax())
    log.warning(
        "%s: chunk %d (%r) takes %d student and %d teacher tokens, but a sequence has room for %d "
        "and %d: such chunks are left out, and counted as too_long. Raise budget.student_length "
        "and budget.teacher_length to train on them. This is said once.",
        name,
        first,
        aligned.chunk_bytes(first)[:40],
        aligned.student_ends[first] - aligned.student_starts[first],
        aligned.teacher_ends[first] - aligned.teacher_starts[first],
        student_length,
        teacher_length,
    )


def _say_nothing_left_once(name: str) -> None:
    if (0, 0) in _TOLD:
        return
    _TOLD.add((0, 0))
    log.warning(
        "%s: nothing in it is trained on: such documents give no window. Of a chat, chat.trained "
        "says what is. This is said once.",
        name,
    )
