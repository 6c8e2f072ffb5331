"""The total variation against a loop over chunks on transformers' own logits."""

import logging
from collections import Counter

import pytest
import torch
from tests.objective_cases import assert_same, objective_case
from tests.reference.baselines.test_strict_one_to_one import shared_pairs

from alm_lightning.objectives.total_variation import TotalVariation


@pytest.fixture(params=[True, False], ids=["one vocabulary", "two vocabularies"])
def case(request, byte_level_view, metaspace_view):
    return objective_case(byte_level_view, byte_level_view if request.param else metaspace_view)


def made(case):
    objective = TotalVariation()
    objective.setup(case.pair)
    return objective


def reference(case):
    """Sum of the refusals over chunks of one token on both sides, and how many there are."""
    if case.student.view is case.teacher.view:
        ids = torch.arange(case.student.view.num_tokens)
        pairs = list(zip(ids.tolist(), ids.tolist(), strict=True))
    else:
        pairs = shared_pairs(case.student.view, case.teacher.view)
    total, count = 0.0, 0
    batch = case.batch
    for row in range(len(batch.student.ids)):
        student = Counter(batch.student.chunk_ids[row].tolist())
        teacher = Counter(batch.teacher.chunk_ids[row].tolist())
        for chunk in range(int(batch.chunk_mask[row].sum())):
            if student[chunk] != 1 or teacher[chunk] != 1:
                continue
            s = batch.student.chunk_ids[row].tolist().index(chunk)
            t = batch.teacher.chunk_ids[row].tolist().index(chunk)
            count += 1
            q, p = case.student_logprobs[row, s].exp(), case.teacher_logprobs[row, t].exp()
            ours, theirs = (torch.tensor(side) for side in zip(*pairs, strict=True))
            total = total + 1 - torch.minimum(p[theirs], q[ours]).sum()
    return total, count


@pytest.mark.parametrize("slice_elements", [1000, 2**24])
def test_value_and_gradient(case, slice_elements, monkeypatch):
    monkeypatch.setattr("alm_lightning.likelihood.slices.SLICE_ELEMENTS", slice_elements)
    objective = made(case)
    expected, count = reference(case)
    assert count > 20
    assert objective.weight(case.signal) == count
    found = objective(case.signal)
    assert 0.05 * count < found < count
    assert_same(found, expected, case.student.model.parameters(), value=1e-5, gradient=1e-5)


def test_over_one_vocabulary_it_is_half_the_sum_of_differences(byte_level_view):
    case = objective_case(byte_level_view, byte_level_view)
    places = case.batch.student.chunk_ids >= 0
    places &= case.batch.student.has_target
    half = (case.student_logprobs.exp() - case.teacher_logprobs.exp()).abs().sum(-1) / 2
    found = made(case)(case.signal)
    torch.testing.assert_close(found, half[places].sum().to(found.dtype), rtol=1e-5, atol=1e-5)


def test_it_is_0_where_the_student_is_its_teacher(byte_level_view):
    case = objective_case(byte_level_view, byte_level_view, widths=(32, 32))
    case.teacher.model.load_state_dict(case.student.model.state_dict())
    same = case.teacher(case.batch, case.batch.teacher, keep_distributions=True)
    signal = type(case.signal)(**{**vars(case.signal), "optional_teacher": same})
    loss = made(case)(signal)
    assert loss.item() == 0.0
    loss.backward()
    assert not any(p.grad is not None and p.grad.any() for p in case.student.model.parameters())


def test_a_byte_student_is_warned_of(bytes_view, byte_level_view, caplog):
    caplog.set_level(logging.INFO)
    case = objective_case(bytes_view, byte_level_view)
    objective = made(case)
    assert "TotalVariation compares tokens that have a counterpart" in caplog.text
    # what only the teacher has is never accepted
    assert objective.weight(case.signal) >= objective(case.signal) > 0
