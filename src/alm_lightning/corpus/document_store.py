"""Where the documents of a corpus are stored while they are used: in memory or in an Arrow file."""

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
import pyarrow
from jaxtyping import Int

from alm_lightning.corpus.chat import Chat, Message
from alm_lightning.corpus.document import Document, printable
from alm_lightning.corpus.sources.source import AnyDocument

SCHEMA = pyarrow.schema(
    [
        ("name", pyarrow.string()),
        # null for a text, whose only content it is
        ("roles", pyarrow.list_(pyarrow.string())),
        ("contents", pyarrow.list_(pyarrow.large_string())),
        ("group", pyarrow.string()),
    ]
)
BATCH_BYTES = 1 << 20
"""Text in one record batch of a file, which is all that is in memory while it is written."""

Row: TypeAlias = tuple[str, list[str] | None, list[str], str | None]


@runtime_checkable
class DocumentStore(Protocol):
    """Stores the documents of a corpus: `InMemory`, `OnDisk`."""

    def write(self, documents: Iterable[AnyDocument]) -> Sequence[AnyDocument]:
        """Reads the documents to the end and returns them as a sequence, in their order."""
        ...


class InMemory:
    """Documents as Python objects: for a corpus of a few hundred megabytes at most."""

    def write(self, documents: Iterable[AnyDocument]) -> list[AnyDocument]:
        """A list of the documents."""
        return list(documents)


class OnDisk:
    """Documents in a memory-mapped Arrow file: for a corpus of any size.

    The file is named by the hash of its content, so that runs on one corpus share one file.

    Args:
        folder: Where the files are; ``~`` is expanded.
    """

    # pyarrow and not datasets.Dataset, which reads single rows four times slower and whose writer
    # counts its batches in rows, not in bytes
    def __init__(self, *, folder: str):
        self.folder = Path(folder).expanduser()

    def write(self, documents: Iterable[AnyDocument]) -> "StoredDocuments":
        """Writes the documents to a file, if there is none of the same content, and maps it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        handle, unfinished = tempfile.mkstemp(dir=self.folder, suffix=".unfinished")
        os.close(handle)
        try:
            digest = _write_file(documents, unfinished)
            path = self.folder / f"{digest}.arrow"
            # atomic: another process never sees a part of a file under its final name
            Path(unfinished).replace(path)
        finally:
            Path(unfinished).unlink(missing_ok=True)
        return StoredDocuments(path)


class StoredDocuments(Sequence[AnyDocument]):
    """The documents of a file that `OnDisk` wrote; each is read when it is used.

    Args:
        path: The file, which each process maps for itself.
    """

    def __init__(self, path: Path):
        self.path = path
        table = pyarrow.ipc.open_file(pyarrow.memory_map(str(path))).read_all()
        self._columns, self._length = table.columns, int(table.num_rows)

    def __len__(self) -> int:
        """Number of documents."""
        return self._length

    def __getitem__(self, index: int) -> AnyDocument:  # type: ignore[override]  # no slices
        """One document, by its position in the corpus."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"{self.path} has {len(self)} documents; there is no {index}.")
        row = (column[index % len(self)].as_py() for column in self._columns)
        name, roles, contents, group = row
        if roles is None:
            return Document(contents[0], name, group)
        messages = tuple(Message(role, text) for role, text in zip(roles, contents, strict=True))
        return Chat(messages, name, group)

    def __reduce__(self) -> tuple[type, tuple[Path]]:
        """Pickles the path alone."""
        return StoredDocuments, (self.path,)


class SelectedDocuments(Sequence[AnyDocument]):
    """Some documents of a sequence, in the order of the indices; none is read before it is used."""

    def __init__(self, documents: Sequence[AnyDocument], indices: Int[np.ndarray, " document"]):
        self.documents, self.indices = documents, indices

    def __len__(self) -> int:
        """Number of documents."""
        return len(self.indices)

    def __getitem__(self, index: int) -> AnyDocument:  # type: ignore[override]  # no slices
        """One document."""
        return self.documents[int(self.indices[index])]


def select(
    documents: Sequence[AnyDocument], indices: Int[np.ndarray, " document"]
) -> Sequence[AnyDocument]:
    """Documents by index, in the order of the indices: of a list a list, else a view."""
    if isinstance(documents, list):
        return [documents[index] for index in indices.tolist()]
    return SelectedDocuments(documents, indices)


def _write_file(documents: Iterable[AnyDocument], path: str) -> str:
    """Writes the file and returns the hash of its content."""
    digest = blake2b(digest_size=16)
    with pyarrow.OSFile(path, "wb") as file, pyarrow.ipc.new_file(file, SCHEMA) as writer:
        for rows in _batches(documents):
            for row in rows:
                digest.update(repr(row).encode("utf-8"))
            columns = zip(*rows, strict=True)
            arrays = [pyarrow.array(c, f.type) for c, f in zip(columns, SCHEMA, strict=True)]
            writer.write_batch(pyarrow.record_batch(arrays, schema=SCHEMA))
    return digest.hexdigest()


def _batches(documents: Iterable[AnyDocument]) -> Iterator[list[Row]]:
    rows: list[Row] = []
    size = 0
    for document in documents:
        roles, contents = roles_and_contents(document)
        # Arrow takes no lone surrogates, as a name may have from a source of one's own
        rows.append((printable(document.name), roles, contents, document.group))
        size += sum(map(len, contents))
        if size >= BATCH_BYTES:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows


def document_hash(document: AnyDocument, *, continues: bool = False) -> int:
    """A number for what a document says, the same in every process and run.

    Args:
        document: The document; its name does not count.
        continues: Whether more of the same document follows.

    Returns:
        64 bits with a sign, never 0.
    """
    content = repr((*roles_and_contents(document), continues)).encode("utf-8")
    value = int.from_bytes(blake2b(content, digest_size=8).digest(), "little", signed=True)
    return value or 1


def roles_and_contents(document: AnyDocument) -> tuple[list[str] | None, list[str]]:
    """Roles and contents of a chat's messages; of a text None, and the text alone."""
    if isinstance(document, Document):
        return None, [document.text]
    return [m.role for m in document.messages], [m.content for m in document.messages]
