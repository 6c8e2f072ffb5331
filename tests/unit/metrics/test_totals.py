import math
from dataclasses import replace

import pytest
import torch

from alm_lightning.data.collator import Collator
from alm_lightning.metrics.totals import batch_totals, figures


@torch.no_grad()
def test_figures_against_whole_logits(scorers, collator, rows):
    student, teacher = scorers
    totals = sum(
        batch_totals(batch, student(batch), teacher(batch))
        for batch in (collator.batch(rows[:2]), collator.batch(rows[2:]))
    )
    found = figures(totals)
    num_bytes = sum(row.num_bytes for row in rows)
    assert found["bytes"] == num_bytes
    for scorer, name in ((student, "student"), (teacher, "teacher")):
        nats = 0.0
        for row in rows:
            content = getattr(row, f"{name}_ids")
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
    side = teacher(batch)
    assert figures(batch_totals(batch, side, side))["chunk_difference"] == 0.0


def row_on_both_sides(row):
    return replace(row, student_ids=row.teacher_ids, student_chunk_ids=row.teacher_chunk_ids)
