"""Chunks by bias: merged where their last tokens say different things about what follows."""

import itertools
import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from alm_lightning.alignment.bias.statistics import BiasStatistics, bias_statistics
from alm_lightning.alignment.boundaries import CommonEnds
from alm_lightning.corpus.document import Document
from alm_lightning.corpus.sources.source import AnyDocument
from alm_lightning.show.progress import progress_bars
from alm_lightning.tokenization.view import TokenizerView

log = logging.getLogger(__name__)


class BiasThreshold:
    """Chunks are merged until the bias at their end is at most a threshold.

    The third device of docs/method.md, section 2; `bias.exclusions` defines the bias. `fitted`
    computes the statistics or reads them from the cache, and gives the alignment.

    Args:
        threshold: The largest bias that may end a chunk, from 0 to 1. Published: 0.1, and 1e-4.
        max_documents: How many of the documents to count at most, the first ones; None for all.
        workers: Processes that share the counting; 0: this one.
        cache_folder: Where statistics are kept; ``~`` is spelled out.
    """

    def __init__(
        self, *, threshold: float, max_documents: int | None, workers: int, cache_folder: str
    ):
        check_threshold(threshold)
        if max_documents is not None and max_documents < 1:
            raise ValueError(
                f"max_documents is {max_documents}; expected at least 1, or None for all "
                "(alignment.max_documents)."
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
        """The alignment that knows the biases of a pair of tokenizers on these documents.

        The documents are what is trained on. A chat counts as the text of its contents.
        """
        counted = itertools.islice(documents, self.max_documents)
        with progress_bars() as progress:
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
        """Refuses: there are no statistics yet."""
        raise ValueError(
            f"the bias of {ends.student.name!r} and {ends.teacher.name!r} is not computed yet. "
            "Call fitted(student=..., teacher=..., documents=...), and align with what it gives."
        )


class LowBias:
    """Boundaries whose two tokens have a bias of at most a threshold: a fitted `BiasThreshold`.

    Args:
        statistics: Biases of the pair of tokenizers.
        threshold: The largest bias that may end a chunk, from 0 to 1.
    """

    def __init__(self, statistics: BiasStatistics, *, threshold: float):
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
        """The same, if it is for these tokenizers."""
        del documents
        self._check(student, teacher)
        return self

    def select(self, ends: CommonEnds) -> Bool[np.ndarray, " boundary"]:
        """The boundaries of a low bias. A pair of tokens without statistics counts as bias 1."""
        self._check(ends.student, ends.teacher)
        return self.statistics.bias_of(ends.student_ids, ends.teacher_ids) <= self.threshold

    def _check(self, student: TokenizerView, teacher: TokenizerView) -> None:
        expected = (self.statistics.student_fingerprint, self.statistics.teacher_fingerprint)
        if (student.fingerprint, teacher.fingerprint) != expected:
            raise ValueError(
                f"these bias statistics are of other tokenizers than {student.name!r} (student) "
                f"and {teacher.name!r} (teacher). Compute them for this pair."
            )


def check_threshold(threshold: float) -> None:
    """Refuses a threshold that is not between 0 and 1, with a ValueError."""
    if not 0.0 <= threshold <= 1.0:
        raise ValueError(f"the bias threshold is {threshold}; expected 0 to 1, as 0.1 or 1e-4.")
