"""Which documents are trained on, and which are kept apart to measure with."""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b

from alm_lightning.corpus.document import CorpusError, Document

HASH_BYTES = 8


@dataclass(frozen=True)
class Split:
    """Documents to train on, and documents that no training step sees.

    Attributes:
        train: In an order that depends on seed and texts alone, as if shuffled.
        heldout: Likewise; the first few are therefore a fair sample.
        num_blank: Documents left out because they hold nothing but whitespace.
    """

    train: list[Document]
    heldout: list[Document]
    num_blank: int

    def summary(self) -> str:
        """How much text lies on each side, as a line for the log."""
        line = f"train: {_size(self.train)}; held out: {_size(self.heldout)}"
        return f"{line}; left out {self.num_blank} blank" if self.num_blank else line


def split_documents(documents: Iterable[Document], *, heldout_share: float, seed: int) -> Split:
    """A split by document that depends on the seed and on each text, and on nothing else.

    Each text has a number in [0, 1) from its hash; those below `heldout_share` are held out. So a
    document stays on its side when the corpus grows, is read in another order or is read twice, and
    two copies of one text cannot lie on two sides. If no text falls below (or all do), the one that
    is nearest to the other side goes over: both sides hold at least one.

    Args:
        documents: Read to the end, and kept in memory.
        heldout_share: Expected share of the texts that are held out, between 0 and 1.
        seed: Another seed, another split.

    Returns:
        Both sides, and how many documents were left out for being blank.

    Raises:
        ValueError: The share is not between 0 and 1.
        CorpusError: There are fewer than two different texts.

    Example:
        >>> corpus = [Document(f"text {n}", name=str(n)) for n in range(100)]
        >>> split = split_documents(corpus, heldout_share=0.1, seed=1)
        >>> len(split.train) + len(split.heldout)
        100
        >>> split == split_documents(reversed(corpus), heldout_share=0.1, seed=1)
        True
    """
    if not 0.0 < heldout_share < 1.0:
        raise ValueError(
            f"heldout_share is {heldout_share}; expected more than 0 and less than 1, as 0.05."
        )
    num_read, placed = 0, []
    for document in documents:
        num_read += 1
        if not document.is_blank:
            # the name settles the order among copies
            placed.append((_fraction(document.text, seed), document.name, document))
    placed.sort(key=lambda entry: entry[:2])

    fractions = sorted({fraction for fraction, _, _ in placed})
    if len(fractions) < 2:
        raise CorpusError(
            f"The corpus has {num_read} documents, {len(placed)} of them not blank, with "
            f"{len(fractions)} different texts. Expected at least 2, to train on one and measure "
            "on another. Add text, or cut it into more documents (TextFile's separator)."
        )
    num_below = sum(fraction < heldout_share for fraction in fractions)
    first_train = fractions[min(max(num_below, 1), len(fractions) - 1)]
    return Split(
        train=[document for fraction, _, document in placed if fraction >= first_train],
        heldout=[document for fraction, _, document in placed if fraction < first_train],
        num_blank=num_read - len(placed),
    )


def _fraction(text: str, seed: int) -> float:
    digest = blake2b(text.encode("utf-8"), digest_size=HASH_BYTES, key=str(seed).encode())
    return int.from_bytes(digest.digest()) / 2 ** (8 * HASH_BYTES)


def _size(documents: list[Document]) -> str:
    num_characters = sum(len(document.text) for document in documents)
    return f"{len(documents):,} documents ({num_characters:,} characters)"
