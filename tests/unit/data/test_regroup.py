"""Rows put together in another way have the same likelihoods."""

import pytest
import torch

from alm_lightning.data.collator import Collator
from alm_lightning.data.packing import FirstFit, OnePerRow
from alm_lightning.data.regroup import joined, regrouped, rows_of, windows_in


@pytest.fixture(params=["one a row", "packed"])
def batches(request, scorers, rows):
    student, teacher = scorers
    packing = OnePerRow()
    if request.param == "packed":
        packing = FirstFit(student_length=84, teacher_length=84)
    collator = Collator(
        student=student.view, teacher=teacher.view, micro_batch_size=2, packing=packing
    )
    found = collator(rows)
    assert len(found) > 1
    return found


def likelihoods(scorers, batches):
    """The log-likelihoods of the chunks of each row, on both sides, in any order."""
    found = []
    for batch in batches:
        sides = zip(scorers, (batch.student, batch.teacher), strict=True)
        signals = [scorer(batch, tokens).chunk_logprobs for scorer, tokens in sides]
        found += [
            (int(batch.num_bytes[row]), *(s[row][mask].tolist() for s in signals))
            for row, mask in enumerate(batch.chunk_mask)
        ]
    return sorted(found)


@torch.no_grad()
@pytest.mark.parametrize("size", [1, 2, 100])
def test_likelihoods_stay(scorers, batches, size):
    whole = joined(batches)
    groups = regrouped(whole, size)
    assert max(len(group.num_bytes) for group in groups) == min(size, len(whole.num_bytes))
    expected, found = likelihoods(scorers, batches), likelihoods(scorers, groups)
    assert len(found) == len(expected)
    for got, want in zip(found, expected, strict=True):
        assert got[0] == want[0]
        for side in (1, 2):
            assert got[side] == pytest.approx(want[side], abs=1e-4)
    for name in ("num_bytes", "outside_bytes", "rewritten_bytes"):
        total = sum(getattr(batch, name).sum() for batch in batches)
        assert sum(getattr(group, name).sum() for group in groups) == total
    assert sum(group.student_targets.sum() for group in groups) == sum(
        batch.student_targets.sum() for batch in batches
    )


def test_rows_are_no_wider_than_they_have_to_be(batches):
    whole = joined(batches)
    lengths = whole.student.mask.sum(dim=1)
    shortest = int(lengths.argmin())
    part = rows_of(whole, [shortest])
    assert part.student.ids.shape == (1, int(lengths[shortest]))
    assert part.student.mask.all()
    assert part.chunk_mask.all()
    assert sum(int(windows_in(batch).sum()) for batch in batches) == int(windows_in(whole).sum())
