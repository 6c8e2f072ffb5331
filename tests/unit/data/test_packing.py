from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alm_lightning.data.collator import Collator
from alm_lightning.data.packing import FirstFit, OnePerRow
from alm_lightning.shapes import NO_CHUNK

SIZES = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 7)), max_size=20)


@given(sizes=SIZES)
def test_first_fit_holds_each_window_once_and_within_its_lengths(sizes):
    found = FirstFit(student_length=9, teacher_length=7).rows(sizes)
    assert sorted(index for row in found for index in row) == list(range(len(sizes)))
    totals = [[sum(sizes[i][side] for i in row) for side in (0, 1)] for row in found]
    assert all(student <= 9 and teacher <= 7 for student, teacher in totals)
    # no two rows could have been one
    for index, (student, teacher) in enumerate(totals):
        for other in totals[:index]:
            assert student + other[0] > 9 or teacher + other[1] > 7
    assert OnePerRow().rows(sizes) == [[index] for index in range(len(sizes))]


def test_errors():
    with pytest.raises(ValueError, match="hold nothing"):
        FirstFit(student_length=0, teacher_length=3)
    with pytest.raises(ValueError, match="5 student and 8 teacher tokens is longer than a row of"):
        FirstFit(student_length=9, teacher_length=7).rows([(5, 8)])


def test_a_packed_row_is_its_windows_one_after_another(scorers, rows):
    """Every tensor of a packed row is that of its windows apart; ids of chunks count on."""
    student, teacher = scorers
    views = {"student": student.view, "teacher": teacher.view}
    apart = Collator(**views, micro_batch_size=1)
    packed = Collator(
        **views, micro_batch_size=2, packing=FirstFit(student_length=100, teacher_length=90)
    )
    sizes = [
        (int(b.student.mask.sum()), int(b.teacher.mask.sum()))
        for b in (apart.batch([row]) for row in rows)
    ]
    expected = packed.packing.rows(sizes)
    assert max(map(len, expected)) > 2
    batches = packed(rows)
    assert all(batch.is_packed for batch in batches)
    assert sum(len(batch.num_bytes) for batch in batches) == len(expected)
    for batch in batches:
        for index in range(len(batch.num_bytes)):
            found = [
                row for row in expected if _same_ids(batch, index, [rows[i] for i in row], apart)
            ]
            (row,) = found
            expected.remove(row)
            pieces = [apart.batch([rows[i]]) for i in row]
            for side in ("student", "teacher"):
                mask = getattr(batch, side).mask[index]
                length = int(mask.sum())
                assert mask[:length].all()
                of = {
                    "positions": lambda b, side=side: getattr(b, side).positions,
                    "content": lambda b, side=side: b.content_of(getattr(b, side)),
                }
                if side == "student":
                    of["targets"] = lambda b: b.student_targets
                for values in of.values():
                    joined = torch.cat([values(p)[0] for p in pieces])
                    assert torch.equal(values(batch)[index, :length], joined)
                padding = getattr(batch, side).positions[index, length:]
                assert padding.tolist() == list(range(len(padding)))
                chunk_ids, first = [], 0
                for piece in pieces:
                    ids = getattr(piece, side).chunk_ids[0]
                    chunk_ids.append(torch.where(ids == NO_CHUNK, NO_CHUNK, ids + first))
                    first += int(piece.chunk_mask.sum())
                found_ids = getattr(batch, side).chunk_ids[index]
                assert torch.equal(found_ids[:length], torch.cat(chunk_ids))
                assert (found_ids[length:] == NO_CHUNK).all()
            num_chunks = int(batch.chunk_mask[index].sum())
            for name in ("chunk_is_structure", "chunk_ends_run"):
                joined = torch.cat([getattr(p, name)[0] for p in pieces])
                assert torch.equal(getattr(batch, name)[index, :num_chunks], joined)
            assert int(batch.num_bytes[index]) == sum(rows[i].num_bytes for i in row)
    assert expected == []


def _same_ids(batch, index, windows, apart):
    joined = torch.cat([apart.batch([window]).student.ids[0] for window in windows])
    length = int(batch.student.mask[index].sum())
    return torch.equal(batch.student.ids[index, :length], joined)


@pytest.mark.parametrize("packing", [None, FirstFit(student_length=100, teacher_length=100)])
def test_an_alignment_takes_less_than_7_bytes_a_token(scorers, rows, packing):
    _, teacher = scorers
    # the most chunks that there can be: one a token, on both sides
    same = [row_on_both_sides(row) for row in rows]
    collator = Collator(
        student=teacher.view, teacher=teacher.view, micro_batch_size=99, packing=packing
    )
    (batch,) = collator(same)
    counted = [t for side in (batch.student, batch.teacher) for t in (side.mask, side.chunk_ids)]
    counted += [batch.student_targets]
    counted += [batch.chunk_mask, batch.chunk_is_structure, batch.chunk_ends_run]
    num_tokens = batch.student.ids.numel() + batch.teacher.ids.numel()
    assert sum(tensor.nbytes for tensor in counted) < 7 * num_tokens
    assert batch.student.chunk_ids.dtype == batch.teacher.chunk_ids.dtype == torch.int32


def row_on_both_sides(row):
    return replace(
        row,
        student=row.teacher,
        student_targets=np.ones(len(row.teacher.ids), dtype=bool),
    )
