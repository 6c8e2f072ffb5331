"""Counts of a step: by hand, and over ranks."""

from dataclasses import replace

import pytest
import torch

from alm_lightning.training.counts import StepCounts, counts_of
from alm_lightning.training.on_policy import AnswerCounts

NONE = AnswerCounts()
CPU = torch.device("cpu")


def two_ranks(counts):
    """As if another rank had the same."""
    return 2 * counts


def counted(batches, answers=NONE, *, reads=True, over=lambda counts: counts):
    return counts_of(batches, answers, is_teacher_read=reads, sum_over_ranks=over, device=CPU)


@pytest.fixture
def batches(collator, rows):
    collator.micro_batch_size = 2
    return collator(rows[:4])


def test_bytes_and_tokens_of_the_teacher(batches, rows, scorers):
    found = counted(batches)
    assert found.num_bytes == sum(int(row.num_bytes) for row in rows[:4])
    pad = scorers[1].view.id_of("pad")
    ids = [batch.teacher.ids for batch in batches]
    assert found.num_teacher_tokens == sum(int((each != pad).sum()) for each in ids)
    assert found.num_teacher_tokens > sum(len(row.teacher.ids) for row in rows[:4])
    assert counted(batches, reads=False) == replace(found, num_teacher_tokens=0)
    assert counted([]) == StepCounts()
    both = counted(batches, over=two_ranks)
    assert both.num_bytes == 2 * found.num_bytes
    assert both.num_teacher_tokens == 2 * found.num_teacher_tokens


def test_several_teachers(batches):
    first = [replace(batch, others=(batch,), shares=(1.0, 0.0)) for batch in batches]
    alone = counted(batches)
    # one that counts for nothing is not read
    assert counted(first) == alone
    both = counted([replace(batch, shares=(0.5, 0.5)) for batch in first])
    assert both.num_teacher_tokens == 2 * alone.num_teacher_tokens
    assert both.num_bytes == alone.num_bytes


def test_answers():
    assert counted([]).figures() == {}
    own = AnswerCounts(num_answers=4, num_ended=1, num_tokens=10, num_unusable=3)
    assert counted([], own, over=two_ranks).figures() == {
        "on_policy/answers": 8.0,
        "on_policy/ended": 0.25,
        "on_policy/tokens": 2.5,
        "on_policy/unusable": 6.0,
    }
