"""Files of a store: the scores of some sequences, one a row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow
from jaxtyping import Int

from alm_lightning.data.arrow_files import (
    list_column,
    list_values,
    number_column,
    number_values,
    read_arrays,
    write_arrays,
)
from alm_lightning.scores.kinds import DTYPES, HIDDEN, NEXT_BYTE, TOP_K, Kinds
from alm_lightning.scores.sequences import NextBytes, TokenScores

ONE_EACH = ("logprobs", "boundary_logprobs")
"""Columns with one number a token."""


@dataclass(frozen=True)
class Scored:
    """A sequence and what was said of it.

    Attributes:
        document: Hash of what it is the text of: `Window.document`.
        ids: The teacher's tokens, start and end tokens included.
        scores: What the teacher said.
    """

    document: int
    ids: Int[np.ndarray, " pos"]
    scores: TokenScores


def columns_of(kinds: Kinds) -> dict[str, type]:
    """Columns of arrays of a shard, with their types."""
    loose = DTYPES[kinds.dtype]
    columns: dict[str, type] = {
        "ids": np.int32,
        "logprobs": np.float32,
        "boundary_logprobs": np.float32,
    }
    if TOP_K in kinds:
        # what they leave to all others is a small difference
        columns |= {"top_ids": np.int32, "top_logprobs": np.float32}
    if HIDDEN in kinds:
        columns["hidden"] = loose
    if NEXT_BYTE in kinds:
        columns |= {"sizes": np.uint16, "symbols": np.uint16, "shares": loose}
    return columns


def write_shard(path: Path, rows: Sequence[Scored], kinds: Kinds) -> tuple[int, str]:
    """Writes a shard, which is whole or not there.

    Args:
        path: The file.
        rows: The sequences.
        kinds: What is kept of each.

    Returns:
        Its size in bytes, and its hash.

    Raises:
        ValueError: A number is too large for the store's type.
    """
    flat = [_flat(row) for row in rows]
    columns: dict[str, pyarrow.Array] = {
        "document": number_column([row.document for row in rows], np.int64)
    }
    for name, dtype in columns_of(kinds).items():
        values = [_narrowed(row[name], dtype, name) for row in flat]
        columns[name] = list_column(values, dtype)
    return write_arrays(path, columns)


def _flat(row: Scored) -> Mapping[str, np.ndarray]:
    """All numbers of a sequence in one dimension each."""
    found = {"ids": row.ids}
    for name, value in vars(row.scores).items():
        if isinstance(value, NextBytes):
            found |= vars(value)
        elif value is not None:
            found[name] = value.reshape(-1)
    return found


def _narrowed(values: np.ndarray, dtype: type, name: str) -> np.ndarray:
    if dtype != np.float16:
        return values.astype(dtype)
    with np.errstate(over="ignore"):
        found = values.astype(dtype)
    if (np.isinf(found) & np.isfinite(values)).any():
        largest = np.abs(values[np.isfinite(values)]).max()
        raise ValueError(
            f"{name} has values up to {largest:g}, and float16 ends at 65504. Take "
            "scores.dtype=float32 and another scores.path."
        )
    return found


class Shard:
    """The sequences of one file; its arrays are views of it, and nothing is read before its use.

    Args:
        path: The file.
        kinds: What it holds of each sequence.
    """

    def __init__(self, path: Path, kinds: Kinds):
        batch = read_arrays(path)
        self._columns = {n: list_values(batch.column(n), t) for n, t in columns_of(kinds).items()}
        self.documents: Int[np.ndarray, " row"] = number_values(batch.column("document"), np.int64)

    def __len__(self) -> int:
        """Number of sequences."""
        return len(self.documents)

    def ids(self, row: int) -> Int[np.ndarray, " pos"]:
        """The tokens of a sequence."""
        return self._values("ids", row)

    def numbers(self, name: str, row: int, num_tokens: int) -> np.ndarray:
        """Numbers of the first tokens of a sequence, one or several each.

        Args:
            name: The column.
            row: The sequence.
            num_tokens: How many tokens.

        Returns:
            As they are stored.
        """
        values, length = self._values(name, row), len(self.ids(row))
        each = len(values) // length
        found = values[: num_tokens * each]
        return found if name in ONE_EACH else found.reshape(-1, each)

    def next_bytes(self, row: int, num_prefixes: int) -> NextBytes:
        """The distributions after the first prefixes of a sequence."""
        sizes = self._values("sizes", row)[:num_prefixes].astype(np.int64)
        count = int(sizes.sum())
        symbols, shares = (self._values(name, row)[:count] for name in ("symbols", "shares"))
        return NextBytes(sizes, symbols.astype(np.int64), shares.astype(np.float32))

    def _values(self, name: str, row: int) -> np.ndarray:
        offsets, values = self._columns[name]
        return values[offsets[row] : offsets[row + 1]]
