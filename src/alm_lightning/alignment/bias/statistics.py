"""The bias of every pair of end tokens that a corpus has: computed once, and kept on disk."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from jaxtyping import Float32, Int

from alm_lightning.alignment.bias.counts import BiasCounts, merged, pair_keys
from alm_lightning.alignment.bias.jobs import CountShard, WeighBlock, job_runner
from alm_lightning.alignment.bias.store import Arrays, bias_key, load_arrays, save_arrays
from alm_lightning.corpus.document import CorpusError, Document
from alm_lightning.show.progress import Report
from alm_lightning.tokenization.view import TokenizerView

log = logging.getLogger(__name__)

SHARD_CHARACTERS = 2**19
"""Text that one job counts: about a second's work, which is what an interrupted run loses."""
BLOCK_PAIRS = 1_000
"""Pairs that one job weighs."""
SHARDS_AT_ONCE = 32
"""Counts of shards in memory at once."""
WHOLE = "statistics.npz"


@dataclass(frozen=True)
class BiasStatistics:
    """Biases of two tokenizers, for the pairs of tokens that end common boundaries in a corpus.

    Attributes:
        student_fingerprint: Of the student's tokenizer.
        teacher_fingerprint: Of the teacher's tokenizer.
        num_teacher_tokens: Size of the teacher's vocabulary, which `keys` are made with.
        keys: The pairs, ascending, as in `BiasCounts`.
        bias: The bias of each, between 0 and 1.
        ends: How often each pair ends a common boundary.
        last_ends: How often it ends the last one of a document.
        num_documents: Documents of the corpus.
        num_student_tokens_seen: The student's tokens in the corpus.
        num_teacher_tokens_seen: The teacher's tokens in the corpus.
        neglected: The most that a bias may be too small or too large by, for covers of next to no
            mass that were left out.
    """

    student_fingerprint: str
    teacher_fingerprint: str
    num_teacher_tokens: int
    keys: Int[np.ndarray, " pair"]
    bias: Float32[np.ndarray, " pair"]
    ends: Int[np.ndarray, " pair"]
    last_ends: Int[np.ndarray, " pair"]
    num_documents: int
    num_student_tokens_seen: int
    num_teacher_tokens_seen: int
    neglected: float

    def bias_of(
        self,
        student_ids: Int[np.ndarray, " boundary"],
        teacher_ids: Int[np.ndarray, " boundary"],
    ) -> Float32[np.ndarray, " boundary"]:
        """The bias of pairs of tokens that end together, between 0 and 1.

        A pair that the corpus does not have gets 1, so that its chunk is merged.
        """
        keys = pair_keys(student_ids, teacher_ids, self.num_teacher_tokens)
        places = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[places] == keys, self.bias[places], np.float32(1))

    def num_chunks(self, threshold: float) -> int:
        """Chunks that the corpus has if only ends of a bias up to a threshold bound them.

        The end of a document bounds its last chunk whatever its bias. A threshold of 1 gives the
        finest alignment.
        """
        is_merged = self.bias > threshold
        return int(self.ends.sum() - (self.ends - self.last_ends)[is_merged].sum())

    def share_merged(self, threshold: float) -> float:
        """Share of the finest chunks, from 0 to 1, that are merged with the one after them."""
        return 1.0 - self.num_chunks(threshold) / self.num_chunks(1.0)

    def arrays(self) -> Arrays:
        """The statistics as a file holds them."""
        return {field.name: np.array(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def of(cls, arrays: Arrays) -> "BiasStatistics":
        """The statistics that a file holds, from what `arrays` gave."""
        values: dict[str, Any] = {n: a if a.ndim else a.item() for n, a in arrays.items()}
        return cls(**values)


def statistics_file(
    documents: Iterable[Document],
    *,
    student: TokenizerView,
    teacher: TokenizerView,
    cache_folder: Path,
) -> Path:
    """The file of the statistics of a corpus, whether or not it is there yet."""
    return cache_folder / bias_key(documents, student=student, teacher=teacher) / WHOLE


def bias_statistics(
    documents: Iterable[Document],
    *,
    student: TokenizerView,
    teacher: TokenizerView,
    workers: int,
    cache_folder: Path,
    progress: Report,
) -> BiasStatistics:
    """The bias statistics of a corpus, computed or read from the cache.

    The corpus is counted in shards and its pairs are weighed in blocks. Each one that is done is
    kept in a file of its own until all are: an interrupted run continues where it stopped. Safe
    with several processes: one computes, the others wait for it.

    Args:
        documents: The corpus; it is held in memory.
        student: The student's tokenizer.
        teacher: The teacher's tokenizer.
        workers: Processes that share the work; 0 or 1: this one alone.
        cache_folder: Where finished statistics, and the parts of unfinished ones, are kept.
        progress: Called after each shard and block.

    Returns:
        The statistics.

    Raises:
        CorpusError: The corpus has no document, or no common boundary.
    """
    documents = list(documents)
    if not documents:
        raise CorpusError("bias statistics: there are no documents. Expected at least one.")
    whole = statistics_file(documents, student=student, teacher=teacher, cache_folder=cache_folder)
    whole.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(cache_folder / f".{whole.parent.name}.lock"):
        if whole.is_file():
            log.info("bias statistics: read from %s", whole)
            return BiasStatistics.of(load_arrays(whole))
        with job_runner(student, teacher, workers=workers) as run:
            # named by what is in them, so that parts of other sizes can't be mistaken for these
            shards = [
                CountShard(documents[first:past], whole.parent / f"documents-{first}-{past}.npz")
                for first, past in _shards(documents)
            ]
            counts_file = whole.parent / "counts.npz"
            if not counts_file.is_file():
                run(shards, lambda done: progress("counting", done, len(shards)))
                save_arrays(counts_file, _merged_files([job.file for job in shards]).arrays())
            counts = BiasCounts.of(load_arrays(counts_file))
            if len(counts.keys) == 0:
                raise CorpusError(
                    f"bias statistics: the {len(documents)} documents of the corpus hold no text "
                    "that both tokenizers cut anywhere. Take a larger corpus."
                )
            order = _by_surface(counts.keys // teacher.num_tokens, student)
            blocks = [
                WeighBlock(
                    counts_file,
                    counts.keys[order[first : first + BLOCK_PAIRS]],
                    whole.parent / f"pairs-{first}-{BLOCK_PAIRS}.npz",
                )
                for first in range(0, len(order), BLOCK_PAIRS)
            ]
            run(blocks, lambda done: progress("weighing pairs", done, len(blocks)))
        weighed = [load_arrays(job.file) for job in blocks]
        bias = np.empty(len(counts.keys), dtype=np.float32)
        bias[order] = np.concatenate([block["bias"] for block in weighed])
        statistics = BiasStatistics(
            student_fingerprint=student.fingerprint,
            teacher_fingerprint=teacher.fingerprint,
            num_teacher_tokens=teacher.num_tokens,
            keys=counts.keys,
            bias=bias,
            ends=counts.ends,
            last_ends=counts.last_ends,
            num_documents=len(documents),
            num_student_tokens_seen=int(counts.student.sum()),
            num_teacher_tokens_seen=int(counts.teacher.sum()),
            neglected=max(float(block["neglected"]) for block in weighed),
        )
        save_arrays(whole, statistics.arrays())
        # parts of what is whole now; all of them were written here
        for part in [*(job.file for job in shards), *(job.file for job in blocks), counts_file]:
            part.unlink(missing_ok=True)
    return statistics


def _shards(documents: Sequence[Document]) -> Iterator[tuple[int, int]]:
    """First document, and one past the last, of each shard."""
    first, size = 0, 0
    for past, document in enumerate(documents, start=1):
        size += len(document.text)
        if size >= SHARD_CHARACTERS or past == len(documents):
            yield first, past
            first, size = past, 0


def _merged_files(files: Sequence[Path]) -> BiasCounts:
    total: list[BiasCounts] = []
    for first in range(0, len(files), SHARDS_AT_ONCE):
        group = [BiasCounts.of(load_arrays(f)) for f in files[first : first + SHARDS_AT_ONCE]]
        total = [merged([*total, *group])]
    return total[0]


def _by_surface(
    student_ids: Int[np.ndarray, " pair"], student: TokenizerView
) -> Int[np.ndarray, " pair"]:
    """Pairs in the order of the student's bytes: neighbours share much of what is looked up."""
    surfaces = [student.token_bytes[i] or b"" for i in student_ids.tolist()]
    return np.array(sorted(range(len(surfaces)), key=surfaces.__getitem__), dtype=np.int64)
