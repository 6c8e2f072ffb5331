"""Files of paired windows: each written in one go, with its hash, and mapped into memory."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alm_lightning.data.arrow_files import (
    digest_of,
    list_column,
    list_values,
    note_path,
    number_column,
    number_values,
    read_arrays,
    write_arrays,
    write_note,
)
from alm_lightning.data.windows import Window, WindowTokens

ARRAYS = {
    "student_ids": np.int32,
    "teacher_ids": np.int32,
    "student_chunk_ids": np.int32,
    "teacher_chunk_ids": np.int32,
    "student_targets": np.bool_,
    "chunk_is_structure": np.bool_,
    "chunk_ends_run": np.bool_,
    "outside_bytes": np.int64,
}
"""Columns of arrays, one value of a window after another; earlier files have some more."""
NUMBERS = {
    "num_bytes": np.int64,
    "rewritten_bytes": np.int64,
    "opens": np.bool_,
    "ends_document": np.bool_,
    "document": np.int64,
}
"""Columns of one value a window."""
SHARES = "shares"
"""The column that files of several teachers have besides: theirs of each window."""


@dataclass(frozen=True)
class ShardNote:
    """What is written beside a shard, after it: a shard without its note is unfinished.

    Attributes:
        documents: Number of documents that were paired.
        windows: Number of windows that they gave.
        size: Bytes of the shard's file.
        digest: Hash of the shard's file.
        bad: Message and kind of each document that could not be paired.
    """

    documents: int
    windows: int
    size: int
    digest: str
    bad: tuple[tuple[str, str], ...]

    @classmethod
    def read(cls, path: Path) -> "ShardNote":
        """The note of a shard.

        Args:
            path: The shard.

        Returns:
            What was written.

        Raises:
            ValueError: The note is damaged.
        """
        try:
            note = json.loads(note_path(path).read_bytes())
            return cls(**note | {"bad": tuple(map(tuple, note["bad"]))})
        except (ValueError, TypeError, KeyError) as error:
            raise damaged(path, f"its note can't be read: {error}") from error


def write_shard(
    path: Path,
    windows: Sequence[Window],
    *,
    num_documents: int,
    bad: Sequence[tuple[str, str]],
) -> ShardNote:
    """Writes a shard and its note.

    Args:
        path: The shard's file.
        windows: The windows, in order; of several teachers, those of each are beside each other.
        num_documents: How many documents they are of.
        bad: Message and kind of each document that could not be paired.

    Returns:
        The note.
    """
    rows = [_row(view) for window in windows for view in window.views]
    arrays = {n: list_column([row[n] for row in rows], dtype) for n, dtype in ARRAYS.items()}
    arrays |= {n: number_column([row[n] for row in rows], dtype) for n, dtype in NUMBERS.items()}
    if any(window.others for window in windows):
        shares = [np.array(w.shares) for window in windows for w in window.views]
        arrays[SHARES] = list_column(shares, np.float64)
    size, digest = write_arrays(path, arrays)
    note = ShardNote(num_documents, len(windows), size, digest, tuple(bad))
    write_note(path, asdict(note))
    return note


def is_finished(path: Path) -> bool:
    """Whether a shard has been written to its end.

    Args:
        path: The shard's file.

    Returns:
        Whether it has its note.
    """
    return note_path(path).is_file()


class Shard(Sequence[Window]):
    """The windows of one file; their arrays are views of it, and nothing is read before its use."""

    def __init__(self, path: Path, views: int = 1):
        """Maps the file.

        Args:
            path: The shard's file, finished and verified.
            views: How many teachers each window has.
        """
        self.path, self.views = path, views
        batch = read_arrays(path)
        self._arrays: dict[str, tuple[Any, Any]] = {
            name: list_values(batch.column(name), dtype) for name, dtype in ARRAYS.items()
        }
        self._shares = None
        if SHARES in batch.schema.names:
            self._shares = list_values(batch.column(SHARES), np.float64)
        # plain numbers of Python's, as a window that was just paired has them
        self._numbers = {
            n: number_values(batch.column(n), dtype).tolist() for n, dtype in NUMBERS.items()
        }
        self._length = batch.num_rows // views

    def __len__(self) -> int:
        """Number of windows."""
        return self._length

    # nobody slices a shard
    def __getitem__(self, index: int) -> Window:  # type: ignore[override]
        """One window."""
        first, *others = range(index * self.views, (index + 1) * self.views)
        if self._shares is None:
            return self._window(first)
        offsets, values = self._shares
        shares = tuple(values[offsets[first] : offsets[first + 1]].tolist())
        return self._window(first).taught_by([self._window(n) for n in others], shares)

    def _window(self, index: int) -> Window:
        """One window of one teacher."""
        arrays = {
            name: values[offsets[index] : offsets[index + 1]]
            for name, (offsets, values) in self._arrays.items()
        }
        return Window(
            student=WindowTokens(arrays.pop("student_ids"), arrays.pop("student_chunk_ids")),
            teacher=WindowTokens(arrays.pop("teacher_ids"), arrays.pop("teacher_chunk_ids")),
            **arrays,
            **{name: column[index] for name, column in self._numbers.items()},
        )

    def __reduce__(self) -> tuple[type["Shard"], tuple[Path, int]]:
        """Another process maps the file for itself."""
        return Shard, (self.path, self.views)


def verify(path: Path) -> ShardNote:
    """Refuses a shard that is not what was written.

    Args:
        path: The shard's file.

    Returns:
        Its note.

    Raises:
        ValueError: The file is gone, cut off or changed.
    """
    note = ShardNote.read(path)
    if not path.is_file():
        raise damaged(path, "it is gone")
    size = path.stat().st_size
    if size != note.size:
        raise damaged(path, f"it has {size:,} bytes, and {note.size:,} were written")
    if digest_of(path) != note.digest:
        raise damaged(path, "its content is not what was written")
    return note


def damaged(path: Path, what: str) -> ValueError:
    """The error for a cache that can't be used.

    Args:
        path: The shard's file.
        what: What is wrong with it.

    Returns:
        The error.
    """
    return ValueError(
        f"the cache of paired windows is damaged: {path}: {what}. Delete the folder {path.parent}, "
        "and the next run pairs the documents anew."
    )


def _row(window: Window) -> dict[str, Any]:
    """The values of a window, by column."""
    student, teacher = window.student, window.teacher
    return vars(window) | {
        "student_ids": student.ids,
        "student_chunk_ids": student.chunk_ids,
        "teacher_ids": teacher.ids,
        "teacher_chunk_ids": teacher.chunk_ids,
    }
