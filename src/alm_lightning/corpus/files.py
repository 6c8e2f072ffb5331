"""Documents from files: a text, JSON lines, Parquet."""

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pyarrow.parquet

from alm_lightning.corpus.columns import ColumnReader, check_column
from alm_lightning.corpus.document import CorpusError, Document, decode, shortened
from alm_lightning.corpus.sources import at_least_one, existing_file

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

    def documents(self) -> Iterator[Document]:
        """The documents, each named by the line that it starts in; blank ones are left out."""
        return at_least_one(self._read(existing_file(self.path)), self.path)

    def _read(self, file: Path) -> Iterator[Document]:
        text = decode(file.read_bytes(), self.path)
        line = 1
        for piece in [text] if self.separator is None else text.split(self.separator):
            # a separator at the end of the file, or two in a row, do not make a document
            if piece.strip():
                yield Document(piece, f"{file.name}:{line}")
            line += (piece + (self.separator or "")).count("\n")


class JsonLines:
    """A file with one JSON object a line, plain (``.jsonl``) or compressed (``.jsonl.gz``)."""

    def __init__(self, *, path: str, column: str, reader: ColumnReader) -> None:
        """Sets up the source.

        Args:
            path: The file; ``~`` is spelled out.
            column: The key whose value becomes the document.
            reader: How that value spells a text.
        """
        self.path = path
        self.column = column
        self.reader = reader

    def documents(self) -> Iterator[Document]:
        """One document a line, named by its number; empty lines are left out."""
        return at_least_one(self._read(existing_file(self.path)), self.path)

    def _read(self, file: Path) -> Iterator[Document]:
        for number, line in enumerate(_lines(file), start=1):
            name = f"{file.name}:{number}"
            if line.strip():
                row = _json_object(decode(line, name), name)
                check_column(self.column, row, name)
                yield self.reader(row[self.column], name)


class Parquet:
    """A Parquet file."""

    def __init__(self, *, path: str, column: str, reader: ColumnReader) -> None:
        """Sets up the source.

        Args:
            path: The file; ``~`` is spelled out.
            column: The column whose values become documents.
            reader: How a value spells a text.
        """
        self.path = path
        self.column = column
        self.reader = reader

    def documents(self) -> Iterator[Document]:
        """One document a row.

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
        return at_least_one(self._read(file), self.path)

    def _read(self, file: Path) -> Iterator[Document]:
        number = 0
        with pyarrow.parquet.ParquetFile(file) as table:
            for batch in table.iter_batches(PARQUET_BATCH_ROWS, columns=[self.column]):
                for scalar in batch.column(self.column):
                    name = f"{file.name}:{number}"
                    try:
                        value = scalar.as_py()
                    except UnicodeDecodeError as error:
                        # Parquet does not check what it is told to be text
                        raise CorpusError(
                            f"{name}: not UTF-8 at byte {error.start} ({error.reason}). Write the "
                            "file anew from decoded text, or drop the row."
                        ) from error
                    yield self.reader(value, name)
                    number += 1


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
        raise CorpusError(
            f"{name}: not JSON: {error.msg} at character {error.pos}, in {shortened(line)}. "
            "Expected one whole JSON object a line."
        ) from error
    if not isinstance(row, dict):
        raise CorpusError(
            f"{name}: expected a JSON object, found {type(row).__name__}: {shortened(row)}."
        )
    return row
