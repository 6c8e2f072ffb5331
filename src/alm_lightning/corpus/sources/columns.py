"""From the value in a column of a data set to a document."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from alm_lightning.corpus.chat import Chat
from alm_lightning.corpus.document import BadDocument, CorpusError, Document, shortened


@runtime_checkable
class ColumnReader(Protocol):
    """Makes documents of the values of a column, or of several."""

    def __call__(self, value: object, name: str) -> Document | Chat:
        """The document of one row, checked; the value of several columns is a mapping."""
        ...


class PlainText:
    """A column of strings."""

    def __call__(self, value: object, name: str) -> Document:
        """The string itself."""
        return Document.of(value, name)


class Messages:
    """A column of chats: lists of ``{"role": ..., "content": ...}``."""

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
        """The chat: the user's turn is the first column, the assistant's the second."""
        if not isinstance(value, Mapping) or len(value) != 2:
            raise BadDocument(
                f"{name}: expected a question and an answer, found {shortened(value)}. Name the "
                "two columns: column=['question', 'answer'], or "
                "corpus.source.column=[question,answer] on the command line.",
                kind="no column",
            )
        question, answer = value.values()
        return Chat.of(
            [{"role": "user", "content": question}, {"role": "assistant", "content": answer}], name
        )


def names_of(column: str | Sequence[str]) -> list[str]:
    """The names of one column or of several."""
    return [column] if isinstance(column, str) else list(column)


def value_of(row: Mapping[str, object], column: str | Sequence[str]) -> object:
    """What a `ColumnReader` takes: the value of one column, or a mapping from several names."""
    return row[column] if isinstance(column, str) else {name: row[name] for name in column}


def check_column(column: str | Sequence[str], columns: Iterable[str], name: str) -> None:
    """Refuses a column that is not among `columns`, those of the file or data set `name`."""
    existing = [*columns]
    for asked in names_of(column):
        if asked not in existing:
            raise CorpusError(no_column(asked, existing, name))


def no_column(
    asked: str, columns: Iterable[str], name: str, setting: str = "corpus.source.column"
) -> str:
    """The error for a column that a file or a row lacks, with what reads the columns that it has.

    Args:
        asked: The column.
        columns: Those that there are.
        name: Of the file or row.
        setting: What names it on the command line.

    Returns:
        The sentence.
    """
    existing = sorted(columns)
    hint = ""
    if "messages" in existing:
        hint = " The column messages holds chats (corpus=messages)."
    elif "conversations" in existing:
        hint = (
            " The column conversations holds chats (corpus=messages "
            "corpus.source.column=conversations)."
        )
    elif {"question", "answer"} <= {*existing}:
        hint = " They hold questions and answers (corpus=question_answer)."
    return (
        f"{name}: there is no column '{asked}'. Choose one of those that exist ({setting}): "
        f"{', '.join(existing) or '(none)'}.{hint}"
    )
