"""The work behind bias statistics, in jobs that any process can do and that leave a file each."""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Int

from alm_lightning.alignment.bias.counts import BiasCounts, count_documents
from alm_lightning.alignment.bias.exclusions import ExclusionModel, pair_bias
from alm_lightning.alignment.bias.store import load_arrays, save_arrays
from alm_lightning.corpus.document import Document
from alm_lightning.tokenization.view import TokenizerView


class Pair:
    """A process's two tokenizers, and what it has found out about them."""

    def __init__(self, student: TokenizerView, teacher: TokenizerView):
        """Sets up the pair.

        Args:
            student: The student's tokenizer.
            teacher: The teacher's tokenizer.
        """
        self.student, self.teacher = student, teacher
        self.models = lru_cache(maxsize=1)(self._models)

    def _models(self, counts_file: Path) -> tuple[ExclusionModel, ExclusionModel]:
        counts = BiasCounts.of(load_arrays(counts_file))
        return (
            ExclusionModel(self.student, counts.student),
            ExclusionModel(self.teacher, counts.teacher),
        )


@dataclass(frozen=True)
class CountShard:
    """Counting some documents.

    Attributes:
        documents: These.
        file: Where the counts go.
    """

    documents: Sequence[Document]
    file: Path

    def do(self, pair: Pair) -> None:
        """Counts them.

        Args:
            pair: The tokenizers.
        """
        counts = count_documents(self.documents, student=pair.student, teacher=pair.teacher)
        save_arrays(self.file, counts.arrays())


@dataclass(frozen=True)
class WeighBlock:
    """Finding the bias of some pairs.

    Attributes:
        counts_file: Counts of the whole corpus.
        keys: The pairs.
        file: Where their biases go.
    """

    counts_file: Path
    keys: Int[np.ndarray, " pair"]
    file: Path

    def do(self, pair: Pair) -> None:
        """Weighs them.

        Args:
            pair: The tokenizers.
        """
        student, teacher = pair.models(self.counts_file)
        ids = [divmod(key, pair.teacher.num_tokens) for key in self.keys.tolist()]
        biases = [pair_bias(student, s, teacher, t) for s, t in ids]
        neglected = max(student.neglected, teacher.neglected)
        arrays = {"bias": np.array(biases, dtype=np.float32), "neglected": np.array(neglected)}
        save_arrays(self.file, arrays)


Job = CountShard | WeighBlock
"""A piece of work that leaves one file."""

Run = Callable[[Sequence[Job], Callable[[int], None]], None]
"""Does jobs, those whose file is there left out, and tells how many are done."""


@contextmanager
def run_jobs(student: TokenizerView, teacher: TokenizerView, *, workers: int) -> Iterator[Run]:
    """Something that does jobs, alone or with other processes.

    Args:
        student: The student's tokenizer.
        teacher: The teacher's tokenizer.
        workers: Processes; 0 or 1: this one.

    Yields:
        Run: Does jobs. A job that fails ends the others that have not begun, and is raised.
    """
    if workers <= 1:
        pair = Pair(student, teacher)

        def run_here(jobs: Sequence[Job], done: Callable[[int], None]) -> None:
            for number, job in enumerate(jobs, start=1):
                if not job.file.is_file():
                    job.do(pair)
                done(number)

        yield run_here
        return
    # fresh processes: a forked one could wait for ever for a lock of a tokenizer's threads
    executor = ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_adopt,
        initargs=(student, teacher),
    )

    def run_apart(jobs: Sequence[Job], done: Callable[[int], None]) -> None:
        left = [job for job in jobs if not job.file.is_file()]
        num_done = len(jobs) - len(left)
        done(num_done)
        for future in as_completed([executor.submit(_do, job) for job in left]):
            future.result()
            num_done += 1
            done(num_done)

    try:
        yield run_apart
    finally:
        executor.shutdown(cancel_futures=True)


_adopted: list[Pair] = []
"""The pair of a worker process, there alone."""


def _adopt(student: TokenizerView, teacher: TokenizerView) -> None:
    # the processes share the cores already
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _adopted[:] = [Pair(student, teacher)]


def _do(job: Job) -> None:
    job.do(_adopted[0])
