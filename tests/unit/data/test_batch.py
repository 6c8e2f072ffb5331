from dataclasses import replace

import pytest
import torch
from jaxtyping import TypeCheckError


@pytest.mark.usefixtures("checked_annotations")
def test_tokens_refuse_chunk_ids_that_do_not_fit(collator, rows):
    batch = collator.batch(rows)
    for tokens in (batch.student, batch.teacher):
        with pytest.raises(TypeCheckError, match="chunk_ids"):
            replace(tokens, chunk_ids=tokens.chunk_ids[:, 1:])


def test_a_batch_refuses_sides_that_do_not_belong_together(collator, rows):
    batch, other = collator.batch(rows), collator.batch(rows[:1])
    for wrong in (
        {"teacher": other.teacher},
        {"student": other.student},
        {"student_targets": batch.student_targets[:, 1:]},
    ):
        with pytest.raises(ValueError, match="expected as many rows in all of them"):
            replace(batch, **wrong)


def test_content_is_neither_structure_nor_outside_a_chunk(collator, rows):
    batch = collator.batch(rows)
    content = batch.content_of(batch.teacher)
    for row, position in torch.cartesian_prod(*map(torch.arange, content.shape)).tolist():
        chunk = int(batch.teacher.chunk_ids[row, position])
        expected = chunk >= 0 and not batch.chunk_is_structure[row, chunk]
        assert content[row, position] == expected
