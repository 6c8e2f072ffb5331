"""Training windows from a stream of documents: paired on the fly, in an order of their own."""

from collections.abc import Iterable, Iterator
from itertools import count
from typing import Any

import numpy as np
from torch.utils.data import IterableDataset, get_worker_info

from alm_lightning.corpus.document import CorpusError
from alm_lightning.corpus.reading import DocumentStream
from alm_lightning.corpus.sources.source import AnyDocument
from alm_lightning.data.examples import TRIED, check_some_window
from alm_lightning.data.pairing import Pairing
from alm_lightning.data.sampler import Steps
from alm_lightning.data.windows import Window


class StreamedWindows:
    """The first window of each document of a stream, paired in the loader's workers.

    Step s takes documents s * batch_size and on, so that it sees the same ones whatever the number
    of workers and ranks, and in a run that is continued. Every worker reads the whole stream, and
    pairs its own share alone: reading is quick beside pairing.

    Args:
        documents: The documents to train on.
        pairing: How a document becomes windows.
        shuffle_buffer: Documents in memory, out of which the next one is drawn; 0 keeps the
            order of the stream.
    """

    def __init__(self, documents: DocumentStream, *, pairing: Pairing, shuffle_buffer: int):
        if shuffle_buffer < 0:
            raise ValueError(
                f"windows.dataset.shuffle_buffer is {shuffle_buffer}: expected documents, or 0."
            )
        self.documents, self.pairing, self.shuffle_buffer = documents, pairing, shuffle_buffer
        check_some_window(_front(documents), pairing)

    def loader_arguments(self, steps: Steps) -> dict[str, Any]:
        """What a `DataLoader` needs to give the items of each step.

        Args:
            steps: Which steps, and which rank's share of them.

        Returns:
            Keyword arguments.
        """
        # batch_size None: each item is a step's windows already
        return {"dataset": StepStream(self, steps), "batch_size": None}


class StepStream(IterableDataset[list[Window | None]]):
    """The windows of each step, of this rank and of the worker that iterates.

    Args:
        windows: The data set.
        steps: Which steps, and which rank's share of them.
    """

    def __init__(self, windows: StreamedWindows, steps: Steps):
        self.windows, self.steps = windows, steps

    def __iter__(self) -> Iterator[list[Window | None]]:
        """The windows of one step after another.

        A loader asks its workers in turn: with n of them, the first gives steps 0, n, 2n.

        Yields:
            list[Window | None]: A step's windows; None for a document that is left out.
        """
        steps, info = self.steps, get_worker_info()
        worker, num_workers = (0, 1) if info is None else (info.id, info.num_workers)
        stream = self._documents(counts=worker == 0)
        position = 0
        for step in range(steps.first_step + worker, steps.num_steps, num_workers):
            items = []
            for own in range(steps.num_items):
                target = step * steps.batch_size + steps.rank + own * steps.world_size
                # what is another's share is read and not paired
                for _ in range(target - position):
                    next(stream)
                items.append(self.windows.pairing.first_window(next(stream)))
                position = target + 1
            yield items

    def _documents(self, *, counts: bool) -> Iterator[AnyDocument]:
        """Pass after pass over the stream; it never ends."""
        stream = self.windows.documents
        # every worker reads all of the stream, and meets every bad document: one of them counts
        on_bad = stream.on_bad if counts else stream.on_bad.uncounted()
        for pass_number in count():
            empty = True
            generator = np.random.default_rng([self.steps.seed, pass_number])
            for document in _shuffled(
                stream.documents(on_bad), self.windows.shuffle_buffer, generator
            ):
                empty = False
                yield document
            if empty:
                raise CorpusError("the stream has no document to train on. Check corpus.source.")


def _front(documents: DocumentStream) -> Iterator[AnyDocument]:
    for number, document in enumerate(documents):
        if number == TRIED:
            return
        yield document


def _shuffled(
    documents: Iterable[AnyDocument], size: int, generator: np.random.Generator
) -> Iterator[AnyDocument]:
    """The documents in an order drawn out of a buffer: local, and the same for one seed."""
    buffer: list[AnyDocument] = []
    for document in documents:
        if len(buffer) < size:
            buffer.append(document)
        elif size == 0:
            yield document
        else:
            place = int(generator.integers(size))
            buffer[place], drawn = document, buffer[place]
            yield drawn
    yield from (buffer[int(index)] for index in generator.permutation(len(buffer)))
