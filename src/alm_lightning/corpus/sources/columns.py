"""From a value in a column of somebody's data to the text of a document."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from alm_lightning.corpus.chat import Chat
from alm_lightning.corpus.document import BadDocument, CorpusError, Document, shortened


@runtime_checkable
class ColumnReader(Protocol):
    """Knows how the values of a column spell a text."""

    def __call__(self, value: object, name: str) -> Document | Chat:
        """The document of one value.

        Args:
            value: What the row holds in its column; of several, a mapping from their names.
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


class QuestionAnswer:
    """Two columns, a question and its answer, as a chat of two turns.

    Example:
        >>> row = {"question": "1 + 1?", "answer": "2"}
        >>> QuestionAnswer()(row, "sums.jsonl:1").messages
        (Message(role='user', content='1 + 1?'), Message(role='assistant', content='2'))
    """

    def __call__(self, value: object, name: str) -> Chat:
        """The chat: what the first column holds is asked, the second answers.

        Args:
            value: A mapping from two columns, in their order.
            name: Where the row stands.

        Returns:
            The chat, checked.

        Raises:
            BadDocument: There are not two columns.
        """
        if not isinstance(value, Mapping) or len(value) != 2:
            raise BadDocument(
                f"{name}: expected a question and an answer, found {shortened(value)}. Name the "
                "two columns: corpus.source.column=[question,answer].",
                kind="no question and answer",
            )
        question, answer = value.values()
        return Chat.of(
            [{"role": "user", "content": question}, {"role": "assistant", "content": answer}], name
        )


def names_of(column: str | Sequence[str]) -> list[str]:
    """The columns that a source is to read.

    Args:
        column: A name, or several.

    Returns:
        The names.
    """
    return [column] if isinstance(column, str) else list(column)


def value_of(row: Mapping[str, object], column: str | Sequence[str]) -> object:
    """What a reader is given of a row.

    Args:
        row: The row, which has the columns.
        column: A name, or several.

    Returns:
        The value of the one column; a mapping from the names of several.
    """
    return row[column] if isinstance(column, str) else {name: row[name] for name in column}


def check_column(column: str | Sequence[str], columns: Iterable[str], name: str) -> None:
    """Refuse columns that the data does not have, and say which ones it has.

    Args:
        column: What is asked for: a name, or several.
        columns: Those that exist.
        name: Whose they are.

    Raises:
        CorpusError: One of them is not there.
    """
    existing = sorted(columns)
    for asked in names_of(column):
        if asked not in existing:
            raise CorpusError(
                f"{name}: there is no column '{asked}'. Choose one of those that exist: "
                f"{', '.join(existing) or '(none)'}."
            )
