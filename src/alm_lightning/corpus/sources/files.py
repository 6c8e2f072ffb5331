"""Documents from files: texts, JSON lines, Parquet; plain or compressed, one file or many.

`datasets` reads such files too, but not as a corpus needs it (measured with 5.2): its "text" turns
every line end into a line feed, "json" fills columns that a row lacks with null and ends with its
first bad row, no error names a line, and JSON lines and Parquet take nearly twice as long.
"""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

import pyarrow
import pyarrow.parquet

from alm_lightning.corpus.bad_documents import BadDocuments, Refuse, attempt
from alm_lightning.corpus.document import (
    BadDocument,
    CorpusError,
    Document,
    decode,
    printable,
    shortened,
)
from alm_lightning.corpus.sources.columns import (
    ColumnReader,
    check_column,
    names_of,
    no_column,
    value_of,
)
from alm_lightning.corpus.sources.compression import BUFFER_BYTES, compression_of, opened
from alm_lightning.corpus.sources.paths import Paths, corpus_files, shown_path
from alm_lightning.corpus.sources.source import AnyDocument, at_least_one

JSON_LINES = (".jsonl", ".ndjson", ".json")
PARQUET = (".parquet",)
TEXTS = (".txt", ".md")
"""Suffixes of the files of a kind that are read of a folder. `TextFile` takes any."""
PARQUET_BATCH_ROWS = 256
"""Rows in memory at once: enough to be quick, few enough for rows of the length of a book."""

Raw = TypeVar("Raw")


class FileSource(ABC, Generic[Raw]):
    """A source of one or many files.

    Args:
        path: A file, a folder, a pattern, or a list of these (see `corpus_files`).
    """

    suffixes: ClassVar[Sequence[str] | None] = None

    def __init__(self, *, path: Paths) -> None:
        self.path = path

    def documents(self, on_bad: BadDocuments | None = None) -> Iterator[AnyDocument]:
        """The documents, each named by file and position; see `Source.documents`."""
        on_bad = on_bad or Refuse()
        files = corpus_files(self.path, suffixes=self.suffixes)
        self._check(files)
        return at_least_one(self._read(files, on_bad), shown_path(self.path), on_bad)

    def _check(self, files: Mapping[str, Path]) -> None:
        """Refuses files whose fault is known before they are read."""

    def _read(self, files: Mapping[str, Path], on_bad: BadDocuments) -> Iterator[AnyDocument]:
        for file_name, file in files.items():
            for number, raw in self._rows(file):
                document = attempt(on_bad, self._document, raw, f"{printable(file_name)}:{number}")
                if document is not None:
                    yield document

    @abstractmethod
    def _rows(self, file: Path) -> Iterator[tuple[int, Raw]]:
        """What each document is made of, after its position."""

    @abstractmethod
    def _document(self, raw: Raw, name: str) -> AnyDocument:
        """The document, or a BadDocument error."""


class TextFile(FileSource[bytes]):
    """Text files in UTF-8, whole or cut into documents; blank ones are left out.

    A document is named by the line that it starts in, counted from 1.

    Args:
        path: A file, a folder, a pattern, or a list of these (see `corpus_files`).
        separator: The string between two documents, such as three line feeds; None for one document
            a file. A line feed in it matches the line end of Windows as well.
    """

    def __init__(self, *, path: Paths, separator: str | None) -> None:
        if separator == "":
            raise ValueError(
                "separator is the empty string, which is everywhere. Give the string between two "
                "documents, or None (null) to take each file as one document."
            )
        super().__init__(path=path)
        self.separator = separator

    def _read(self, files: Mapping[str, Path], on_bad: BadDocuments) -> Iterator[AnyDocument]:
        return (d for d in super()._read(files, on_bad) if not d.is_blank)

    def _rows(self, file: Path) -> Iterator[tuple[int, bytes]]:
        line = 1
        for piece, between in _pieces(file, self.separator):
            # a separator at the end of the file, or two in a row, do not make a document
            if piece.strip():
                yield line, piece
            line += piece.count(b"\n") + between.count(b"\n")

    def _document(self, raw: bytes, name: str) -> Document:
        return Document(decode(raw, name), name)


def _pieces(file: Path, separator: str | None) -> Iterator[tuple[bytes, bytes]]:
    """The parts between separators, each with the separator after it; one in memory at a time."""
    with opened(file) as stream:
        if separator is None:
            yield stream.read(), b""
            return
        # re.escape puts a backslash before a line feed
        escaped = re.escape(separator.encode()).replace(b"\\\n", rb"\r?\n")
        # a pattern that starts with a literal is found twice as fast: the first \r is cut off below
        pattern = re.compile(escaped.removeprefix(rb"\r?"))
        line_end = b"\r" if separator.startswith("\n") else b""
        longest = len(separator.encode()) + separator.count("\n")
        rest, searched = b"", 0
        # at least as much again as is there: text without a separator is copied a few times only
        while chunk := stream.read(max(BUFFER_BYTES, len(rest))):
            rest += chunk
            start = 0
            for match in pattern.finditer(rest, searched):
                yield rest[start : match.start()].removesuffix(line_end), match.group()
                start = match.end()
            rest = rest[start:]
            # a separator may have begun at the end of what was read
            searched = max(0, len(rest) - longest)
        yield rest, b""


class JsonLines(FileSource[bytes]):
    """Files with one JSON object a line, plain (``.jsonl``) or compressed (``.jsonl.gz``).

    A document is named by its line, counted from 1; empty lines are left out.

    Args:
        path: A file, a folder, a pattern, or a list of these (see `corpus_files`).
        column: The key whose value becomes the document; several, for a reader of several.
        reader: Makes the document of the value.
        group_column: The key whose value the figures of an evaluation are split by, such as the
            language; null is no group. None for no groups at all.
    """

    suffixes = JSON_LINES

    def __init__(
        self,
        *,
        path: Paths,
        column: str | Sequence[str],
        reader: ColumnReader,
        group_column: str | None = None,
    ) -> None:
        super().__init__(path=path)
        self.column = column
        self.reader = reader
        self.group_column = group_column

    def _rows(self, file: Path) -> Iterator[tuple[int, bytes]]:
        # bytes: text mode would end a line at a carriage return, too
        with opened(file) as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, line

    def _document(self, raw: bytes, name: str) -> AnyDocument:
        row = _json_object(decode(raw, name), name)
        group = [] if self.group_column is None else [self.group_column]
        for column in [*names_of(self.column), *group]:
            if column not in row:
                # a fault of this line alone: another one may have the column
                setting = "group_column" if column in group else "column"
                message = no_column(column, row, name, f"corpus.source.{setting}")
                raise BadDocument(message, kind="no column")
        document = self.reader(value_of(row, self.column), name)
        value = None if self.group_column is None else row[self.group_column]
        return document if value is None else replace(document, group=str(value))


class Parquet(FileSource[Mapping[str, pyarrow.Scalar]]):
    """Parquet files. A document is named by its row, counted from 0.

    Args:
        path: A file, a folder, a pattern, or a list of these (see `corpus_files`).
        column: The column whose values become documents; several, for a reader of several.
        reader: Makes the document of a value.
    """

    suffixes = PARQUET

    def __init__(self, *, path: Paths, column: str | Sequence[str], reader: ColumnReader) -> None:
        super().__init__(path=path)
        self.column = column
        self.reader = reader

    def _check(self, files: Mapping[str, Path]) -> None:
        for name, file in files.items():
            with _parquet(file) as table:
                check_column(self.column, table.schema_arrow.names, printable(name))

    def _rows(self, file: Path) -> Iterator[tuple[int, Mapping[str, pyarrow.Scalar]]]:
        columns = names_of(self.column)
        number = 0
        with _parquet(file) as table:
            for batch in table.iter_batches(PARQUET_BATCH_ROWS, columns=columns):
                for scalars in zip(*map(batch.column, columns), strict=True):
                    yield number, dict(zip(columns, scalars, strict=True))
                    number += 1

    def _document(self, raw: Mapping[str, pyarrow.Scalar], name: str) -> AnyDocument:
        try:
            values = {column: scalar.as_py() for column, scalar in raw.items()}
        except UnicodeDecodeError as error:
            # Parquet's string type is not checked when it is written
            raise BadDocument(
                f"{name}: not UTF-8 at byte {error.start} ({error.reason}). Write the "
                "file anew from decoded text, or drop the row.",
                kind="not UTF-8",
            ) from error
        return self.reader(value_of(values, self.column), name)


def _parquet(file: Path) -> pyarrow.parquet.ParquetFile:
    place = file
    if compression_of(file) is not None:
        # Parquet is read from its end: a compressed file has to be in memory as a whole
        with opened(file) as stream:
            place = pyarrow.BufferReader(stream.read())
    try:
        return pyarrow.parquet.ParquetFile(place)
    except pyarrow.ArrowInvalid as error:
        raise CorpusError(f"{file}: not a Parquet file ({error}).") from error


def _conversion(line: str, name: str) -> str:
    """How to convert other formats to JSON lines."""
    file = name.rpartition(":")[0]
    if line.lstrip().startswith("["):
        return f"; of one array of them, jq -c '.[]' {file} > rows.jsonl makes that"
    if ".csv" in file or ".tsv" in file:
        return "; of a table, pandas.read_csv(...).to_parquet(...) makes a file for corpus=parquet"
    return ""


def _json_object(line: str, name: str) -> dict[str, object]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise BadDocument(
            f"{name}: not JSON: {error.msg} at character {error.pos}, in {shortened(line)}. "
            f"Expected one whole JSON object a line{_conversion(line, name)}.",
            kind="not JSON",
        ) from error
    except (ValueError, RecursionError) as error:
        # a number of thousands of digits, or lists nested thousands deep
        raise BadDocument(
            f"{name}: JSON that Python does not read: {error}. Drop the line.", kind="not JSON"
        ) from error
    if not isinstance(row, dict):
        raise BadDocument(
            f"{name}: expected a JSON object, found {type(row).__name__}: {shortened(row)}.",
            kind="not JSON",
        )
    return row
