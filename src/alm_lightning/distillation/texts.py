"""Text that is given to the library: files, data sets of the hub's library, texts and chats."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import datasets
import pyarrow.parquet

from alm_lightning.corpus.bad_documents import BadDocuments, Refuse, attempt
from alm_lightning.corpus.chat import Chat
from alm_lightning.corpus.document import CorpusError, Document, shortened
from alm_lightning.corpus.sources.columns import check_column
from alm_lightning.corpus.sources.compression import opened
from alm_lightning.corpus.sources.files import JSON_LINES, PARQUET, JsonLines, Parquet, TextFile
from alm_lightning.corpus.sources.paths import corpus_files, files_below
from alm_lightning.corpus.sources.source import AnyDocument, Source, at_least_one
from alm_lightning.distillation.data import Corpus

Texts: TypeAlias = (
    str | Path | datasets.Dataset | datasets.IterableDataset | Source | Iterable[object]
)
"""A path; a data set; or an iterable of texts, of chats or of rows."""
COLUMNS = ("text", "messages")
"""Columns that are looked for where none is named."""
SEPARATOR = "\n\n"
"""What is between two documents of a text file."""


class GivenDocuments:
    """Documents of an iterable in memory."""

    def __init__(
        self, items: Iterable[object], *, column: str | None, name: str, needs_column: bool = True
    ) -> None:
        """Reads nothing yet.

        Args:
            items: Texts, chats, or rows with a column of either.
            column: The column of rows; None for the first of `COLUMNS` that a row has.
            name: What errors call the items.
            needs_column: Whether a row must have `column`.
        """
        self.items, self.column, self.name = items, column, name
        self.needs_column = needs_column

    def documents(self, on_bad: BadDocuments | None = None) -> Iterator[AnyDocument]:
        """The documents, each named by its place."""
        return at_least_one(self._read(on_bad or Refuse()), self.name, on_bad)

    def _read(self, on_bad: BadDocuments) -> Iterator[AnyDocument]:
        for index, item in enumerate(self.items):
            name = f"{self.name}[{index}]"
            if isinstance(item, Mapping):
                item = self._value(item, name)
            document = attempt(on_bad, document_of, item, name)
            if document is not None:
                yield document

    def _value(self, row: Mapping[str, object], name: str) -> object:
        if self.column is None and {"role", "content"} <= row.keys():
            raise CorpusError(
                f"{name} is a message: {self.name} is one chat, where a list of chats was "
                f"expected. Give {self.name}=[chat]."
            )
        column = chosen_column(self.column, list(row), name, needs_column=self.needs_column)
        return row[column]


def document_of(value: object, name: str) -> AnyDocument:
    """The document of a value.

    Args:
        value: A text, a chat as a list of messages, or a document.
        name: What errors call it.

    Returns:
        The document, checked.
    """
    if isinstance(value, Document | Chat):
        return value
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return Chat.of(value, name)
    return Document.of(value, name)


def chosen_column(
    column: str | None, columns: Sequence[str], name: str, *, needs_column: bool = True
) -> str:
    """The column to read.

    Args:
        column: What was asked for; None for one of `COLUMNS`.
        columns: Those that there are.
        name: Whose they are.
        needs_column: Whether `column` must be among them; else it counts as None where it is not.

    Returns:
        Its name.

    Raises:
        CorpusError: There is no such column.
    """
    if column is not None and (needs_column or column in columns):
        check_column(column, columns, name)
        return column
    found = [each for each in COLUMNS if each in columns]
    if not found:
        raise CorpusError(
            f"{name}: there is no column {' or '.join(COLUMNS)}, only {', '.join(columns)}. Say "
            "which one to read: column=..."
        )
    return found[0]


def corpora_of(
    given: Mapping[str, Texts | None], *, column: str | None, heldout_share: float
) -> dict[str, Corpus]:
    """The corpora of arguments.

    Args:
        given: Texts by the argument's name, the one to train on first; None for none.
        column: Of rows: which one to read. The texts to train on must have it.
        heldout_share: Share of the documents that are not trained on, in (0, 1).

    Returns:
        Those that are given, by name. Errors are those of `source_of`.
    """
    first = next(iter(given))
    return {
        name: Corpus(
            name=name,
            source=source_of(texts, column=column, name=name, needs_column=name == first),
            heldout_share=heldout_share,
        )
        for name, texts in given.items()
        if texts is not None
    }


def source_of(data: Texts, *, column: str | None, name: str, needs_column: bool = True) -> Source:
    """Where documents are read from.

    Args:
        data: A path of a file or a folder (JSON lines, Parquet or plain text, by its ending); a
            data set; texts, chats, or rows; or a source of this project.
        column: Of rows: which one to read; None for ``text`` or ``messages``.
        name: The argument's name, for errors.
        needs_column: Whether there must be `column`; else it counts as None where it is not.

    Returns:
        The source; nothing but the names of columns is read.

    Raises:
        FileNotFoundError: There is nothing at the path.
        CorpusError: There is no such column, or nothing in the data.
        TypeError: It is none of these.
    """
    if isinstance(data, str | Path):
        return _file(data, column, name, needs_column=needs_column)
    if isinstance(data, Source):
        return data
    if isinstance(data, datasets.DatasetDict | datasets.IterableDatasetDict):
        raise TypeError(
            f"{name} holds several splits, {', '.join(data)}. Give one of them: "
            f"{name}=dataset[{next(iter(data), 'train')!r}]."
        )
    if isinstance(data, datasets.Dataset | datasets.IterableDataset):
        if data.column_names:
            column = chosen_column(column, data.column_names, name, needs_column=needs_column)
            data = data.select_columns(column)
        return GivenDocuments(data, column=column, name=name, needs_column=needs_column)
    if isinstance(data, Mapping | bytes) or not isinstance(data, Iterable):
        raise TypeError(
            f"{name} is a {type(data).__name__}: expected a path, a datasets.Dataset, or an "
            "iterable of texts or chats."
        )
    if isinstance(data, Sequence) and not len(data):
        raise CorpusError(f"{name} is empty: expected at least one text or chat.")
    return GivenDocuments(data, column=column, name=name, needs_column=needs_column)


def _file(data: str | Path, column: str | None, name: str, *, needs_column: bool) -> Source:
    path = str(Path(data).expanduser())
    if not any(sign in path for sign in "*?[") and not _exists(path):
        raise FileNotFoundError(
            f"{name} is a path, and there is no file or folder {shortened(str(data), 200)}. Texts "
            f"themselves are given as a list: {name}=[text, ...]."
        )
    for suffixes, kind in ((JSON_LINES, JsonLines), (PARQUET, Parquet)):
        if _has_ending(path, suffixes):
            files = corpus_files(path, suffixes=suffixes)
            first = next(iter(files.values()))
            columns = _columns(first)
            chosen = chosen_column(column, columns, first.name, needs_column=needs_column)
            return kind(path=path, column=chosen, reader=document_of)
    if column is not None and needs_column:
        raise ValueError(f"column is {column!r}, but {path} is plain text, which has no columns.")
    return TextFile(path=path, separator=SEPARATOR)


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        # a text in place of a path: too long for a name, or with a null character
        return False


def _has_ending(path: str, suffixes: Sequence[str]) -> bool:
    """Whether a file, or any file of a folder, is of a kind; compressed or not."""
    place = Path(path)
    files = files_below(place) if place.is_dir() else [place]
    return any(set(file.suffixes[-2:]) & set(suffixes) for file in files)


def _columns(file: Path) -> list[str]:
    """The columns of a Parquet file, or of the first row of JSON lines."""
    if file.suffix in PARQUET:
        return pyarrow.parquet.read_schema(file).names
    with opened(file) as stream:
        if set(file.suffixes) & set(PARQUET):
            return pyarrow.parquet.read_schema(pyarrow.BufferReader(stream.read())).names
        line = next((line for line in stream if line.strip()), b"{}")
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    # what is wrong with the line, the source says with its number
    return list(row) if isinstance(row, dict) else list(COLUMNS)
