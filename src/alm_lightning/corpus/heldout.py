"""The split of a corpus: documents to train on, and documents held out to measure on."""

import logging
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b

import numpy as np
from jaxtyping import Bool, Float, Int

from alm_lightning.corpus.document import CorpusError, Document
from alm_lightning.corpus.document_store import DocumentStore, InMemory, select
from alm_lightning.corpus.long_text import LEAST_CHARACTERS, cut_off_end
from alm_lightning.corpus.sources.source import AnyDocument
from alm_lightning.corpus.split_by import DOCUMENT, SPLIT_BY, check_split_by

log = logging.getLogger(__name__)

HASH_BYTES = 8


@dataclass(frozen=True)
class Split:
    """Documents to train on, and documents that no training step sees.

    Attributes:
        train: In an order that depends on seed and texts alone, as if shuffled; a stream in its
            own order.
        heldout: Likewise; the first few are therefore a fair sample.
        num_blank: Number of documents left out because they are only whitespace.
        sizes: Size of both sides, as text for the log.
        seed: Seed of the split.
        split_by: What decides on which side a document lies, one of `SPLIT_BY`.
        train_fractions: `fraction` of that, of each document that is trained on; ascending.
    """

    train: Iterable[AnyDocument]
    heldout: Sequence[AnyDocument]
    num_blank: int
    sizes: tuple[str, str]
    seed: int
    split_by: str
    train_fractions: Float[np.ndarray, " document"] = field(compare=False, repr=False)

    def summary(self) -> str:
        """How much text is on each side, as a line for the log."""
        line = f"train: {self.sizes[0]}; held out: {self.sizes[1]}"
        return f"{line}; left out {self.num_blank} blank" if self.num_blank else line

    def trains_on(self, document: AnyDocument) -> bool:
        """Whether a text is among those trained on; of a stream, among those read so far.

        Split by question, a chat is if its question is.
        """
        place = fraction(SPLIT_BY[self.split_by](document), self.seed)
        index = int(np.searchsorted(self.train_fractions, place))
        return index < len(self.train_fractions) and float(self.train_fractions[index]) == place


class DocumentIndex:
    """The `fraction` and the length of each document, recorded while documents are read.

    Args:
        seed: Seed of the split.
        split_by: One of `SPLIT_BY`.
    """

    def __init__(self, seed: int, split_by: str):
        check_split_by(split_by)
        self.seed, self.split_by = seed, split_by
        self.num_read = 0
        # arrays, not lists: 8 bytes a document, whatever its size
        self._fractions, self._lengths = array("d"), array("q")
        self._split_fractions = array("d")

    def record(self, documents: Iterable[AnyDocument]) -> Iterator[AnyDocument]:
        """Records the documents that are not blank, and yields them."""
        for document in documents:
            self.num_read += 1
            if not document.is_blank:
                text = document.text
                self._fractions.append(fraction(text, self.seed))
                if self.split_by != DOCUMENT:
                    deciding = SPLIT_BY[self.split_by](document)
                    self._split_fractions.append(fraction(deciding, self.seed))
                self._lengths.append(len(text))
                yield document

    @property
    def fractions(self) -> Float[np.ndarray, " document"]:
        """`fraction` of each document's text, which orders the documents."""
        return np.array(self._fractions)

    @property
    def split_fractions(self) -> Float[np.ndarray, " document"]:
        """`fraction` of what each document is split by, which decides on its side."""
        return self.fractions if self.split_by == DOCUMENT else np.array(self._split_fractions)

    @property
    def lengths(self) -> Int[np.ndarray, " document"]:
        """Characters of each document."""
        return np.array(self._lengths, dtype=np.int64)

    @property
    def num_blank(self) -> int:
        """Number of documents that were blank."""
        return self.num_read - len(self._fractions)


def check_share(heldout_share: float) -> None:
    """Refuses a share that would leave a side empty, with a ValueError."""
    if not 0.0 < heldout_share < 1.0:
        raise ValueError(
            f"heldout_share is {heldout_share}; expected more than 0 and less than 1, as 0.05."
        )


def split_documents(
    documents: Iterable[AnyDocument],
    *,
    heldout_share: float,
    seed: int,
    split_by: str = DOCUMENT,
    store: DocumentStore | None = None,
) -> Split:
    """A split that depends on the seed and on each text, and on nothing else.

    Each text has a number in [0, 1) from its hash; those below `heldout_share` are held out. So a
    document stays on its side when the corpus grows, is read in another order or is read twice, and
    two copies of one text are never on two sides. If no text falls below (or all do), the one that
    is nearest to the other side changes sides: both hold at least one. With ``question`` the number
    of a chat is that of its question alone: all chats of one question are on one side.

    A long text that is more than half of the corpus would leave one side with next to nothing. It
    is cut: its end is held out, after a gap, the rest is trained on (see `cut_off_end`).

    Args:
        documents: Read to the end, once.
        heldout_share: Expected share of the texts that are held out, between 0 and 1.
        seed: Another seed gives another split.
        split_by: One of `SPLIT_BY`.
        store: Where the documents are stored; in memory if None.

    Returns:
        Both sides, as sequences.

    Raises:
        CorpusError: There are fewer than two different texts (or questions), and none of them is
            long enough to be cut.

    Example:
        >>> from alm_lightning.corpus.document import Document
        >>> corpus = [Document(f"text {n}", name=str(n)) for n in range(100)]
        >>> split = split_documents(corpus, heldout_share=0.1, seed=1)
        >>> len(split.train) + len(split.heldout)
        100
        >>> split == split_documents(reversed(corpus), heldout_share=0.1, seed=1)
        True
    """
    check_share(heldout_share)
    store = InMemory() if store is None else store
    index = DocumentIndex(seed, split_by)
    stored = store.write(index.record(documents))
    longest = _most_of(index, stored)
    if longest is not None:
        return _cut(longest, stored, index, store, heldout_share)
    different = np.unique(index.split_fractions)
    if len(different) < 2:
        kind = "texts" if split_by == DOCUMENT else f"texts to split by ({split_by})"
        raise CorpusError(
            f"The corpus has {index.num_read} documents, {len(stored)} of them not blank, with "
            f"{len(different)} different {kind}. Expected at least 2, to train on one and measure "
            f"on another, or one of at least {LEAST_CHARACTERS:,} characters, whose end is held "
            "out. Add text, or cut it into more documents (argument separator of TextFile, "
            "corpus.source.separator)."
        )
    num_below = int(np.searchsorted(different, heldout_share))
    first_train = different[min(max(num_below, 1), len(different) - 1)]
    return _split(stored, index, index.split_fractions >= first_train)


def _split(
    documents: Sequence[AnyDocument], index: DocumentIndex, is_train: Bool[np.ndarray, " document"]
) -> Split:
    order = _order(index.fractions, documents)
    train, heldout = order[is_train[order]], order[~is_train[order]]
    return Split(
        train=select(documents, train),
        heldout=select(documents, heldout),
        num_blank=index.num_blank,
        sizes=(_size(index.lengths[train]), _size(index.lengths[heldout])),
        seed=index.seed,
        split_by=index.split_by,
        train_fractions=np.sort(index.split_fractions[train]),
    )


def _most_of(index: DocumentIndex, stored: Sequence[AnyDocument]) -> Document | None:
    """The text that is more than half of all different ones, if it is long enough to be cut."""
    lengths = index.lengths
    _, places = np.unique(index.fractions, return_index=True)
    if not len(places):
        return None
    longest = int(places[lengths[places].argmax()])
    is_most = 2 * lengths[longest] > lengths[places].sum()
    if not is_most or lengths[longest] < LEAST_CHARACTERS:
        return None
    document = stored[longest]
    # a chat is not cut: its end depends on its beginning
    return document if isinstance(document, Document) else None


def _cut(
    longest: Document,
    stored: Sequence[AnyDocument],
    index: DocumentIndex,
    store: DocumentStore,
    heldout_share: float,
) -> Split:
    """The split of a corpus that is one long text, with or without short ones beside it."""
    fractions, sides = index.fractions, index.split_fractions
    place = fraction(longest.text, index.seed)
    pieces = cut_off_end(longest, heldout_share=heldout_share)
    train: list[AnyDocument] = [*pieces[0]]
    heldout: list[AnyDocument] = [*pieces[1]]
    num_heldout = sum(len(document.text) for document in heldout)
    for number in np.flatnonzero(fractions != place).tolist():
        (train if sides[number] >= heldout_share else heldout).append(stored[number])
    train_texts = {document.text for document in train}
    # a text may repeat itself
    heldout = [document for document in heldout if document.text not in train_texts]
    if not heldout:
        raise CorpusError(
            f"{longest.name} is most of the corpus, so that its end is to be held out, but what "
            "its end says is in the rest of it, too. Add text that does not repeat itself."
        )
    log.info(
        "%s is most of the corpus: it is cut into pieces, and its last %.1f %% are held out, after "
        "a gap",
        longest.name,
        100 * num_heldout / len(longest.text),
    )
    cut_index = DocumentIndex(index.seed, index.split_by)
    documents = store.write(cut_index.record([*train, *heldout]))
    split = _split(documents, cut_index, np.arange(len(documents)) < len(train))
    # the whole text counts as trained on, too
    train_fractions = np.sort([*split.train_fractions, place])
    return replace(split, num_blank=index.num_blank, train_fractions=train_fractions)


def fraction(text: str, seed: int) -> float:
    """A number in [0, 1) from the hash of a text and a seed, uniform over texts."""
    digest = blake2b(text.encode("utf-8"), digest_size=HASH_BYTES, key=str(seed).encode())
    return float(int.from_bytes(digest.digest()) / 2 ** (8 * HASH_BYTES))


def _order(
    fractions: Float[np.ndarray, " document"], stored: Sequence[AnyDocument]
) -> Int[np.ndarray, " document"]:
    """Indices by fraction; among copies of one text, by name."""
    order = np.argsort(fractions, kind="stable")
    ordered = fractions[order]
    # where each run of one fraction begins: copies of one text
    firsts = np.flatnonzero(np.diff(ordered, prepend=-1.0))
    for start, count in zip(firsts, np.diff(firsts, append=len(order)), strict=True):
        if count > 1:
            run = slice(int(start), int(start + count))
            order[run] = sorted(order[run].tolist(), key=lambda index: stored[index].name)
    return order


def _size(lengths: Int[np.ndarray, " document"]) -> str:
    return f"{len(lengths):,} documents ({int(lengths.sum()):,} characters)"
