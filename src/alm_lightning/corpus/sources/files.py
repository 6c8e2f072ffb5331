"""Documents from files: texts, JSON lines, Parquet; plain or compressed, one file or many."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow
import pyarrow.parquet

from alm_lightning.corpus.bad_documents import BadDocuments, Refuse, attempt
from alm_lightning.corpus.document import BadDocument, CorpusError, Document, decode, shortened
from alm_lightning.corpus.sources.columns import ColumnReader, check_column, names_of, value_of
from alm_lightning.corpus.sources.compression import BUFFER_BYTES, compression_of, opened
from alm_lightning.corpus.sources.paths import Paths, corpus_files, shown_path
from alm_lightning.corpus.sources.source import AnyDocument, at_least_one

JSON_LINES = (".jsonl", ".ndjson", ".json")
PARQUET = (".parquet",)
TEXTS = (".txt", ".md")
"""What the names of files of a kind end in, where a folder is given. `TextFile` takes any."""
PARQUET_BATCH_ROWS = 256
"""Rows in memory at once: enough to be quick, few enough for rows of book length."""


class TextFile:
    """Text files in UTF-8, whole or cut into documents."""

    def __init__(self, *, path: Paths, separator: str | None) -> None:
        """Sets up the source.

        Args:
            path: A file, a folder, a pattern, or a list of these (see `corpus_files`).
            separator: The string between two documents, as three line ends; None for one document
                a file. Its line ends stand for those of Windows as well.

        Raises:
            ValueError: The separator is empty.
        """
        if separator == "":
            raise ValueError(
                "separator is the empty string, which is everywhere. Give the string between two "
                "documents, or null to take each file as one document."
            )
        self.path = path
        self.separator = separator

    def documents(self, on_bad: BadDocuments | None = None) -> Iterator[AnyDocument]:
        """The documents, each named by the line that it starts in; blank ones are left out."""
        on_bad = on_bad or Refuse()
        files = corpus_files(self.path)
        return at_least_one(self._read(files, on_bad), shown_path(self.path), on_bad)

    def _read(self, files: Mapping[str, Path], on_bad: BadDocuments) -> Iterator[Document]:
        for file_name, file in files.items():
            line = 1
            for piece, between in _pieces(file, self.separator):
                # a separator at the end of the file, or two in a row, do not make a document
                if piece.strip():
                    document = attempt(on_bad, _document, piece, f"{file_name}:{line}")
                    if document is not None and not document.is_blank:
                        yield document
                line += piece.count(b"\n") + between.count(b"\n")


def _document(raw: bytes, name: str) -> Document:
    return Document(decode(raw, name), name)


def _pieces(file: Path, separator: str | None) -> Iterator[tuple[bytes, bytes]]:
    """What lies between separators, and the separator after it; a piece in memory at a time."""
    with opened(file) as stream:
        if separator is None:
            yield stream.read(), b""
            return
        # re.escape puts a backslash before a line end
        pattern = re.compile(re.escape(separator.encode()).replace(b"\\\n", rb"\r?\n"))
        longest = len(separator.encode()) + separator.count("\n")
        rest, searched = b"", 0
        # as much again as is there: what has no separator in it is copied twice, not on and on
        while chunk := stream.read(max(BUFFER_BYTES, len(rest))):
            rest += chunk
            start = 0
            for found in pattern.finditer(rest, searched):
                yield rest[start : found.start()], found.group()
                start = found.end()
            rest = rest[start:]
            # the next separator may have begun already
            searched = max(0, len(rest) - longest)
        yield rest, b""


class JsonLines:
    """Files with one JSON object a line, plain (``.jsonl``) or compressed (``.jsonl.gz``)."""

    def __init__(
        self,
        *,
        path: Paths,
        column: str | Sequence[str],
        reader: ColumnReader,
        group_column: str | None = None,
    ) -> None:
        """Sets up the source.

        Args:
            path: A file, a folder, a pattern, or a list of these (see `corpus_files`).
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
        files = corpus_files(self.path, suffixes=JSON_LINES)
        return at_least_one(self._read(files, on_bad), shown_path(self.path), on_bad)

    def _read(self, files: Mapping[str, Path], on_bad: BadDocuments) -> Iterator[AnyDocument]:
        for file_name, file in files.items():
            # bytes: text mode would end a line at a carriage return, too
            with opened(file) as lines:
                for number, line in enumerate(lines, start=1):
                    if line.strip():
                        document = attempt(on_bad, self._document, line, f"{file_name}:{number}")
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
    """Parquet files."""

    def __init__(self, *, path: Paths, column: str | Sequence[str], reader: ColumnReader) -> None:
        """Sets up the source.

        Args:
            path: A file, a folder, a pattern, or a list of these (see `corpus_files`).
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
            CorpusError: A file is not Parquet.
        """
        files = corpus_files(self.path, suffixes=PARQUET)
        for name, file in files.items():
            with _parquet(file) as table:
                check_column(self.column, table.schema_arrow.names, name)
        on_bad = on_bad or Refuse()
        return at_least_one(self._read(files, on_bad), shown_path(self.path), on_bad)

    def _read(self, files: Mapping[str, Path], on_bad: BadDocuments) -> Iterator[AnyDocument]:
        columns = names_of(self.column)
        for file_name, file in files.items():
            number = 0
            with _parquet(file) as table:
                for batch in table.iter_batches(PARQUET_BATCH_ROWS, columns=columns):
                    for scalars in zip(*map(batch.column, columns), strict=True):
                        row = dict(zip(columns, scalars, strict=True))
                        document = attempt(on_bad, self._document, row, f"{file_name}:{number}")
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


def _parquet(file: Path) -> pyarrow.parquet.ParquetFile:
    place = file
    if compression_of(file) is not None:
        # Parquet is read from its end on: a compressed stream has to be there as a whole
        with opened(file) as stream:
            place = pyarrow.BufferReader(stream.read())
    try:
        return pyarrow.parquet.ParquetFile(place)
    except pyarrow.ArrowInvalid as error:
        raise CorpusError(f"{file}: not a Parquet file ({error}).") from error


def _conversion(line: str, name: str) -> str:
    """How to make lines of JSON of what else people have."""
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
