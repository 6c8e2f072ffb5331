"""What a corpus is split by: whole documents, or the questions that chats begin with."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from alm_lightning.corpus.document import Document
from alm_lightning.corpus.sources.source import AnyDocument

DOCUMENT = "document"


def _text(document: AnyDocument) -> str:
    return document.text


def _question(document: AnyDocument) -> str:
    if isinstance(document, Document):
        return document.text
    asked = (message.content for message in document.messages if message.role == "user")
    # a chat in which nobody asks counts as a whole
    return next(asked, document.text)


SPLIT_BY: Mapping[str, Callable[[AnyDocument], str]] = MappingProxyType(
    {DOCUMENT: _text, "question": _question}
)
"""The text that decides on which side a document lies: ``document``, all of it; ``question``, of a
chat the user's first message, so that all answers to one question lie on one side."""


def check_split_by(split_by: str) -> None:
    """Refuses what is not in `SPLIT_BY`, with a ValueError."""
    if split_by not in SPLIT_BY:
        raise ValueError(f"split_by is {split_by!r}; expected one of {', '.join(SPLIT_BY)}.")
