"""What a source of text is, and the two checks that all sources share."""

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeAlias, TypeVar, runtime_checkable

from alm_lightning.corpus.bad_documents import BadDocuments, format_counts
from alm_lightning.corpus.chat import Chat
from alm_lightning.corpus.document import CorpusError, Document

AnyDocument: TypeAlias = Document | Chat
"""A text or a chat: both have `name`, `group`, `text` and `is_blank`."""

OneKind = TypeVar("OneKind", bound=AnyDocument)


@runtime_checkable
class Source(Protocol):
    """Where documents come from: files, a data set, the manual of Python.

    Sources are plain classes and not dataclasses, although they are little more than records:
    OmegaConf would take a dataclass inside a mapping for a configuration.
    """

    def documents(self, on_bad: BadDocuments | None = None) -> Iterator[AnyDocument]:
        """The documents in their order, read lazily; each call starts from the first.

        A bad row is passed to `on_bad`, or raises if that is None; reading continues after it. The
        call itself refuses a path or a column that does not exist, where that can be known before
        the first document is read.
        """
        ...


def at_least_one(
    documents: Iterable[OneKind], name: str, on_bad: BadDocuments | None = None
) -> Iterator[OneKind]:
    """The same documents, or a CorpusError at the end if there was none.

    The error names the counts of `on_bad`.
    """
    empty = True
    for document in documents:
        empty = False
        yield document
    if empty:
        counts = on_bad.counts() if on_bad is not None else {}
        left_out = f" Left out as bad: {format_counts(counts)}." if counts else ""
        raise CorpusError(f"{name}: the corpus is empty. Expected at least one document.{left_out}")


def check_limit(max_documents: int | None) -> None:
    """Refuses a limit below one, with a ValueError; None is no limit."""
    if max_documents is not None and max_documents < 1:
        raise ValueError(
            f"max_documents is {max_documents}; expected at least 1, or None (null) for all."
        )
