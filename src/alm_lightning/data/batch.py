"""A batch of paired token sequences with aligned chunks: all that a model and a loss may see."""

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

from alm_lightning.data.scores import ScoredTokens
from alm_lightning.shapes import NO_CHUNK


@dataclass(frozen=True)
class SideTokens:
    """The token sequences of one side, student or teacher, padded on the right.

    Attributes:
        ids: Token ids; a start token before each window that has none of its own.
        positions: Place of each token in its own window, from 0. Where they start again, a packed
            row continues with another document, or with padding.
        mask: True for a token, False for padding.
        chunk_ids: The chunk of each token, counted from 0 in its row, or `NO_CHUNK`.
        optional_host: The same tokens in the memory of the processor, if these are elsewhere: read
            `host`.
    """

    ids: Int[Tensor, "batch pos"]
    positions: Int[Tensor, "batch pos"]
    mask: Bool[Tensor, "batch pos"]
    chunk_ids: Int[Tensor, "batch pos"]
    optional_host: "SideTokens | None" = None

    @property
    def host(self) -> "SideTokens":
        """The same tokens where the processor reads them: a GPU would have to be waited for."""
        return self if self.optional_host is None else self.optional_host

    @property
    def has_target(self) -> Bool[Tensor, "batch pos"]:
        """True for a token that has one before it in its document, to be predicted from."""
        return self.mask & (self.positions > 0)

    def in_chunks(self, chosen: Bool[Tensor, "batch chunk"]) -> Bool[Tensor, "batch pos"]:
        """True for a token of a chosen chunk."""
        is_chosen = chosen.gather(1, self.chunk_ids.long().clamp_min(0))
        return (self.chunk_ids != NO_CHUNK) & is_chosen

    def to(self, device: torch.device, non_blocking: bool = False) -> "SideTokens":
        """The same tokens on another device."""
        if device.type == "cpu" == self.host.ids.device.type:
            return self.host
        moved = {k: v.to(device, non_blocking=non_blocking) for k, v in self._tensors().items()}
        return SideTokens(**moved, optional_host=None if device.type == "cpu" else self.host)

    def pin_memory(self) -> "SideTokens":
        """The same tokens where a GPU can copy them from while it computes."""
        return SideTokens(**{name: value.pin_memory() for name, value in self._tensors().items()})

    def _tensors(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "optional_host"}


@dataclass(frozen=True)
class DistillBatch:
    """Paired sequences of a student and a teacher.

    What an alignment costs are the chunk ids (int32: 4 bytes a token), the masks of tokens (a byte
    each; targets on the student's side alone) and the three of chunks: below 7 bytes a token, even
    with a chunk for each. Token ids and positions are the models' own input, and not counted.

    Attributes:
        student: The student's tokens.
        teacher: The teacher's tokens.
        student_targets: True for a student token that the next-token loss predicts.
        chunk_mask: True for a chunk of the row, False for padding.
        chunk_is_structure: True for a chunk that is structure on both sides (an EOS, an end of
            turn): what follows it is a boundary by itself.
        chunk_ends_run: True for a chunk that must not be merged with the next one: another
            document, or something that is not trained on, comes between.
        num_bytes: Bytes in the chunks of each row.
        outside_bytes: Bytes of its documents that lie in none, by reason: `DATA_REASONS`.
        rewritten_bytes: Bytes that a normaliser changed.
        own_rows: True for a row that the student has sampled itself.
        is_packed: Whether a row may hold several windows. Models then see positions instead of the
            mask.
        optional_scores: What the teacher said of its tokens, where it is read from a store: read
            `scores`.
        optional_host: The same batch in the memory of the processor, if this one is elsewhere: read
            `host`.
        others: The same tokens of the student beside those of other teachers, one batch each.
        shares: How much each teacher counts in this batch; they sum to 1.
    """

    student: SideTokens
    teacher: SideTokens
    student_targets: Bool[Tensor, "batch student_pos"]
    chunk_mask: Bool[Tensor, "batch chunk"]
    chunk_is_structure: Bool[Tensor, "batch chunk"]
    chunk_ends_run: Bool[Tensor, "batch chunk"]
    num_bytes: Int[Tensor, " batch"]
    outside_bytes: Int[Tensor, "batch reason"]
    rewritten_bytes: Int[Tensor, " batch"]
    own_rows: Bool[Tensor, " batch"]
    is_packed: bool
    optional_scores: ScoredTokens | None = None
    optional_host: "DistillBatch | None" = None
    others: tuple["DistillBatch", ...] = ()
    shares: tuple[float, ...] = (1.0,)

    @property
    def views(self) -> tuple["DistillBatch", ...]:
        """The batch under each teacher, this one first."""
        return (self, *self.others)

    @property
    def scores(self) -> ScoredTokens:
        """What the teacher said of its tokens; a ValueError where no store was read."""
        if self.optional_scores is None:
            raise ValueError("the batch has no scores: give its collator a store of them.")
        return self.optional_scores

    @property
    def host(self) -> "DistillBatch":
        """The same batch where the processor reads it."""
        return self if self.optional_host is None else self.optional_host

    def __post_init__(self) -> None:
        """Refuses sides that do not belong to one batch: each record checks its own shapes only."""
        student, teacher = self.student.ids.shape, self.teacher.ids.shape
        targets, chunks = self.student_targets.shape, self.chunk_mask.shape
        if targets != student or not student[0] == teacher[0] == chunks[0]:
            raise ValueError(
                f"student tokens have shape {tuple(student)}, teacher tokens {tuple(teacher)}, "
                f"student_targets {tuple(targets)}, chunk_mask {tuple(chunks)}: expected as many "
                "rows in all of them, and a target for each student token."
            )
        if any(other.student.ids.shape != student for other in self.others):
            raise ValueError(
                f"student tokens have shape {tuple(student)}, and other shapes beside other "
                "teachers: expected the same tokens."
            )
        if len(self.shares) != len(self.views):
            raise ValueError(f"{len(self.views)} teachers have {len(self.shares)} shares.")

    def content_of(self, side: SideTokens) -> Bool[Tensor, "batch pos"]:
        """True for a token of a chunk that is content."""
        return side.in_chunks(~self.chunk_is_structure)

    def read_positions(self, side: SideTokens) -> Bool[Tensor, "batch pos"]:
        """True where the output layer has something to say that is read; on the processor.

        That is before a token of a chunk or one that is predicted, and at the tokens of chunks, of
        which the last is asked for a boundary. Messages that are not trained on are left out, which
        saves the greater part of the work on long prompts.
        """
        host = side.host
        in_chunk = host.chunk_ids != NO_CHUNK
        wanted = in_chunk | self.host.student_targets if side is self.student else in_chunk
        # the first position has none before it, so that nothing comes around from the end
        before = (wanted & host.has_target).roll(-1, dims=1)
        return host.mask & (in_chunk | before)

    def to(self, device: torch.device, non_blocking: bool = False) -> "DistillBatch":
        """The same batch on another device; with `non_blocking`, before the copy is done."""
        if device.type == "cpu" == self.host.chunk_mask.device.type:
            return self.host
        values = self._moving().items()
        moved = {name: value.to(device, non_blocking=non_blocking) for name, value in values}
        return replace(
            self,
            **moved,
            others=tuple(other.to(device, non_blocking) for other in self.others),
            optional_host=None if device.type == "cpu" else self.host,
        )

    def pin_memory(self) -> "DistillBatch":
        """The same batch where a GPU can copy it from while it computes; loaders call it."""
        pinned = {k: v.pin_memory() for k, v in self._moving().items()}
        return replace(self, **pinned, others=tuple(o.pin_memory() for o in self.others))

    def _moving(self) -> dict[str, Any]:
        """Tensors, sides and scores by name."""
        stays = ("is_packed", "optional_host", "others", "shares")
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in stays}
        return {name: value for name, value in values.items() if value is not None}


def placed(value: Shaped[Tensor, "..."], device: torch.device) -> Shaped[Tensor, "..."]:
    """What the processor has found out, on the device that computes; nothing waits for the copy.

    Args:
        value: In the memory of the processor.
        device: Where it is to be.

    Returns:
        The same where the device is the processor.
    """
    if value.device.type == device.type:
        return value
    if device.type == "cuda":
        # from other memory the copy would begin when all that the GPU has to do is done
        value = value.pin_memory()
    return value.to(device, non_blocking=True)
