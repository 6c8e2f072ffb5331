"""Rows of a batch: windows one after another, with the structure around them, as arrays."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from alm_lightning.data.batch import SideTokens
from alm_lightning.data.windows import Window, WindowTokens
from alm_lightning.shapes import NO_CHUNK
from alm_lightning.tokenization.view import TokenizerView


@dataclass(frozen=True)
class SpecialIds:
    """A tokenizer's structure around content: a token before it, an EOS after it.

    Attributes:
        start_id: The token before the content, which the first content token is predicted from.
        eos_id: The token that ends a document.
        pad_id: The token that fills a row up; nothing sees it.
    """

    start_id: int
    eos_id: int
    pad_id: int

    @classmethod
    def of(cls, view: TokenizerView) -> "SpecialIds":
        """The structure that a tokenizer asks for."""
        eos_id = view.id_of("eos")
        # padding with the EOS is safe: what is padding is known from masks here, never from ids
        return cls(view.start_id, eos_id, view.roles.get("pad", eos_id))


def row_sizes(window: Window) -> tuple[int, int]:
    """Student and teacher tokens of a window, special tokens included; the longest teacher's."""
    extra = window.opens + window.ends_document
    longest = max(len(view.teacher.ids) for view in window.views)
    return len(window.student.ids) + extra, longest + extra


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
    return NO_CHUNK not in (window.student.chunk_ids[-1], window.teacher.chunk_ids[-1])


def side_tokens(
    rows: Sequence[Sequence[Window]], side: Callable[[Window], WindowTokens], special: SpecialIds
) -> SideTokens:
    """The tokens of one side, which `side` picks from a window and `special` completes."""
    width = max(sum(len(side(w).ids) + w.opens + w.ends_document for w in row) for row in rows)
    shape = (len(rows), width)
    ids = np.full(shape, special.pad_id, dtype=np.int64)
    positions = np.empty(shape, dtype=np.int32)
    mask = np.zeros(shape, dtype=bool)
    chunk_ids = np.full(shape, NO_CHUNK, dtype=np.int32)
    counts = np.arange(width, dtype=np.int32)
    for index, row in enumerate(rows):
        start = first_chunk = 0
        for window in row:
            tokens = side(window)
            first = start + window.opens
            stop = first + len(tokens.ids)
            end = stop + window.ends_document
            if window.opens:
                ids[index, start] = special.start_id
            ids[index, first:stop] = tokens.ids
            window_chunk_ids = tokens.chunk_ids
            if first_chunk:
                window_chunk_ids = np.where(
                    window_chunk_ids == NO_CHUNK, NO_CHUNK, window_chunk_ids + first_chunk
                )
            chunk_ids[index, first:stop] = window_chunk_ids
            first_chunk += window.num_chunks
            if window.ends_document:
                ids[index, stop] = special.eos_id
                chunk_ids[index, stop] = first_chunk
                first_chunk += 1
            positions[index, start:end] = counts[: end - start]
            start = end
        mask[index, :start] = True
        # padding is a document of its own: it sees nothing, and nothing sees it
        positions[index, start:] = counts[: width - start]
    return SideTokens(
        ids=torch.from_numpy(ids),
        positions=torch.from_numpy(positions),
        mask=torch.from_numpy(mask),
        chunk_ids=torch.from_numpy(chunk_ids),
    )


def target_flags(row: Sequence[Window]) -> Bool[np.ndarray, " student_pos"]:
    """Which student tokens of a row are predicted: those of trained spans, and an EOS.

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
