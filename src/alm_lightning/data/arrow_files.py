"""Files of arrays that are written in one go and mapped into memory, each with a note beside it."""

import json
import os
from collections.abc import Mapping, Sequence
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
from jaxtyping import Shaped

Column = tuple[Shaped[np.ndarray, " offset"], Shaped[np.ndarray, " value"]]
"""Where the values of each row begin, and after the last one end; and all values."""


def list_column(values: Sequence[Shaped[np.ndarray, " _"]], dtype: type) -> pyarrow.LargeListArray:
    """A column of arrays, one a row.

    Args:
        values: The array of each row.
        dtype: Of all of them.

    Returns:
        The column; bits of booleans are bytes, which can be looked at in place.
    """
    # 32 bits would wrap round in silence in a file of 2 GiB of bytes
    offsets = np.cumsum([0, *map(len, values)], dtype=np.int64)
    joined = np.concatenate(values) if values else np.empty(0, dtype)
    return pyarrow.LargeListArray.from_arrays(
        pyarrow.array(offsets), pyarrow.array(joined.astype(dtype, copy=False).view(_plain(dtype)))
    )


def number_column(values: Sequence[float | int], dtype: type) -> pyarrow.Array:
    """A column of one number a row."""
    return pyarrow.array(np.array(values, dtype).view(_plain(dtype)))


def list_values(column: pyarrow.LargeListArray, dtype: type) -> Column:
    """What `list_column` was made of, without a copy."""
    values = column.values.to_numpy(zero_copy_only=True).view(dtype)
    return column.offsets.to_numpy(), values


def number_values(column: pyarrow.Array, dtype: type) -> Shaped[np.ndarray, " row"]:
    """What `number_column` was made of."""
    return column.to_numpy().view(dtype)


def write_arrays(path: Path, columns: Mapping[str, pyarrow.Array]) -> tuple[int, str]:
    """Writes a file, which is whole or not there.

    Args:
        path: The file.
        columns: By name, as many rows in each.

    Returns:
        Its size in bytes, and its hash.
    """
    batch = pyarrow.record_batch(dict(columns))
    partial = unfinished(path)
    with (
        pyarrow.OSFile(str(partial), "wb") as file,
        pyarrow.ipc.new_file(file, batch.schema) as writer,
    ):
        writer.write_batch(batch)
    size, digest = partial.stat().st_size, digest_of(partial)
    partial.replace(path)
    return size, digest


def read_arrays(path: Path) -> pyarrow.RecordBatch:
    """The columns of a file that `write_arrays` wrote, mapped and not read."""
    return pyarrow.ipc.open_file(pyarrow.memory_map(str(path))).get_batch(0)


def note_path(path: Path) -> Path:
    """Where the note of a file is."""
    return path.with_suffix(".json")


def write_note(path: Path, note: Mapping[str, Any]) -> None:
    """Writes the note of a file, after it: a file without one is unfinished."""
    partial = unfinished(note_path(path))
    partial.write_text(json.dumps(note), encoding="utf-8")
    partial.replace(note_path(path))


def unfinished(path: Path) -> Path:
    """Where a file is until it is whole."""
    # several processes may write one shard, and none sees another's half of it
    return path.with_name(f"{path.name}.{os.getpid()}.unfinished")


def digest_of(path: Path) -> str:
    """Hash of a file."""
    with path.open("rb") as file:
        return file_digest(file, lambda: blake2b(digest_size=16)).hexdigest()


def _plain(dtype: type) -> type:
    return np.uint8 if dtype is np.bool_ else dtype
