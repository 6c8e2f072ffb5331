"""From windows to tensors: the only meeting of text and torch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from alm_lightning.data.batch import DistillBatch
from alm_lightning.data.windows import Window
from alm_lightning.shapes import NO_CHUNK
from alm_lightning.tokenization.view import TokenizerView

NUM_EXTRA = 2
"""Tokens that a window may need beyond its content: one before it, one after it."""


@dataclass(frozen=True)
class Side:
    """One tokenizer's structure around content: a token before it, an EOS after it.

    Attributes:
        start_id: The token before the content, which the first content token is predicted from.
        eos_id: The token that ends a document.
        pad_id: The token that fills a row up; nothing sees it.
    """

    start_id: int
    eos_id: int
    pad_id: int

    @classmethod
    def of(cls, view: TokenizerView) -> "Side":
        """The structure that a tokenizer asks for.

        Args:
            view: The tokenizer. One without a pad token pads with its EOS, which is safe: padding
                is told by masks here, never by ids.

        Returns:
            Its side.
        """
        eos_id = view.id_of("eos")
        return cls(view.start_id, eos_id, view.roles.get("pad", eos_id))


class Collator:
    """Windows of both sides, with BOS and EOS, padded and split into micro-batches.

    The EOS of both sides is one chunk: a student must learn to stop. A BOS is in no chunk.
    """

    def __init__(self, *, student: TokenizerView, teacher: TokenizerView, micro_batch_size: int):
        """Sets up the collator.

        Args:
            student: The student's tokenizer.
            teacher: The teacher's tokenizer.
            micro_batch_size: Rows of one forward pass; an optimizer step takes as many as it needs.
        """
        if micro_batch_size < 1:
            raise ValueError(f"micro_batch_size is {micro_batch_size}: expected at least 1 row.")
        self.student = Side.of(student)
        self.teacher = Side.of(teacher)
        self.micro_batch_size = micro_batch_size

    def __call__(self, rows: Sequence[Window]) -> list[DistillBatch]:
        """The micro-batches of one optimizer step.

        Args:
            rows: The windows of the step.

        Returns:
            Batches of at most `micro_batch_size` rows.
        """
        size = self.micro_batch_size
        return [self.batch(rows[start : start + size]) for start in range(0, len(rows), size)]

    def batch(self, rows: Sequence[Window]) -> DistillBatch:
        """One batch of all rows.

        Args:
            rows: The windows.

        Returns:
            The batch.
        """
        student = [_row(self.student, row.student_ids, row.student_chunk_ids, row) for row in rows]
        teacher = [_row(self.teacher, row.teacher_ids, row.teacher_chunk_ids, row) for row in rows]
        chunks = [np.arange(row.num_chunks + row.ends_document) >= row.num_chunks for row in rows]
        return DistillBatch(
            **_padded("student", student, self.student.pad_id),
            **_padded("teacher", teacher, self.teacher.pad_id),
            chunk_mask=_stack([np.ones(len(chunk), dtype=bool) for chunk in chunks], False),
            chunk_is_structure=_stack(chunks, False),
            num_bytes=torch.tensor([row.num_bytes for row in rows]),
        )


def _row(
    side: Side,
    ids: Int[np.ndarray, " pos"],
    chunk_ids: Int[np.ndarray, " pos"],
    row: Window,
) -> dict[str, np.ndarray]:
    """One side of one row, with its special tokens."""
    suffix = (side.eos_id,) if row.ends_document else ()
    after = len(suffix)
    return {
        "ids": np.concatenate([[side.start_id], ids, suffix]).astype(np.int64),
        "mask": np.ones(1 + len(ids) + after, dtype=bool),
        "chunk_ids": np.concatenate([[NO_CHUNK], chunk_ids, [row.num_chunks] * after]).astype(
            np.int64
        ),
        "content": np.concatenate([[False], [True] * len(ids), [False] * after]).astype(bool),
    }


def _padded(side: str, rows: Sequence[dict[str, np.ndarray]], pad_id: int) -> dict[str, Tensor]:
    fill = {"ids": pad_id, "mask": False, "chunk_ids": NO_CHUNK, "content": False}
    return {f"{side}_{key}": _stack([row[key] for row in rows], fill[key]) for key in fill}


def _stack(rows: Sequence[np.ndarray], fill: int | bool) -> Shaped[Tensor, "batch pos"]:
    """Rows of different lengths in one tensor, filled up on the right."""
    stacked = np.full((len(rows), max(map(len, rows))), fill, dtype=rows[0].dtype)
    for index, row in enumerate(rows):
        stacked[index, : len(row)] = row
    return torch.from_numpy(stacked)
