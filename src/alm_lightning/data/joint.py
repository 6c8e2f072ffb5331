"""How a document becomes windows of one student and several teachers."""

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce

import numpy as np
from jaxtyping import Bool, Int

from alm_lightning.alignment.aligned import AlignedText
from alm_lightning.alignment.boundaries import CommonEnds
from alm_lightning.corpus.document import BadDocument
from alm_lightning.corpus.sources.source import AnyDocument
from alm_lightning.data.pairing import Pairing
from alm_lightning.data.teacher_weights import TeacherWeights
from alm_lightning.data.windows import NUM_EXTRA, Window

APART = "teachers apart"
"""What documents are counted as of which teachers have no window in common."""


class JointPairing(Pairing):
    """Windows whose student's tokens are the same for several teachers; chunks are each teacher's.

    A text is cut into pieces that no tokenizer chooses, and each piece, or chat, gives one window:
    what all teachers and the student have room for.

    Args:
        each: The pairing with each teacher: they differ in the teacher, its scores and the fitted
            alignment alone.
        weights: How much each teacher counts.
        shares_chunks: Whether chunks are bounded only where those of all teachers are.
    """

    def __init__(self, each: Sequence[Pairing], weights: TeacherWeights, *, shares_chunks: bool):
        first = each[0]
        if first.cut_bytes is None:
            raise ValueError(
                "cut_bytes is null, and where texts are cut depends on the teacher then: several "
                "teachers have no pieces in common."
            )
        super().__init__(
            student=first.student,
            teacher=first.teacher,
            alignment=first.alignment,
            student_length=first.student_length + NUM_EXTRA,
            teacher_length=first.teacher_length + NUM_EXTRA,
            chat=first.chat,
            on_bad=first.on_bad,
            cut_bytes=first.cut_bytes,
            scores=first.scores,
        )
        self.each, self.weights, self.shares_chunks = tuple(each), weights, shares_chunks

    def pair(self, document: AnyDocument, at_most: int | None) -> list[Window]:
        """The windows of a document, which must not be bad.

        Args:
            document: The document.
            at_most: How many, from the front; None for all.

        Returns:
            Its windows, in order; none where no teacher has one.

        Raises:
            BadDocument: Teachers have windows, and none in common.
        """
        found = super().pair(document, at_most)
        if not found:
            self._check_none(document)
        return found

    def _check_none(self, document: AnyDocument) -> None:
        """Refuses a document without a window in which some teacher alone has one."""
        names = [each.teacher.name for each in self.each if each.pair(document, 1)]
        if names:
            raise BadDocument(
                f"{document.name}: no part of it can be trained on with all teachers, though some "
                f"of it can with {', '.join(names)} alone. Raise student_length and "
                "teacher_length, drop it, or take on_bad_document=skip.",
                kind=APART,
            )

    def _pair(
        self, document: AnyDocument, at_most: int | None, *, continues: bool = False
    ) -> list[Window]:
        """The window of a document or of a piece, with those of the other teachers."""
        aligned = [pairing.aligned(document) for pairing in self.each]
        if self.shares_chunks:
            shared = AtPositions(reduce(np.intersect1d, [each.chunk_ends for each in aligned]))
            aligned = [pairing.aligned(document, shared) for pairing in self.each]
        found = self._common(aligned, document, continues=continues)
        if not found:
            return []
        first, *others = found
        for other in others:
            self._check_alike(first, other, document.name)
        if self.shares_chunks:
            # what comes between chunks of one teacher parts those of all
            ends_run = np.logical_or.reduce([window.chunk_ends_run for window in found])
            first = replace(first, chunk_ends_run=ends_run)
        return [first.taught_by(others, self.weights.of_group(document.group))]

    def _common(
        self, aligned: Sequence[AlignedText], document: AnyDocument, *, continues: bool
    ) -> list[Window]:
        """The first window with each teacher, of equally many of the student's tokens."""
        room = self.student_length
        while True:
            found = [
                window
                for pairing, each in zip(self.each, aligned, strict=True)
                for window in pairing.cut(
                    each, document, 1, continues=continues, student_length=room
                )
            ]
            if len(found) < len(aligned):
                return []
            sizes = [len(window.student.ids) for window in found]
            if min(sizes) == max(sizes) and len({w.ends_document for w in found}) == 1:
                return found
            # one of them has less room, or ends earlier: the others end there too
            room = min(sizes) if min(sizes) < max(sizes) else min(sizes) - 1
            if room < 1:
                return []

    def _check_alike(self, first: Window, other: Window, name: str) -> None:
        is_same = first.opens == other.opens and np.array_equal(
            first.student.ids, other.student.ids
        )
        if not is_same:
            raise BadDocument(
                f"{name}: the student's tokens of this document are not the same for all teachers, "
                "since what is trained on begins at different places, or chat templates strip its "
                "contents differently. Drop it, or take on_bad_document=skip.",
                kind=APART,
            )
        if self.shares_chunks and not np.array_equal(
            first.student.chunk_ids, other.student.chunk_ids
        ):
            raise BadDocument(
                f"{name}: teachers have different chunks of this document, as where a chat "
                "template has a header that another lacks. Take combine=losses, or "
                "on_bad_document=skip.",
                kind=APART,
            )


class AtPositions:
    """Chunks end at given bytes: `ChunkBounds` of one document.

    Args:
        positions: Content bytes before each end, ascending.
    """

    def __init__(self, positions: Int[np.ndarray, " end"]):
        self.positions = positions

    def select(self, ends: CommonEnds) -> Bool[np.ndarray, " boundary"]:
        """Those among them."""
        return np.isin(ends.positions, self.positions)
