"""From a value in a column of somebody's data to the text of a document."""

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

from alm_lightning.corpus.chat import Chat
from alm_lightning.corpus.document import CorpusError, Document


@runtime_checkable
class ColumnReader(Protocol):
    """Knows how the values of a column spell a text."""

    def __call__(self, value: object, name: str) -> Document | Chat:
        """The document of one value.

        Args:
            value: What the row holds in its column.
            name: Where the row stands.

        Returns:
            The document, checked.
        """
        ...


class PlainText:
    """A column of strings."""

    def __call__(self, value: object, name: str) -> Document:
        """The string itself."""
        return Document.of(value, name)


class Messages:
    """A column of chats: lists of ``{"role": ..., "content": ...}``.

    Example:
        >>> chat = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]
        >>> Messages()(chat, "chats.jsonl:1").messages[1]
        Message(role='assistant', content='Hello!')
    """

    def __call__(self, value: object, name: str) -> Chat:
        """The chat, checked."""
        return Chat.of(value, name)


def check_column(column: str, columns: Iterable[str], name: str) -> None:
    """Refuse a column that the data does not have, and say which ones it has.

    Args:
        column: The one asked for.
        columns: Those that exist.
        name: Whose they are.

    Raises:
        CorpusError: The column is not among them.
    """
    existing = sorted(columns)
    if column not in existing:
        raise CorpusError(
            f"{name}: there is no column '{column}'. Choose one of those that exist: "
            f"{', '.join(existing) or '(none)'}."
        )
