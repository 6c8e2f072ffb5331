"""Rows of batches put together in another way: what a step takes in place of others."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Int, Shaped
from torch import Tensor
from torch.nn.functional import pad

from alm_lightning.data.batch import DistillBatch, SideTokens
from alm_lightning.shapes import NO_CHUNK

BY_STUDENT_TOKEN = ("student_targets",)
BY_CHUNK = ("chunk_mask", "chunk_is_structure", "chunk_ends_run")
BY_ROW = ("num_bytes", "outside_bytes", "rewritten_bytes", "own_rows")


def rows_of(batch: DistillBatch, chosen: Sequence[int]) -> DistillBatch:
    """Some rows of a batch, no wider than they have to be.

    Args:
        batch: In the memory of the processor, of one teacher, without scores of a store.
        chosen: Places of rows, at least one.

    Returns:
        Those rows, in this order.
    """
    _check(batch)
    index = torch.tensor(chosen)
    student, teacher = (_side_rows(side, index) for side in (batch.student, batch.teacher))
    chunks = _width(batch.chunk_mask[index])
    parts: dict[str, Any] = {name: getattr(batch, name)[index] for name in BY_ROW}
    parts |= {name: getattr(batch, name)[index, :chunks] for name in BY_CHUNK}
    parts |= {
        name: getattr(batch, name)[index, : student.ids.shape[1]] for name in BY_STUDENT_TOKEN
    }
    return replace(batch, student=student, teacher=teacher, **parts)


def joined(batches: Sequence[DistillBatch]) -> DistillBatch:
    """All rows of some batches in one, padded.

    Args:
        batches: As for `rows_of`, at least one; all packed, or none.

    Returns:
        One batch, its rows in the order of the batches.
    """
    for batch in batches:
        _check(batch)
    sides = [
        _joined_sides([getattr(batch, name) for batch in batches])
        for name in ("student", "teacher")
    ]
    parts: dict[str, Any] = {
        name: torch.cat([getattr(batch, name) for batch in batches]) for name in BY_ROW
    }
    parts |= {
        name: _padded([getattr(batch, name) for batch in batches], 0)
        for name in (*BY_CHUNK, *BY_STUDENT_TOKEN)
    }
    return replace(batches[0], student=sides[0], teacher=sides[1], **parts)


def regrouped(batch: DistillBatch, size: int) -> list[DistillBatch]:
    """A batch in micro-batches, as a collator makes them: rows of like length, the longest first.

    Args:
        batch: As for `rows_of`.
        size: Rows of a micro-batch, at most.

    Returns:
        The micro-batches.
    """
    lengths = torch.maximum(batch.student.mask.sum(dim=1), batch.teacher.mask.sum(dim=1))
    order = lengths.argsort(descending=True, stable=True).tolist()
    return [rows_of(batch, order[start : start + size]) for start in range(0, len(order), size)]


def windows_in(batch: DistillBatch) -> Int[Tensor, " batch"]:
    """How many windows each row holds: 1, unless rows are packed."""
    # positions begin at 0 with each window
    return ((batch.student.positions == 0) & batch.student.mask).sum(dim=1)


def _check(batch: DistillBatch) -> None:
    if batch.optional_scores is not None or batch.others:
        raise ValueError("rows of a batch with scores of a store can't be taken apart.")
    if batch.optional_host is not None:
        raise ValueError("expected a batch in the memory of the processor: take batch.host.")


def _width(mask: Shaped[Tensor, "row pos"]) -> int:
    """One past the last column that is True in some row; at least 1."""
    (used,) = torch.nonzero(mask.any(dim=0), as_tuple=True)
    return int(used[-1]) + 1 if len(used) else 1


def _side_rows(side: SideTokens, index: Int[Tensor, " kept"]) -> SideTokens:
    width = _width(side.mask[index])
    return SideTokens(
        ids=side.ids[index, :width],
        positions=side.positions[index, :width],
        mask=side.mask[index, :width],
        chunk_ids=side.chunk_ids[index, :width],
    )


def _joined_sides(sides: Sequence[SideTokens]) -> SideTokens:
    width = max(side.ids.shape[1] for side in sides)
    return SideTokens(
        ids=_padded([side.ids for side in sides], 0),
        positions=torch.cat([_positions(side, width) for side in sides]),
        mask=_padded([side.mask for side in sides], 0),
        chunk_ids=_padded([side.chunk_ids for side in sides], NO_CHUNK),
    )


def _positions(side: SideTokens, width: int) -> Int[Tensor, "row pos"]:
    """Positions of wider rows: padding is a document of its own, which goes on or begins."""
    first = torch.where(side.mask[:, -1], 0, side.positions[:, -1] + 1)
    more = torch.arange(width - side.ids.shape[1], dtype=side.positions.dtype)
    return torch.cat([side.positions, first.to(more.dtype).unsqueeze(1) + more], dim=1)


def _padded(values: Sequence[Shaped[Tensor, "_ _"]], fill: int) -> Shaped[Tensor, "row _"]:
    width = max(value.shape[1] for value in values)
    return torch.cat([pad(value, (0, width - value.shape[1]), value=fill) for value in values])
