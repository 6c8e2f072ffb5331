"""What a source of text is, and the two checks that all sources share."""

from collections.abc import Iterable, Iterator
from typing import Protocol, runtime_checkable

from alm_lightning.corpus.bad_documents import BadDocuments, told
from alm_lightning.corpus.chat import Chat
from alm_lightning.corpus.document import CorpusError, Document

AnyDocument = Document | Chat
"""A text or a chat: either has a name, a text, and can be blank."""


@runtime_checkable
class Source(Protocol):
    """Somewhere that documents come from: a file, a data set, the interpreter's own manual.

    The sources are plain classes and no dataclasses, although they are little more than records:
    OmegaConf would take a dataclass inside a mapping for a configuration, and swallow it.
    """

    def documents(self, on_bad: BadDocuments | None = None) -> Iterator[AnyDocument]:
        """The documents in their order, read while they are asked for; again with each call.

        A row that makes no document is handed to `on_bad`, or raises if that is None; what comes
        after it is read all the same. A path or a column that does not exist is refused by the call
        itself, before the first document is asked for, wherever that can be known.
        """
        ...


def at_least_one(
    documents: Iterable[AnyDocument], name: str, on_bad: BadDocuments | None = None
) -> Iterator[AnyDocument]:
    """The same documents, or an error after the last if there was none.

    Args:
        documents: Any.
        name: Where they come from.
        on_bad: What counted those that were left out.

    Yields:
        Document: Each of them, unchanged.

    Raises:
        CorpusError: The corpus is empty, or nothing in it could be used.
    """
    empty = True
    for document in documents:
        empty = False
        yield document
    if empty:
        counts = on_bad.counts() if on_bad is not None else {}
        left_out = f" Left out as bad: {told(counts)}." if counts else ""
        raise CorpusError(f"{name}: the corpus is empty. Expected at least one document.{left_out}")


def check_limit(max_documents: int | None) -> None:
    """Refuse a limit that would leave nothing.

    Args:
        max_documents: How many documents to read at most; None for all.

    Raises:
        ValueError: The limit is below one.
    """
    if max_documents is not None and max_documents < 1:
        raise ValueError(
            f"max_documents is {max_documents}; expected at least 1, or null for all documents."
        )
