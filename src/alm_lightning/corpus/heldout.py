"""Which documents are trained on, and which are kept apart to measure with."""

import logging
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
from jaxtyping import Float, Int

from alm_lightning.corpus.document import CorpusError, Document
from alm_lightning.corpus.shelf import InMemory, Shelf
from alm_lightning.corpus.sources.long_text import LEAST_CHARACTERS, cut_off_end
from alm_lightning.corpus.sources.source import AnyDocument

log = logging.getLogger(__name__)

HASH_BYTES = 8


@dataclass(frozen=True)
class Split:
    """Documents to train on, and documents that no training step sees.

    Attributes:
        train: In an order that depends on seed and texts alone, as if shuffled; a stream in its
            own order.
        heldout: Likewise; the first few are therefore a fair sample.
        num_blank: Documents left out because they hold nothing but whitespace.
        sizes: Both sides in words.
        seed: Seed of the split.
        train_fractions: Place of each text that is trained on, ascending; see `fraction`.
    """

    train: Iterable[AnyDocument]
    heldout: Sequence[AnyDocument]
    num_blank: int
    sizes: tuple[str, str]
    seed: int
    train_fractions: Float[np.ndarray, " document"] = field(compare=False, repr=False)

    def summary(self) -> str:
        """How much text lies on each side, as a line for the log."""
        line = f"train: {self.sizes[0]}; held out: {self.sizes[1]}"
        return f"{line}; left out {self.num_blank} blank" if self.num_blank else line

    def trains_on(self, document: AnyDocument) -> bool:
        """Whether a text is among those trained on; of a stream, among those read so far."""
        place = fraction(document.text, self.seed)
        index = int(np.searchsorted(self.train_fractions, place))
        return index < len(self.train_fractions) and float(self.train_fractions[index]) == place


class Reading:
    """What is learnt of documents while they go by: their places, sizes, and the blank ones."""

    def __init__(self, seed: int):
        """Starts with nothing read.

        Args:
            seed: Seed of the split.
        """
        self.seed = seed
        self.num_read = 0
        # arrays, not lists: 8 bytes a document, whatever its size
        self.fractions, self.lengths = array("d"), array("q")

    def __call__(self, documents: Iterable[AnyDocument]) -> Iterator[AnyDocument]:
        """The documents that are not blank.

        Args:
            documents: Any.

        Yields:
            Document: Each of them that has something to learn from.
        """
        for document in documents:
            self.num_read += 1
            if not document.is_blank:
                text = document.text
                self.fractions.append(fraction(text, self.seed))
                self.lengths.append(len(text))
                yield document

    @property
    def num_blank(self) -> int:
        """How many were left out."""
        return self.num_read - len(self.fractions)


def check_share(heldout_share: float) -> None:
    """Refuse a share that leaves a side empty.

    Args:
        heldout_share: Expected share of the texts that are held out.

    Raises:
        ValueError: The share is not between 0 and 1.
    """
    if not 0.0 < heldout_share < 1.0:
        raise ValueError(
            f"heldout_share is {heldout_share}; expected more than 0 and less than 1, as 0.05."
        )


def split_documents(
    documents: Iterable[AnyDocument],
    *,
    heldout_share: float,
    seed: int,
    shelf: Shelf | None = None,
) -> Split:
    """A split by document that depends on the seed and on each text, and on nothing else.

    Each text has a number in [0, 1) from its hash; those below `heldout_share` are held out. So a
    document stays on its side when the corpus grows, is read in another order or is read twice, and
    two copies of one text cannot lie on two sides. If no text falls below (or all do), the one that
    is nearest to the other side goes over: both sides hold at least one.

    A long text that is more than half of the corpus would leave one side with next to nothing. It
    is cut: its end is held out, after a gap, the rest is trained on (see `cut_off_end`).

    Args:
        documents: Read to the end, once.
        heldout_share: Expected share of the texts that are held out, between 0 and 1.
        seed: Another seed, another split.
        shelf: Where the documents are kept; in memory if None.

    Returns:
        Both sides, and how many documents were left out for being blank.

    Raises:
        CorpusError: There are fewer than two different texts, and none of them is long enough to
            be cut.

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
    shelf = InMemory() if shelf is None else shelf
    reading = Reading(seed)
    kept = shelf.keep(reading(documents))
    fractions = np.array(reading.fractions)
    lengths = np.array(reading.lengths, dtype=np.int64)
    longest = _most_of(fractions, lengths, kept)
    if longest is not None:
        return _cut(longest, kept, fractions, shelf, reading, heldout_share)
    different = np.unique(fractions)
    if len(different) < 2:
        raise CorpusError(
            f"The corpus has {reading.num_read} documents, {len(kept)} of them not blank, with "
            f"{len(different)} different texts. Expected at least 2, to train on one and measure "
            f"on another, or one of at least {LEAST_CHARACTERS:,} characters, whose end is held "
            "out. Add text, or cut it into more documents (corpus.source.separator of a text)."
        )
    num_below = int(np.searchsorted(different, heldout_share))
    first_train = different[min(max(num_below, 1), len(different) - 1)]
    order = _order(fractions, kept)
    is_train = fractions[order] >= first_train
    sides = (order[is_train], order[~is_train])
    return Split(
        train=shelf.choose(kept, sides[0]),
        heldout=shelf.choose(kept, sides[1]),
        num_blank=reading.num_blank,
        sizes=(_size(lengths[sides[0]]), _size(lengths[sides[1]])),
        seed=seed,
        train_fractions=fractions[sides[0]],
    )


def _most_of(
    fractions: Float[np.ndarray, " document"],
    lengths: Int[np.ndarray, " document"],
    kept: Sequence[AnyDocument],
) -> Document | None:
    """The text that is more than half of all different ones, if it is long enough to be cut."""
    _, places = np.unique(fractions, return_index=True)
    if not len(places):
        return None
    longest = int(places[lengths[places].argmax()])
    is_most = 2 * lengths[longest] > lengths[places].sum()
    if not is_most or lengths[longest] < LEAST_CHARACTERS:
        return None
    document = kept[longest]
    # the end of a chat can't do without its beginning
    return document if isinstance(document, Document) else None


def _cut(
    longest: Document,
    kept: Sequence[AnyDocument],
    fractions: Float[np.ndarray, " document"],
    shelf: Shelf,
    reading: "Reading",
    heldout_share: float,
) -> Split:
    """The split of a corpus that is one long text, beside which there may be short ones."""
    place = fraction(longest.text, reading.seed)
    train, heldout = cut_off_end(longest, heldout_share=heldout_share)
    num_heldout = sum(len(document.text) for document in heldout)
    for index in np.flatnonzero(fractions != place).tolist():
        (train if fractions[index] >= heldout_share else heldout).append(kept[index])
    known = {document.text for document in train}
    # a text that says everything twice
    heldout = [document for document in heldout if document.text not in known]
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
    again = Reading(reading.seed)
    documents = shelf.keep(again([*train, *heldout]))
    places, lengths = np.array(again.fractions), np.array(again.lengths, dtype=np.int64)
    order = _order(places, documents)
    is_train = order < len(train)
    sides = (order[is_train], order[~is_train])
    return Split(
        train=shelf.choose(documents, sides[0]),
        heldout=shelf.choose(documents, sides[1]),
        num_blank=reading.num_blank,
        sizes=(_size(lengths[sides[0]]), _size(lengths[sides[1]])),
        seed=reading.seed,
        # the whole text, too, is trained on
        train_fractions=np.sort([*places[sides[0]], place]),
    )


def fraction(text: str, seed: int) -> float:
    """The place of a text in [0, 1), from its hash.

    Args:
        text: The text.
        seed: Another seed, other places.

    Returns:
        The place; even over all texts.
    """
    digest = blake2b(text.encode("utf-8"), digest_size=HASH_BYTES, key=str(seed).encode())
    return int.from_bytes(digest.digest()) / 2 ** (8 * HASH_BYTES)


def _order(
    fractions: Float[np.ndarray, " document"], kept: Sequence[AnyDocument]
) -> Int[np.ndarray, " document"]:
    """Indices by place; names settle the order among copies."""
    order = np.argsort(fractions, kind="stable")
    ordered = fractions[order]
    # runs of one place: copies of one text
    firsts = np.flatnonzero(np.diff(ordered, prepend=-1.0))
    for start, count in zip(firsts, np.diff(firsts, append=len(order)), strict=True):
        if count > 1:
            run = slice(int(start), int(start + count))
            order[run] = sorted(order[run].tolist(), key=lambda index: kept[index].name)
    return order


def _size(lengths: Int[np.ndarray, " document"]) -> str:
    return f"{len(lengths):,} documents ({int(lengths.sum()):,} characters)"
