"""How a corpus is read: once, and kept; or on and on, and never kept."""

import logging
from collections.abc import Iterator

import numpy as np

from alm_lightning.corpus.bad_documents import BadDocuments
from alm_lightning.corpus.document import CorpusError
from alm_lightning.corpus.heldout import Reading, Split, check_share, fraction, split_documents
from alm_lightning.corpus.shelf import Shelf
from alm_lightning.corpus.sources.source import AnyDocument, Source

log = logging.getLogger(__name__)


class Kept:
    """A corpus that is read once, to its end, and put on a shelf."""

    def __init__(self, *, shelf: Shelf):
        """Sets up the way of reading.

        Args:
            shelf: Where the documents are kept.
        """
        self.shelf = shelf

    def split(
        self, source: Source, *, on_bad: BadDocuments, heldout_share: float, seed: int
    ) -> Split:
        """Reads a corpus, and splits it.

        Args:
            source: Where the documents come from.
            on_bad: What becomes of a bad one.
            heldout_share: Expected share of the texts that are held out, between 0 and 1.
            seed: Seed of the split.

        Returns:
            Both sides, as sequences.
        """
        return split_documents(
            source.documents(on_bad), heldout_share=heldout_share, seed=seed, shelf=self.shelf
        )


class Streamed:
    """A corpus that is read as it is trained on, and held out from by the same rule.

    Its front is read once more beforehand, until enough held-out documents are found.
    """

    def __init__(self, *, heldout_documents: int):
        """Sets up the way of reading.

        Args:
            heldout_documents: Documents to measure on, at most; the rest of what is held out is
                read past.
        """
        if heldout_documents < 1:
            raise ValueError(
                f"windows.documents.heldout_documents is {heldout_documents}: expected at least 1."
            )
        self.heldout_documents = heldout_documents

    def split(
        self, source: Source, *, on_bad: BadDocuments, heldout_share: float, seed: int
    ) -> Split:
        """Reads the front of a corpus.

        Args:
            source: Where the documents come from.
            on_bad: What becomes of a bad one.
            heldout_share: Expected share of the texts that are held out, between 0 and 1.
            seed: Seed of the split.

        Returns:
            A stream to train on, and a list to measure on.

        Raises:
            CorpusError: The corpus holds nothing that is held out, or nothing to train on.
        """
        check_share(heldout_share)
        stream = DocumentStream(source, on_bad=on_bad, heldout_share=heldout_share, seed=seed)
        reading = Reading(seed)
        heldout = []
        for document in reading(source.documents(on_bad)):
            if stream.holds_out(document):
                heldout.append(document)
            if len(heldout) == self.heldout_documents:
                break
        places = np.array(reading.fractions)
        trained = np.sort(places[places >= heldout_share])
        if not heldout or not len(trained):
            raise CorpusError(
                f"Of the {len(places)} documents that were read {len(heldout)} are held out by "
                f"heldout_share={heldout_share}: expected at least one on each side. Change "
                "corpus.heldout_share, give more documents, or take windows=all, which cuts a text "
                "that is most of its corpus."
            )
        read = f"{len(places):,} documents read of a stream"
        return Split(
            train=stream,
            heldout=heldout,
            num_blank=reading.num_blank,
            sizes=(read, f"{len(heldout):,} of them"),
            seed=seed,
            train_fractions=trained,
        )


class DocumentStream:
    """What a source gives to train on: nothing blank, nothing that is held out."""

    def __init__(self, source: Source, *, on_bad: BadDocuments, heldout_share: float, seed: int):
        """Sets up the stream.

        Args:
            source: Where the documents come from; each pass asks it anew.
            on_bad: What becomes of a bad one.
            heldout_share: Texts whose `fraction` is below are held out.
            seed: Seed of the split.
        """
        self.source, self.on_bad = source, on_bad
        self.heldout_share, self.seed = heldout_share, seed

    def holds_out(self, document: AnyDocument) -> bool:
        """Whether a document is never trained on.

        Args:
            document: Any.

        Returns:
            What its text's hash says.
        """
        return fraction(document.text, self.seed) < self.heldout_share

    def documents(self, on_bad: BadDocuments) -> Iterator[AnyDocument]:
        """One pass over the documents to train on, in the order of the source.

        Args:
            on_bad: What becomes of a bad document; several processes read the same stream, and
                only one of them counts.

        Yields:
            Document: Each of them.
        """
        for document in self.source.documents(on_bad):
            if not document.is_blank and not self.holds_out(document):
                yield document

    def __iter__(self) -> Iterator[AnyDocument]:
        """One pass over the documents to train on."""
        return self.documents(self.on_bad)
