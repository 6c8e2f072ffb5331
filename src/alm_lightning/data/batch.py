"""A batch of paired token sequences with aligned chunks: all that a model and a loss may see."""

from collections.abc import Iterator
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Int
from torch import Tensor


@dataclass(frozen=True)
class DistillBatch:
    """Paired sequences, padded on the right.

    Attributes:
        student_ids: Token ids; a BOS first where the tokenizer prepends one.
        student_mask: True for a token, False for padding.
        student_chunk_ids: The chunk of each token, counted from 0 in its row, or `NO_CHUNK`.
        student_content: True for a token that stands for bytes of the document.
        teacher_ids: The same for the teacher.
        teacher_mask: The same for the teacher.
        teacher_chunk_ids: The same for the teacher.
        teacher_content: The same for the teacher.
        chunk_mask: True for a chunk of the row, False for padding.
        chunk_is_structure: True for a chunk that is a special token on both sides (an EOS): what
            follows it is a boundary by itself.
        num_bytes: Bytes of the document in each row.
    """

    student_ids: Int[Tensor, "batch student_pos"]
    student_mask: Bool[Tensor, "batch student_pos"]
    student_chunk_ids: Int[Tensor, "batch student_pos"]
    student_content: Bool[Tensor, "batch student_pos"]
    teacher_ids: Int[Tensor, "batch teacher_pos"]
    teacher_mask: Bool[Tensor, "batch teacher_pos"]
    teacher_chunk_ids: Int[Tensor, "batch teacher_pos"]
    teacher_content: Bool[Tensor, "batch teacher_pos"]
    chunk_mask: Bool[Tensor, "batch chunk"]
    chunk_is_structure: Bool[Tensor, "batch chunk"]
    num_bytes: Int[Tensor, " batch"]

    def to(self, device: torch.device, non_blocking: bool = False) -> "DistillBatch":
        """The same batch on another device.

        Args:
            device: Where to.
            non_blocking: Whether to return before the copy is done.

        Returns:
            A new batch.
        """
        return DistillBatch(**{k: v.to(device, non_blocking=non_blocking) for k, v in self})

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        """Names and tensors, in the order of the attributes."""
        return ((field.name, getattr(self, field.name)) for field in fields(self))
