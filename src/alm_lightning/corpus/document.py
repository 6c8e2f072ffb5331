"""A text and where it came from, checked when it is made."""

import codecs
from dataclasses import dataclass


class CorpusError(ValueError):
    """A corpus that cannot be read, or a text in it that cannot be used."""


class BadDocument(CorpusError):
    """One text or chat of a corpus that cannot be used: `on_bad_document: skip` leaves it out.

    Args:
        message: Which document it is, what is wrong with it, and what to do.
        kind: What such documents are counted as: one of `bad_documents.KINDS`.
    """

    def __init__(self, message: str, *, kind: str = "other"):
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class Document:
    r"""One text of a corpus, valid as UTF-8.

    Alignments are made on the bytes of a text. A lone surrogate, the half of a character that
    JSON's ``\ud83d`` escapes or a faulty decoder leave behind, has no bytes and is refused.

    Attributes:
        text: The text, unchanged: no normalisation, no stripping.
        name: Where it came from, for messages: ``"topics.jsonl:12"``.
        group: What figures of an evaluation are split by, such as its language; None for no group.

    Example:
        >>> Document("Some text", name="notes.txt").is_blank
        False
        >>> Document("half: \ud83d", name="notes.jsonl:3")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        alm_lightning.corpus.document.BadDocument: notes.jsonl:3: the text has a lone surrogate ...
    """

    text: str
    name: str
    group: str | None = None

    def __post_init__(self) -> None:
        """Refuses a lone surrogate."""
        check_unicode(self.text, self.name, "text")
        check_unicode(self.group or "", self.name, "group")

    @classmethod
    def of(cls, value: object, name: str) -> "Document":
        """The document of a value from a file; refuses a value that is not a string."""
        if not isinstance(value, str):
            raise BadDocument(
                f"{name}: expected text (str), found {type(value).__name__}: {shortened(value)}. "
                "Choose a column that holds text, or drop the row.",
                kind="not text",
            )
        return cls(value, name)

    @property
    def is_blank(self) -> bool:
        """Whether the text is only whitespace."""
        return not self.text.strip()


def check_unicode(text: str, name: str, what: str) -> None:
    """Refuses a lone surrogate in a text as a BadDocument; `what` is what its error calls it."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        code_point = ord(text[error.start])
        raise BadDocument(
            f"{name}: the {what} has a lone surrogate (U+{code_point:04X}) at character "
            f"{error.start}, which UTF-8 cannot encode. Repair it where it comes from, or drop the "
            "document.",
            kind="lone surrogate",
        ) from error


def printable(name: str) -> str:
    r"""A name without lone surrogates, which stand for bytes of a file's name that are not UTF-8.

    Args:
        name: The name.

    Returns:
        The name, with an escape for each of them.

    Example:
        >>> printable("caf\udce9.txt")
        'caf\\udce9.txt'
    """
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def decode(raw: bytes, name: str) -> str:
    """UTF-8 bytes as text, without a byte order mark; line ends stay as they are.

    Bytes that are not UTF-8 are a BadDocument error, which names the first of them.
    """
    try:
        # the mark says how a file is encoded, and is not part of its text
        return raw.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise BadDocument(
            f"{name}: not UTF-8: byte 0x{raw[error.start]:02x} at position {error.start} "
            f"({error.reason}). Convert it first, with `iconv -f {_encoding(raw)} -t UTF-8`.",
            kind="not UTF-8",
        ) from error


def _encoding(raw: bytes) -> str:
    """A guess at the encoding of text that is not UTF-8: Windows writes UTF-16 with a mark."""
    is_utf16 = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in raw[:64]
    return "UTF-16" if is_utf16 else "LATIN1"


def shortened(value: object, limit: int = 60) -> str:
    """The `repr` of a value for a message, cut to `limit` characters with an ellipsis."""
    shown = repr(value)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"
