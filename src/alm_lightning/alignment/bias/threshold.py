"""Chunks by bias: merged where their last tokens say different things of what follows."""

import itertools
import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from alm_lightning.alignment.bias.progress import progress_bar
from alm_lightning.alignment.bias.record import BiasStatistics
from alm_lightning.alignment.bias.statistics import bias_statistics
from alm_lightning.alignment.boundaries import CommonEnds
from alm_lightning.corpus.document import Document
from alm_lightning.corpus.sources.source import AnyDocument
from alm_lightning.tokenization.view import TokenizerView

log = logging.getLogger(__name__)


class BiasThreshold:
    """Chunks are merged until the bias at their end is at most a threshold.

    The third device of docs/method.md, section 2; `bias_exclusions` defines the bias. These are the
    settings: `fitted` computes the statistics or reads them from the cache, and gives the
    selection.
    """

    def __init__(
        self, *, threshold: float, max_documents: int | None, workers: int, cache_folder: str
    ):
        """Sets up the alignment.

        Args:
            threshold: The largest bias that may end a chunk, from 0 to 1. Published: 0.1, and 1e-4.
            max_documents: How many of the documents to count at most, the first ones; None for all.
            workers: Processes that share the counting; 0: this one.
            cache_folder: Where statistics are kept; ``~`` is spelled out.
        """
        check_threshold(threshold)
        if max_documents is not None and max_documents < 1:
            raise ValueError(
                f"alignment.max_documents is {max_documents}; expected at least 1, or null for all."
            )
        self.threshold = threshold
        self.max_documents = max_documents
        self.workers = workers
        self.cache_folder = cache_folder

    def fitted(
        self,
        *,
        student: TokenizerView,
        teacher: TokenizerView,
        documents: Iterable[AnyDocument],
    ) -> "LowBias":
        """The selection for a pair of tokenizers.

        Args:
            student: The student's tokenizer.
            teacher: The teacher's tokenizer.
            documents: The corpus: what is trained on. A chat counts as the text of its contents.

        Returns:
            A selection that knows the biases of this pair on these documents.
        """
        counted = itertools.islice(documents, self.max_documents)
        with progress_bar() as progress:
            statistics = bias_statistics(
                (Document(document.text, document.name) for document in counted),
                student=student,
                teacher=teacher,
                workers=self.workers,
                cache_folder=Path(self.cache_folder).expanduser(),
                progress=progress,
            )
        log.info(
            "bias of %s and %s: %d documents, %d pairs; threshold %g merges %.2f %% of chunks",
            student.name,
            teacher.name,
            statistics.num_documents,
            len(statistics.keys),
            self.threshold,
            100 * statistics.share_merged(self.threshold),
        )
        return LowBias(statistics, threshold=self.threshold)

    def select(self, ends: CommonEnds) -> Bool[np.ndarray, " boundary"]:
        """Refuses: there are no statistics yet.

        Args:
            ends: The common boundaries.

        Returns:
            Nothing.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            f"the bias of {ends.student.name!r} and {ends.teacher.name!r} is not computed yet. "
            "Call fitted(student=..., teacher=..., documents=...), and align with what it gives."
        )


class LowBias:
    """Boundaries whose two tokens have a bias of at most a threshold: a fitted `BiasThreshold`."""

    def __init__(self, statistics: BiasStatistics, *, threshold: float):
        """Sets up the selection.

        Args:
            statistics: Biases of the pair of tokenizers.
            threshold: The largest bias that may end a chunk, from 0 to 1.
        """
        check_threshold(threshold)
        self.statistics = statistics
        self.threshold = threshold

    def fitted(
        self,
        *,
        student: TokenizerView,
        teacher: TokenizerView,
        documents: Iterable[AnyDocument],
    ) -> "LowBias":
        """The same, if it is for these tokenizers.

        Args:
            student: The student's tokenizer.
            teacher: The teacher's tokenizer.
            documents: Not looked at.

        Returns:
            Itself.
        """
        del documents
        self._check(student, teacher)
        return self

    def select(self, ends: CommonEnds) -> Bool[np.ndarray, " boundary"]:
        """The boundaries of a low bias.

        Args:
            ends: The common boundaries.

        Returns:
            One flag a boundary. A pair of tokens without statistics counts as bias 1.
        """
        self._check(ends.student, ends.teacher)
        return self.statistics.bias_of(ends.student_ids, ends.teacher_ids) <= self.threshold

    def num_unproven(self, ends: CommonEnds) -> int:
        """Boundaries of a pair of tokens that has no statistics.

        Args:
            ends: The common boundaries.

        Returns:
            How many there are. They bound a chunk only at a threshold of 1.
        """
        return int((~self.statistics.is_known(ends.student_ids, ends.teacher_ids)).sum())

    def _check(self, student: TokenizerView, teacher: TokenizerView) -> None:
        expected = (self.statistics.student_fingerprint, self.statistics.teacher_fingerprint)
        if (student.fingerprint, teacher.fingerprint) != expected:
            raise ValueError(
                f"these bias statistics are of other tokenizers than {student.name!r} (student) "
                f"and {teacher.name!r} (teacher). Compute them anew for this pair."
            )


def check_threshold(threshold: float) -> None:
    """Refuse a threshold that is no bias.

    Args:
        threshold: The largest bias that may end a chunk.

    Raises:
        ValueError: It is not between 0 and 1.
    """
    if not 0.0 <= threshold <= 1.0:
        raise ValueError(f"the bias threshold is {threshold}; expected 0 to 1, as 0.1 or 1e-4.")
