"""A batch of paired token sequences with aligned chunks: all that a model and a loss may see."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from alm_lightning.shapes import NO_CHUNK


@dataclass(frozen=True)
class DistillBatch:
    """Paired sequences, padded on the right.

    What an alignment costs are the chunk ids (int32: 4 bytes a token), the masks of tokens (a byte
    each; targets on the student's side alone) and the three of chunks: below 7 bytes a token, even
    with a chunk for each. Token ids and positions are the models' own input, and not counted.

    Attributes:
        student_ids: Token ids; a start token before each window that has none of its own.
        student_positions: Place of each token in its own window, from 0. Where they start again, a
            packed row goes on with another document, or with padding.
        student_mask: True for a token, False for padding.
        student_chunk_ids: The chunk of each token, counted from 0 in its row, or `NO_CHUNK`.
        student_targets: True for a token that the next-token loss predicts.
        teacher_ids: As for the student.
        teacher_positions: As for the student.
        teacher_mask: As for the student.
        teacher_chunk_ids: As for the student.
        chunk_mask: True for a chunk of the row, False for padding.
        chunk_is_structure: True for a chunk that is structure on both sides (an EOS, an end of
            turn): what follows it is a boundary by itself.
        chunk_ends_run: True for a chunk that must not be merged with the next one: another
            document, or something that is not trained on, comes between.
        num_bytes: Bytes in the chunks of each row.
        outside_bytes: Bytes of its documents that lie in none, by reason: `DATA_REASONS`.
        rewritten_bytes: Bytes that a normaliser changed.
        is_packed: Whether a row may hold several windows. Models then see positions instead of the
            mask.
    """

    student_ids: Int[Tensor, "batch student_pos"]
    student_positions: Int[Tensor, "batch student_pos"]
    student_mask: Bool[Tensor, "batch student_pos"]
    student_chunk_ids: Int[Tensor, "batch student_pos"]
    student_targets: Bool[Tensor, "batch student_pos"]
    teacher_ids: Int[Tensor, "batch teacher_pos"]
    teacher_positions: Int[Tensor, "batch teacher_pos"]
    teacher_mask: Bool[Tensor, "batch teacher_pos"]
    teacher_chunk_ids: Int[Tensor, "batch teacher_pos"]
    chunk_mask: Bool[Tensor, "batch chunk"]
    chunk_is_structure: Bool[Tensor, "batch chunk"]
    chunk_ends_run: Bool[Tensor, "batch chunk"]
    num_bytes: Int[Tensor, " batch"]
    outside_bytes: Int[Tensor, "batch reason"]
    rewritten_bytes: Int[Tensor, " batch"]
    is_packed: bool

    @property
    def student_content(self) -> Bool[Tensor, "batch student_pos"]:
        """True for a student token of a chunk that is content."""
        return self._content(self.student_chunk_ids)

    @property
    def teacher_content(self) -> Bool[Tensor, "batch teacher_pos"]:
        """True for a teacher token of a chunk that is content."""
        return self._content(self.teacher_chunk_ids)

    def _content(self, chunk_ids: Int[Tensor, "batch pos"]) -> Bool[Tensor, "batch pos"]:
        is_structure = self.chunk_is_structure.gather(1, chunk_ids.long().clamp_min(0))
        return (chunk_ids != NO_CHUNK) & ~is_structure

    @property
    def student_has_target(self) -> Bool[Tensor, "batch student_pos"]:
        """True for a student token that has one before it in its document, to be predicted from."""
        return self.student_mask & (self.student_positions > 0)

    @property
    def teacher_has_target(self) -> Bool[Tensor, "batch teacher_pos"]:
        """True for a teacher token that has one before it in its document, to be predicted from."""
        return self.teacher_mask & (self.teacher_positions > 0)

    def to(self, device: torch.device, non_blocking: bool = False) -> "DistillBatch":
        """The same batch on another device.

        Args:
            device: Where to.
            non_blocking: Whether to return before the copy is done.

        Returns:
            A new batch.
        """
        return replace(self, **{k: v.to(device, non_blocking=non_blocking) for k, v in self})

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        """Names and tensors, in the order of the attributes."""
        return ((f.name, getattr(self, f.name)) for f in fields(self) if f.name != "is_packed")
