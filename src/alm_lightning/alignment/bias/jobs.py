"""The work behind bias statistics, in jobs that any process can do and that write a file each."""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
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
    """Counts some documents, and writes the counts to a file."""

    documents: Sequence[Document]
    file: Path

    def do(self, pair: Pair) -> None:
        """Counts them."""
        counts = count_documents(self.documents, student=pair.student, teacher=pair.teacher)
        save_arrays(self.file, counts.arrays())


@dataclass(frozen=True)
class WeighBlock:
    """Finds the bias of some pairs.

    Attributes:
        counts_file: Counts of the whole corpus.
        keys: The pairs.
        file: Where their biases are written to.
    """

    counts_file: Path
    keys: Int[np.ndarray, " pair"]
    file: Path

    def do(self, pair: Pair) -> None:
        """Weighs them."""
        student, teacher = pair.models(self.counts_file)
        ids = [divmod(key, pair.teacher.num_tokens) for key in self.keys.tolist()]
        biases = [pair_bias(student, s, teacher, t) for s, t in ids]
        neglected = max(student.neglected, teacher.neglected)
        arrays = {"bias": np.array(biases, dtype=np.float32), "neglected": np.array(neglected)}
        save_arrays(self.file, arrays)


Job = CountShard | WeighBlock
"""A piece of work that writes one file."""

Run = Callable[[Sequence[Job], Callable[[int], None]], None]
"""Does those jobs whose file is not there yet, and reports how many of all are done."""


@contextmanager
def job_runner(student: TokenizerView, teacher: TokenizerView, *, workers: int) -> Iterator[Run]:
    """What does jobs, in this process (0 or 1 workers) or in several.

    A job that fails ends the others that have not begun, and its error is raised.
    """
    if workers <= 1:
        pair = Pair(student, teacher)
        yield partial(_run, lambda jobs: (job.do(pair) for job in jobs))
        return
    # fresh processes: a forked one could wait for ever for a lock of a tokenizer's threads
    executor = ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_set_pair,
        initargs=(student, teacher),
    )

    def do(jobs: Sequence[Job]) -> Iterator[None]:
        for future in as_completed([executor.submit(_do, job) for job in jobs]):
            yield future.result()

    try:
        yield partial(_run, do)
    finally:
        executor.shutdown(cancel_futures=True)


def _run(
    do: Callable[[Sequence[Job]], Iterator[None]],
    jobs: Sequence[Job],
    report: Callable[[int], None],
) -> None:
    left = [job for job in jobs if not job.file.is_file()]
    num_done = len(jobs) - len(left)
    report(num_done)
    for _ in do(left):
        num_done += 1
        report(num_done)


_pair_of_worker: list[Pair] = []
"""The pair of a worker process; empty in the process that starts them."""


def _set_pair(student: TokenizerView, teacher: TokenizerView) -> None:
    # the processes share the cores already
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _pair_of_worker[:] = [Pair(student, teacher)]


def _do(job: Job) -> None:
    job.do(_pair_of_worker[0])
