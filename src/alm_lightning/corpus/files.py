"""Documents from files: a text, JSON lines, Parquet."""

import gzip
import json
import mmap
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow
import pyarrow.parquet

from alm_lightning.corpus.bad_documents import BadDocuments, Refuse, attempt
from alm_lightning.corpus.columns import ColumnReader, check_column, names_of, value_of
from alm_lightning.corpus.document import BadDocument, CorpusError, Document, decode, shortened
from alm_lightning.corpus.sources import AnyDocument, at_least_one, existing_file

PARQUET_BATCH_ROWS = 256
"""Rows in memory at once: enough to be quick, few enough for rows of book length."""


class TextFile:
    """A text file in UTF-8, whole or cut into documents."""

    def __init__(self, *, path: str, separator: str | None) -> None:
        """Sets up the source.

        Args:
            path: The file; ``~`` is spelled out.
            separator: The string between two documents, as three line ends; None for one document.

        Raises:
            ValueError: The separator is empty.
        """
        if separator == "":
            raise ValueError(
                "separator is the empty string, which is everywhere. Give the string between two "
                "documents, or null to take the file as one document."
            )
        self.path = path
        self.separator = separator

    def documents(self, on_bad: BadDocuments | None = None) -> Iterator[AnyDocument]:
        """The documents, each named by the line that it starts in; blank ones are left out."""
        on_bad = on_bad or Refuse()
        return at_least_one(self._read(existing_file(self.path), on_bad), self.path, on_bad)

    def _read(self, file: Path, on_bad: BadDocuments) -> Iterator[Document]:
        line = 1
        for piece in _pieces(file, self.separator):
            # a separator at the end of the file, or two in a row, do not make a document
            if piece.strip():
                name = f"{file.name}:{line}"
                document = attempt(on_bad, _document, piece, name)
                if document is not None and not document.is_blank:
                    yield document
            line += piece.count(b"\n") + (self.separator or "").count("\n")


def _document(raw: bytes, name: str) -> Document:
    return Document(decode(raw, name), name)


def _pieces(file: Path, separator: str | None) -> Iterator[bytes]:
    """What lies between separators, a piece in memory at a time."""
    if not file.stat().st_size:
        return  # nothing can't be mapped
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as raw:
        start, end = 0, -1
        if separator is not None:
            between = separator.encode("utf-8")
            while (end := raw.find(between, start)) >= 0:
                yield raw[start:end]
                start = end + len(between)
        yield raw[start:]


class JsonLines:
    """A file with one JSON object a line, plain (``.jsonl``) or compressed (``.jsonl.gz``)."""

    def __init__(
        self,
        *,
        path: str,
        column: str | Sequence[str],
        reader: ColumnReader,
        group_column: str | None = None,
    ) -> None:
        """Sets up the source.

        Args:
            path: The file; ``~`` is spelled out.
            column: The key whose value becomes the document; several, for a reader of several.
            reader: How that value spells a text.
            group_column: The key whose value the figures of an evaluation are split by, as the
                language; None for no groups.
        """
        self.path = path
        self.column = column
        self.reader = reader
        self.group_column = group_column

    def documents(self, on_bad: BadDocuments | None = None) -> Iterator[AnyDocument]:
        """One document a line, named by its number; empty lines are left out."""
        on_bad = on_bad or Refuse()
        return at_least_one(self._read(existing_file(self.path), on_bad), self.path, on_bad)

    def _read(self, file: Path, on_bad: BadDocuments) -> Iterator[AnyDocument]:
        for number, line in enumerate(_lines(file), start=1):
            if line.strip():
                document = attempt(on_bad, self._document, line, f"{file.name}:{number}")
                if document is not None:
                    yield document

    def _document(self, line: bytes, name: str) -> AnyDocument:
        row = _json_object(decode(line, name), name)
        group = [] if self.group_column is None else [self.group_column]
        for column in [*names_of(self.column), *group]:
            if column not in row:
                # another line may have it: a fault of this one
                raise BadDocument(
                    f"{name}: there is no column '{column}'. Choose one of those that exist: "
                    f"{', '.join(sorted(row)) or '(none)'}.",
                    kind="no column",
                )
        document = self.reader(value_of(row, self.column), name)
        if self.group_column is None:
            return document
        return replace(document, group=str(row[self.group_column]))


class Parquet:
    """A Parquet file."""

    def __init__(self, *, path: str, column: str | Sequence[str], reader: ColumnReader) -> None:
        """Sets up the source.

        Args:
            path: The file; ``~`` is spelled out.
            column: The column whose values become documents; several, for a reader of several.
            reader: How a value spells a text.
        """
        self.path = path
        self.column = column
        self.reader = reader

    def documents(self, on_bad: BadDocuments | None = None) -> Iterator[AnyDocument]:
        """One document a row.

        Args:
            on_bad: What becomes of a row that makes no document; None ends with it.

        Returns:
            The rows, each named by its number, counted from 0.

        Raises:
            CorpusError: The file is not Parquet.
        """
        file = existing_file(self.path)
        try:
            columns = pyarrow.parquet.read_schema(file).names
        except pyarrow.ArrowInvalid as error:
            raise CorpusError(f"{self.path}: not a Parquet file ({error}).") from error
        check_column(self.column, columns, self.path)
        on_bad = on_bad or Refuse()
        return at_least_one(self._read(file, on_bad), self.path, on_bad)

    def _read(self, file: Path, on_bad: BadDocuments) -> Iterator[AnyDocument]:
        number = 0
        columns = names_of(self.column)
        with pyarrow.parquet.ParquetFile(file) as table:
            for batch in table.iter_batches(PARQUET_BATCH_ROWS, columns=columns):
                for scalars in zip(*map(batch.column, columns), strict=True):
                    row = dict(zip(columns, scalars, strict=True))
                    document = attempt(on_bad, self._document, row, f"{file.name}:{number}")
                    if document is not None:
                        yield document
                    number += 1

    def _document(self, row: Mapping[str, pyarrow.Scalar], name: str) -> AnyDocument:
        try:
            values = {column: scalar.as_py() for column, scalar in row.items()}
        except UnicodeDecodeError as error:
            # Parquet does not check what it is told to be text
            raise BadDocument(
                f"{name}: not UTF-8 at byte {error.start} ({error.reason}). Write the "
                "file anew from decoded text, or drop the row.",
                kind="not UTF-8",
            ) from error
        return self.reader(value_of(values, self.column), name)


def _lines(file: Path) -> Iterator[bytes]:
    # bytes: text mode would end a line at a carriage return, too
    opener = gzip.open if file.suffix == ".gz" else open
    with opener(file, "rb") as lines:
        try:
            yield from lines
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise CorpusError(
                f"{file}: the compressed data are damaged or cut off ({error}). Fetch it again."
            ) from error


def _json_object(line: str, name: str) -> dict[str, object]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise BadDocument(
            f"{name}: not JSON: {error.msg} at character {error.pos}, in {shortened(line)}. "
            "Expected one whole JSON object a line.",
            kind="not JSON",
        ) from error
    except (ValueError, RecursionError) as error:
        # a number of thousands of digits, or lists in lists by the thousand
        raise BadDocument(
            f"{name}: JSON that Python does not read: {error}. Drop the line.", kind="not JSON"
        ) from error
    if not isinstance(row, dict):
        raise BadDocument(
            f"{name}: expected a JSON object, found {type(row).__name__}: {shortened(row)}.",
            kind="not JSON",
        )
    return row
