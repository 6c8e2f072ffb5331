"""How a corpus is read: once, into a document store; or as a stream, in pass after pass."""

from collections.abc import Iterator

import numpy as np

from alm_lightning.corpus.bad_documents import BadDocuments
from alm_lightning.corpus.document import CorpusError
from alm_lightning.corpus.document_store import DocumentStore
from alm_lightning.corpus.heldout import (
    DocumentIndex,
    Split,
    check_share,
    fraction,
    split_documents,
)
from alm_lightning.corpus.sources.source import AnyDocument, Source
from alm_lightning.corpus.split_by import SPLIT_BY, check_split_by


class Stored:
    """Reads a corpus once, to its end, into a document store.

    Args:
        store: Where the documents are stored.
        shelf: The former name of `store`, refused.
    """

    def __init__(self, *, store: DocumentStore, shelf: object = None):
        if shelf is not None:
            raise ValueError(
                "shelf (windows.documents.shelf) is called store now: give "
                "windows.documents.store, with the same keys."
            )
        self.store = store

    def split(
        self,
        source: Source,
        *,
        on_bad: BadDocuments,
        heldout_share: float,
        split_by: str,
        seed: int,
    ) -> Split:
        """Both sides of a corpus as sequences; see `split_documents`."""
        return split_documents(
            source.documents(on_bad),
            heldout_share=heldout_share,
            split_by=split_by,
            seed=seed,
            store=self.store,
        )


class Streamed:
    """Reads a corpus while it is trained on, and holds out documents by the same rule.

    Its front is read once more beforehand, until enough held-out documents are found.

    Args:
        heldout_documents: The most documents to measure on; others that are held out are skipped.
    """

    def __init__(self, *, heldout_documents: int):
        if heldout_documents < 1:
            raise ValueError(f"heldout_documents is {heldout_documents}: expected at least 1.")
        self.heldout_documents = heldout_documents

    def split(
        self,
        source: Source,
        *,
        on_bad: BadDocuments,
        heldout_share: float,
        split_by: str,
        seed: int,
    ) -> Split:
        """Reads the front of a corpus: a stream to train on, and a list to measure on.

        It is a CorpusError if one of them is empty. Arguments are those of `split_documents`.
        """
        check_share(heldout_share)
        stream = DocumentStream(
            source, on_bad=on_bad, heldout_share=heldout_share, split_by=split_by, seed=seed
        )
        index = DocumentIndex(seed, split_by)
        heldout = []
        for document in index.record(source.documents(on_bad)):
            if stream.holds_out(document):
                heldout.append(document)
            if len(heldout) == self.heldout_documents:
                break
        fractions = index.split_fractions
        trained = np.sort(fractions[fractions >= heldout_share])
        if not heldout or not len(trained):
            raise CorpusError(
                f"Of the {len(fractions)} documents that were read {len(heldout)} are held out by "
                f"heldout_share={heldout_share}: expected at least one on each side. Change "
                "heldout_share, give more documents, or take windows=all, "
                "which cuts a text that is most of its corpus."
            )
        read = f"{len(fractions):,} documents read of a stream"
        return Split(
            train=stream,
            heldout=heldout,
            num_blank=index.num_blank,
            sizes=(read, f"{len(heldout):,} of them"),
            seed=seed,
            split_by=split_by,
            train_fractions=trained,
        )


class DocumentStream:
    """The documents of a source to train on: none that is blank or held out.

    Args:
        source: Where the documents come from; each pass reads it from the start.
        on_bad: What happens to a bad one.
        heldout_share: Texts whose `fraction` is below are held out.
        split_by: Which text decides on a document, one of `SPLIT_BY`.
        seed: Seed of the split.
    """

    def __init__(
        self,
        source: Source,
        *,
        on_bad: BadDocuments,
        heldout_share: float,
        split_by: str,
        seed: int,
    ):
        check_split_by(split_by)
        self.source, self.on_bad = source, on_bad
        self.heldout_share, self.split_by, self.seed = heldout_share, split_by, seed

    def holds_out(self, document: AnyDocument) -> bool:
        """Whether a document is never trained on, by the hash of its text or question."""
        return fraction(SPLIT_BY[self.split_by](document), self.seed) < self.heldout_share

    def documents(self, on_bad: BadDocuments) -> Iterator[AnyDocument]:
        """One pass over the documents to train on, in the order of the source.

        `on_bad` is an argument because of several processes that read a stream only one counts.
        """
        for document in self.source.documents(on_bad):
            if not document.is_blank and not self.holds_out(document):
                yield document

    def __iter__(self) -> Iterator[AnyDocument]:
        """One pass over the documents to train on."""
        return self.documents(self.on_bad)
