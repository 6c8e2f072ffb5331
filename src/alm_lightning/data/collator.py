"""From windows to tensors: the only meeting of text and torch."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

import numpy as np
import torch

from alm_lightning.data.batch import DistillBatch
from alm_lightning.data.packing import OnePerRow, Packing
from alm_lightning.data.rows import (
    SpecialIds,
    chunk_flags,
    row_sizes,
    side_tokens,
    stack,
    target_flags,
)
from alm_lightning.data.scores import WindowScores
from alm_lightning.data.windows import Window
from alm_lightning.tokenization.view import TokenizerView


class Collator:
    """Windows of both sides, with BOS and EOS, padded and split into micro-batches.

    The EOS of both sides is one chunk: a student must learn to stop. A BOS is in no chunk.

    Args:
        student: The student's tokenizer.
        teacher: The teacher's tokenizer.
        micro_batch_size: Rows of one forward pass; an optimizer step takes as many as it needs.
        packing: Which windows share a row; each has its own if None.
        scores: A store of what the teacher said of each window; None for a teacher that is asked.
        others: Tokenizers and stores of further teachers, in the order of `Window.others`.
    """

    def __init__(
        self,
        *,
        student: TokenizerView,
        teacher: TokenizerView,
        micro_batch_size: int,
        packing: Packing | None = None,
        scores: WindowScores | None = None,
        others: Sequence[tuple[TokenizerView, WindowScores]] = (),
    ):
        if micro_batch_size < 1:
            raise ValueError(f"micro_batch_size is {micro_batch_size}: expected at least 1 row.")
        self.student = SpecialIds.of(student)
        self.teacher = SpecialIds.of(teacher)
        self.micro_batch_size = micro_batch_size
        self.packing = OnePerRow() if packing is None else packing
        self.scores = scores
        self.others = [(SpecialIds.of(view), store) for view, store in others]

    def __call__(self, items: Sequence[Window | None]) -> list[DistillBatch]:
        """The micro-batches of one optimizer step.

        Rows of like length lie in one micro-batch, the longest first, so that little is padding
        and a step that is too large for the memory fails at its start. Windows in which teachers
        count differently share no micro-batch.

        Args:
            items: The windows of the step, none where a rank has no share in it; None stands for a
                document that was left out.

        Returns:
            Batches of at most `micro_batch_size` rows.
        """
        alike: dict[tuple[float, ...], list[Window]] = {}
        for window in items:
            if window is not None:
                alike.setdefault(window.shares, []).append(window)
        found = [self._packed(windows) for windows in alike.values()]
        longest = sorted(chain(*found), key=lambda batch: -batch[0])
        return [self.of_rows(rows) for _, rows in longest]

    def _packed(self, windows: Sequence[Window]) -> list[tuple[int, list[list[Window]]]]:
        """Rows of each micro-batch of some windows, and tokens of its longest row."""
        sizes = [row_sizes(window) for window in windows]
        packed = self.packing.rows(sizes)
        lengths = [int(np.sum([sizes[index] for index in row], axis=0).max()) for row in packed]
        order = sorted(range(len(packed)), key=lambda row: -lengths[row])
        ordered = [[windows[index] for index in packed[row]] for row in order]
        size = self.micro_batch_size
        return [
            (lengths[order[start]], ordered[start : start + size])
            for start in range(0, len(ordered), size)
        ]

    def batch(self, rows: Sequence[Window]) -> DistillBatch:
        """One batch of all windows in the given order, each in a row of its own.

        Args:
            rows: The windows, at least one.

        Returns:
            The batch.
        """
        return self.of_rows([[window] for window in rows])

    def of_rows(self, rows: Sequence[Sequence[Window]]) -> DistillBatch:
        """One batch of rows that hold several windows each.

        Args:
            rows: The windows of each row.

        Returns:
            The batch.
        """
        batch = self._view(rows, self.teacher, self.scores)
        if not self.others:
            return batch
        others = (
            self._view([[window.others[number] for window in row] for row in rows], special, store)
            for number, (special, store) in enumerate(self.others)
        )
        return replace(batch, others=tuple(others), shares=rows[0][0].shares)

    def _view(
        self, rows: Sequence[Sequence[Window]], special: SpecialIds, store: WindowScores | None
    ) -> DistillBatch:
        """The batch under one teacher."""
        chunks = [chunk_flags(row) for row in rows]
        teacher = side_tokens(rows, lambda window: window.teacher, special)
        scores = None if store is None else store.batch(rows, teacher.ids.shape[1])
        return DistillBatch(
            student=side_tokens(rows, lambda window: window.student, self.student),
            teacher=teacher,
            optional_scores=scores,
            student_targets=stack([target_flags(row) for row in rows]),
            chunk_mask=stack([np.ones(len(structure), bool) for structure, _ in chunks]),
            chunk_is_structure=stack([structure for structure, _ in chunks]),
            chunk_ends_run=stack([ends_run for _, ends_run in chunks]),
            num_bytes=torch.tensor([sum(w.num_bytes for w in row) for row in rows]),
            outside_bytes=torch.from_numpy(
                np.stack([np.sum([w.outside_bytes for w in row], axis=0) for row in rows])
            ),
            rewritten_bytes=torch.tensor([sum(w.rewritten_bytes for w in row) for row in rows]),
            own_rows=torch.zeros(len(rows), dtype=torch.bool),
            is_packed=self.packing.is_packed,
        )
