"""Where the documents of a corpus are kept while it is used: in memory, or in a file of Arrow's."""

import os
import tempfile
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import pyarrow
from jaxtyping import Int

from alm_lightning.corpus.chat import Chat, Message
from alm_lightning.corpus.document import Document
from alm_lightning.corpus.sources.source import AnyDocument

SCHEMA = pyarrow.schema(
    [
        ("name", pyarrow.string()),
        # null for a text, whose only content it is
        ("roles", pyarrow.list_(pyarrow.string())),
        ("contents", pyarrow.list_(pyarrow.large_string())),
    ]
)
BATCH_BYTES = 1 << 20
"""Text of one batch of a file: enough to be quick, little to hold while it is written."""


@runtime_checkable
class Shelf(Protocol):
    """Keeps documents, and gives some of them out by number: `InMemory`, `OnDisk`."""

    def keep(self, documents: Iterable[AnyDocument]) -> Sequence[AnyDocument]:
        """All of the documents, in their order."""
        ...

    def choose(
        self, kept: Sequence[AnyDocument], indices: Int[np.ndarray, " document"]
    ) -> Sequence[AnyDocument]:
        """Some of what is kept, in the order of the indices."""
        ...


class InMemory:
    """Documents as they are: for a corpus of some hundred megabytes at most."""

    def keep(self, documents: Iterable[AnyDocument]) -> list[AnyDocument]:
        """All of the documents.

        Args:
            documents: Read to the end.

        Returns:
            A list.
        """
        return list(documents)

    def choose(
        self, kept: Sequence[AnyDocument], indices: Int[np.ndarray, " document"]
    ) -> list[AnyDocument]:
        """Some of what is kept.

        Args:
            kept: From `keep`.
            indices: Which ones.

        Returns:
            A list, in the order of the indices.
        """
        return [kept[index] for index in indices.tolist()]


class OnDisk:
    """Documents in a file of Arrow's, mapped into memory: for a corpus of any size.

    The file is named by the hash of what is in it, so that runs on one corpus share one file.
    """

    def __init__(self, *, folder: str):
        """Sets up the shelf.

        Args:
            folder: Where the files go; ``~`` is spelled out. What lies there may be deleted, as
                long as no run is using it.
        """
        self.folder = Path(folder).expanduser()

    def keep(self, documents: Iterable[AnyDocument]) -> "StoredDocuments":
        """All of the documents, written while they are read.

        Args:
            documents: Read to the end; one batch of them is in memory at a time.

        Returns:
            The documents, read from the file one by one.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        handle, unfinished = tempfile.mkstemp(dir=self.folder, suffix=".unfinished")
        os.close(handle)
        try:
            digest = _write(documents, unfinished)
            path = self.folder / f"{digest}.arrow"
            # in one go: whoever finds the file finds all of it
            Path(unfinished).replace(path)
        finally:
            Path(unfinished).unlink(missing_ok=True)
        return StoredDocuments(path)

    def choose(
        self, kept: Sequence[AnyDocument], indices: Int[np.ndarray, " document"]
    ) -> "ChosenDocuments":
        """Some of what is kept, without reading it.

        Args:
            kept: From `keep`.
            indices: Which ones.

        Returns:
            A view, in the order of the indices.
        """
        return ChosenDocuments(kept, indices)


class StoredDocuments(Sequence[AnyDocument]):
    """The documents of a file that `OnDisk` wrote. Only what is asked for is read."""

    def __init__(self, path: Path):
        """Maps the file.

        Args:
            path: The file.
        """
        self.path = path
        reader = pyarrow.ipc.open_file(pyarrow.memory_map(str(path)))
        self._batches = [reader.get_batch(index) for index in range(reader.num_record_batches)]
        sizes = [batch.num_rows for batch in self._batches]
        self._starts = np.cumsum([0, *sizes]).tolist()

    def __len__(self) -> int:
        """Number of documents."""
        return self._starts[-1]

    def __getitem__(self, index: int) -> AnyDocument:
        """One document, by its place in the corpus."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"{self.path} has {len(self)} documents; there is no {index}.")
        index %= len(self)
        batch = bisect_right(self._starts, index) - 1
        row = index - self._starts[batch]
        name, roles, contents = (column[row].as_py() for column in self._batches[batch].columns)
        if roles is None:
            return Document(contents[0], name)
        messages = tuple(Message(role, text) for role, text in zip(roles, contents, strict=True))
        return Chat(messages, name)

    def __reduce__(self) -> tuple:
        """Another process maps the file for itself."""
        return StoredDocuments, (self.path,)


class ChosenDocuments(Sequence[AnyDocument]):
    """Some documents of a sequence, in an order of their own."""

    def __init__(self, documents: Sequence[AnyDocument], indices: Int[np.ndarray, " document"]):
        """Sets up the view.

        Args:
            documents: All of them.
            indices: Which ones.
        """
        self.documents, self.indices = documents, indices

    def __len__(self) -> int:
        """Number of documents."""
        return len(self.indices)

    def __getitem__(self, index: int) -> AnyDocument:
        """One document."""
        return self.documents[int(self.indices[index])]


def _write(documents: Iterable[AnyDocument], path: str) -> str:
    """Writes the file, and gives the hash of what is in it."""
    digest = blake2b(digest_size=16)
    with pyarrow.OSFile(path, "wb") as file, pyarrow.ipc.new_file(file, SCHEMA) as writer:
        for rows in _batches(documents):
            for row in rows:
                digest.update(repr(row).encode("utf-8"))
            columns = zip(*rows, strict=True)
            arrays = [pyarrow.array(c, f.type) for c, f in zip(columns, SCHEMA, strict=True)]
            writer.write_batch(pyarrow.record_batch(arrays, schema=SCHEMA))
    return digest.hexdigest()


def _batches(documents: Iterable[AnyDocument]) -> Iterator[list[tuple]]:
    rows, size = [], 0
    for document in documents:
        rows.append((document.name, *parts(document)))
        size += sum(map(len, rows[-1][2]))
        if size >= BATCH_BYTES:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows


def parts(document: AnyDocument) -> tuple[list[str] | None, list[str]]:
    """What a document consists of.

    Args:
        document: A text or a chat.

    Returns:
        Roles and contents of a chat's messages; None and the text of a text.
    """
    if isinstance(document, Document):
        return None, [document.text]
    return [m.role for m in document.messages], [m.content for m in document.messages]
