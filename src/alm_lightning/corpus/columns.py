"""From a value in a column of somebody's data to the text of a document."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from alm_lightning.corpus.document import CorpusError, Document, shortened


@runtime_checkable
class ColumnReader(Protocol):
    """Knows how the values of a column spell a text."""

    def __call__(self, value: object, name: str) -> Document:
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


class MessagesAsText:
    r"""A column of chats, read as plain text: the contents, with a blank line between messages.

    The chats are lists of ``{"role": ..., "content": ...}``, as in ``allenai/tulu-3-sft-mixture``.
    Roles are left out, and every message counts as text to train on. Chat templates, each side in
    its own and with training on the assistant's turns alone, are not built yet; until they are,
    this is what the project makes of a chat.

    Example:
        >>> chat = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]
        >>> MessagesAsText()(chat, "chats.jsonl:1").text
        'Hi\n\nHello!'
    """

    def __call__(self, value: object, name: str) -> Document:
        """The contents of a chat's messages, one after another.

        Args:
            value: What the row holds in its column.
            name: Where the row stands.

        Returns:
            One document for the whole chat.

        Raises:
            CorpusError: The value is not a list of messages with a content each.
        """
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise CorpusError(
                f"{name}: expected a list of messages, found {type(value).__name__}: "
                f"{shortened(value)}. Choose the column that holds the chat, or read this one with "
                "PlainText."
            )
        contents = []
        for number, message in enumerate(value):
            if not isinstance(message, Mapping) or "content" not in message:
                raise CorpusError(
                    f"{name}: message {number} has no content: {shortened(message)}. Expected a "
                    "list of {role, content}."
                )
            contents.append(Document.of(message["content"], f"{name}, message {number}").text)
        return Document("\n\n".join(contents), name)


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
