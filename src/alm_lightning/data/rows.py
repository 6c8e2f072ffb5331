"""Rows of a batch: windows one after another, with the structure around them, as arrays."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from alm_lightning.data.windows import Window
from alm_lightning.shapes import NO_CHUNK
from alm_lightning.tokenization.view import TokenizerView


@dataclass(frozen=True)
class Side:
    """One tokenizer's structure around content: a token before it, an EOS after it.

    Attributes:
        name: ``student`` or ``teacher``: which half of a window it reads.
        start_id: The token before the content, which the first content token is predicted from.
        eos_id: The token that ends a document.
        pad_id: The token that fills a row up; nothing sees it.
    """

    name: str
    start_id: int
    eos_id: int
    pad_id: int

    @classmethod
    def of(cls, view: TokenizerView, name: str) -> "Side":
        """The structure that a tokenizer asks for.

        Args:
            view: The tokenizer. One without a pad token pads with its EOS, which is safe: padding
                is told by masks here, never by ids.
            name: ``student`` or ``teacher``.

        Returns:
            Its side.
        """
        eos_id = view.id_of("eos")
        return cls(name, view.start_id, eos_id, view.roles.get("pad", eos_id))


def row_sizes(window: Window) -> tuple[int, int]:
    """Student and teacher tokens of a window, special tokens included."""
    extra = window.opens + window.ends_document
    return len(window.student_ids) + extra, len(window.teacher_ids) + extra


def chunk_flags(
    row: Sequence[Window],
) -> tuple[Bool[np.ndarray, " chunk"], Bool[np.ndarray, " chunk"]]:
    """Whether each chunk of a row is structure, and whether it ends a run."""
    structure, ends_run = [], []
    for window in row:
        structure.append(window.chunk_is_structure)
        ends_run.append(window.chunk_ends_run)
        if window.ends_document:
            structure.append(np.ones(1, bool))
            # the EOS comes right after the last chunk, unless that one is not trained on
            ends_run[-1] = np.append(window.chunk_ends_run[:-1], [not _eos_follows(window), True])
    return np.concatenate(structure), np.concatenate(ends_run)


def _eos_follows(window: Window) -> bool:
    """Whether both sides end with a chunk, so that an EOS comes right after it."""
    return NO_CHUNK not in (window.student_chunk_ids[-1], window.teacher_chunk_ids[-1])


def side_tensors(side: Side, rows: Sequence[Sequence[Window]]) -> dict[str, Tensor]:
    """Ids, positions, masks and chunk ids of one side.

    Written straight into place: a slice a window, nothing a token.

    Args:
        side: Which side, and its structure.
        rows: The windows of each row.

    Returns:
        Tensors of `DistillBatch`, by their names.
    """
    name = side.name
    width = max(sum(row_sizes(window)[name == "teacher"] for window in row) for row in rows)
    shape = (len(rows), width)
    ids = np.full(shape, side.pad_id, dtype=np.int64)
    positions = np.empty(shape, dtype=np.int32)
    mask = np.zeros(shape, dtype=bool)
    chunk_ids = np.full(shape, NO_CHUNK, dtype=np.int32)
    counts = np.arange(width, dtype=np.int32)
    for index, row in enumerate(rows):
        start = first_chunk = 0
        for window in row:
            window_ids = getattr(window, f"{name}_ids")
            first = start + window.opens
            stop = first + len(window_ids)
            end = stop + window.ends_document
            if window.opens:
                ids[index, start] = side.start_id
            ids[index, first:stop] = window_ids
            window_chunk_ids = getattr(window, f"{name}_chunk_ids")
            if first_chunk:
                window_chunk_ids = np.where(
                    window_chunk_ids == NO_CHUNK, NO_CHUNK, window_chunk_ids + first_chunk
                )
            chunk_ids[index, first:stop] = window_chunk_ids
            first_chunk += window.num_chunks
            if window.ends_document:
                ids[index, stop] = side.eos_id
                chunk_ids[index, stop] = first_chunk
                first_chunk += 1
            positions[index, start:end] = counts[: end - start]
            start = end
        mask[index, :start] = True
        # padding is a document of its own: it sees nothing, and nothing sees it
        positions[index, start:] = counts[: width - start]
    arrays = {
        "ids": ids,
        "positions": positions,
        "mask": mask,
        "chunk_ids": chunk_ids,
    }
    return {f"{name}_{key}": torch.from_numpy(array) for key, array in arrays.items()}


def target_flags(row: Sequence[Window]) -> Bool[np.ndarray, " student_pos"]:
    """Which student tokens of a row are predicted: those of trained spans, and an EOS.

    Args:
        row: Its windows.

    Returns:
        One flag a token, none for padding.
    """
    parts = []
    for window in row:
        targets = window.student_targets
        if window.opens:
            # a start token is given
            parts.append(np.zeros(1, bool))
        else:
            # nothing comes before the first token
            targets = np.append(False, targets[1:])
        parts += [targets, np.ones(int(window.ends_document), bool)]
    return np.concatenate(parts)


def stack(rows: Sequence[np.ndarray]) -> Bool[Tensor, "batch pos"]:
    """Flags of different lengths in one tensor, False on the right."""
    stacked = np.zeros((len(rows), max(map(len, rows))), dtype=bool)
    for index, row in enumerate(rows):
        stacked[index, : len(row)] = row
    return torch.from_numpy(stacked)
