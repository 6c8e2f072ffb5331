import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from alm_lightning.data.collator import Collator
from alm_lightning.data.windows import DATA_REASONS
from alm_lightning.metrics.totals import (
    FIELDS,
    RATIOS,
    batch_totals,
    figures,
    gap_closed,
    mean_figures,
)


@torch.no_grad()
def test_figures_against_whole_logits(scorers, collator, rows):
    student, teacher = scorers
    totals = sum(
        batch_totals(batch, student(batch, batch.student), teacher(batch, batch.teacher))
        for batch in (collator.batch(rows[:2]), collator.batch(rows[2:]))
    )
    found = figures(totals)
    num_bytes = sum(row.num_bytes for row in rows)
    assert found["bytes"] == num_bytes
    for scorer, name in ((student, "student"), (teacher, "teacher")):
        nats = 0.0
        for row in rows:
            content = getattr(row, name).ids
            ids = torch.tensor([[scorer.view.id_of("bos"), *content.tolist()]])
            logprobs = scorer.model(input_ids=ids).logits.log_softmax(dim=-1)[0, :-1]
            nats -= float(logprobs.gather(1, ids[0, 1:, None]).double().sum())
        bits = nats / math.log(2) / num_bytes
        assert found[f"bits_per_byte_{name}"] == pytest.approx(bits, rel=1e-5)
    assert found["chunks"] == sum(row.num_chunks for row in rows)
    assert found["bytes_per_chunk"] == pytest.approx(num_bytes / found["chunks"])
    assert found["student_tokens_per_chunk"] == pytest.approx(found["bytes_per_chunk"])


def test_an_equal_student_differs_by_nothing(scorers, rows):
    _, teacher = scorers
    batch = Collator(student=teacher.view, teacher=teacher.view, micro_batch_size=9).batch(
        [row_on_both_sides(row) for row in rows]
    )
    side = teacher(batch, batch.teacher)
    assert figures(batch_totals(batch, side, side))["chunk_difference"] == 0.0


def row_on_both_sides(row):
    return replace(
        row,
        student=row.teacher,
        student_targets=np.ones(len(row.teacher.ids), dtype=bool),
    )


def test_shares_of_bytes(scorers, collator, rows):
    """Coverage counts what was left out on purpose as covered, and nothing else."""
    _, teacher = scorers
    changed = [
        replace(rows[0], outside_bytes=np.array([1, 2, 3, 40, 5]), rewritten_bytes=7),
        replace(rows[1], outside_bytes=np.array([10, 0, 0, 60, 0])),
    ]
    batch = Collator(student=teacher.view, teacher=teacher.view, micro_batch_size=9).batch(
        [row_on_both_sides(row) for row in changed]
    )
    side = teacher(batch, batch.teacher)
    found = figures(batch_totals(batch, side, side))
    trained = rows[0].num_bytes + rows[1].num_bytes
    assert found["bytes"] == trained
    assert found["coverage"] == pytest.approx((trained + 100) / (trained + 121))
    assert found["rewritten_share"] == pytest.approx(7 / (trained + 121))
    by_reason = {r: found[f"outside_bytes_{r}"] for r in DATA_REASONS}
    assert list(by_reason.values()) == [11, 2, 3, 100, 5]
    assert figures(torch.zeros(len(FIELDS)))["coverage"] == 1.0


@pytest.mark.parametrize(
    ("before", "after", "teacher", "share"),
    [
        (2.0, 1.0, 1.0, 1.0),
        (2.0, 2.0, 1.0, 0.0),
        (2.0, 2.5, 1.0, -0.5),
        (2.0, 0.5, 1.0, 1.5),
        # accuracies grow where the gap closes
        (0.6, 0.75, 0.8, 0.75),
        # a difference to the teacher has the teacher at 0
        (6.0, 1.5, 0.0, 0.75),
        (1.0, 1.5, 1.0, None),
    ],
)
def test_share_of_the_gap(before, after, teacher, share):
    closed = gap_closed(before=before, after=after, teacher=teacher)
    assert closed == (None if share is None else pytest.approx(share))


def some_totals(**values):
    return torch.tensor([values.get(name, 0.0) for name in FIELDS], dtype=torch.float64)


def test_the_mean_of_teachers_is_that_of_their_figures():
    """A ratio of means would lie nearer to the teacher with more chunks."""
    one = some_totals(bytes=100, chunks=10, chunk_difference_nats=50, student_nats=70)
    other = some_totals(
        bytes=90, chunks=30, chunk_difference_nats=100, student_nats=60, outside_bytes_unknown=10
    )
    found = mean_figures([one, other], [one * 0.25, other * 0.75])
    parts = figures(one), figures(other)
    for name in RATIOS:
        expected = parts[0][name] / 4 + parts[1][name] * 3 / 4
        assert found[name] == pytest.approx(expected, rel=1e-12), name
    assert found["chunk_difference"] == pytest.approx(5 / 4 + (10 / 3) * 3 / 4)
    # of one of them, and no mixtures
    counts = found.keys() - set(RATIOS)
    assert {name: found[name] for name in counts} == {name: parts[0][name] for name in counts}


def test_the_mean_of_teachers_that_count_by_document():
    """Each teacher's is over all of its chunks, as the loss is; one teacher twice is that one."""
    first = some_totals(bytes=60, chunks=6, chunk_difference_nats=30, student_nats=40)
    second = some_totals(bytes=40, chunks=4, chunk_difference_nats=8, student_nats=20)
    whole = first + second
    twice = mean_figures([whole, whole], [first + second * 0.25, second * 0.75])
    assert twice == pytest.approx(figures(whole), rel=1e-12)
    third = some_totals(bytes=40, chunks=20, chunk_difference_nats=4, student_nats=20)
    found = mean_figures([whole, first + third], [first, third])
    assert found["chunk_difference"] == pytest.approx(30 / 10 + 4 / 26)
    empty = some_totals()
    assert mean_figures([empty, empty], [empty, empty]) == figures(empty)
