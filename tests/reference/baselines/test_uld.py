"""Against a loop over positions on transformers' own logits, and numbers by hand."""

from dataclasses import replace

import pytest
import torch
from tests.objective_cases import assert_same, objective_case

from alm_lightning.objectives.baselines.uld import ULD


@pytest.fixture
def case(byte_level_view, metaspace_view):
    return objective_case(byte_level_view, metaspace_view)


def predicted(case, side, row):
    """Positions of the tokens that are trained on, one after another."""
    in_chunk = getattr(case.batch, side).chunk_ids[row] >= 0
    has_target = getattr(case.batch, side).has_target[row]
    return [p for p in range(len(in_chunk)) if in_chunk[p] and has_target[p]]


def reference(case):
    """Sum over the positions of both sides, and how many there are."""
    total, count = 0.0, 0
    size = max(case.student.view.num_tokens, case.teacher.view.num_tokens)
    for row in range(len(case.batch.student.ids)):
        pairs = zip(predicted(case, "student", row), predicted(case, "teacher", row), strict=False)
        for s, t in pairs:
            count += 1
            lists = []
            for logprobs in (case.student_logprobs[row, s], case.teacher_logprobs[row, t]):
                values = torch.zeros(size, dtype=torch.float64)
                values[: len(logprobs)] = logprobs.exp().sort(descending=True).values
                lists.append(values)
            total = total + (lists[0] - lists[1]).abs().sum()
    return total, count


@pytest.mark.parametrize("slice_elements", [1000, 2**24])
def test_value_and_gradient(case, slice_elements, monkeypatch):
    monkeypatch.setattr("alm_lightning.likelihood.slices.SLICE_ELEMENTS", slice_elements)
    objective = ULD()
    objective.setup(case.pair)
    expected, count = reference(case)
    assert count > 50
    # the two sides have different numbers of tokens, and both are the longer one somewhere
    differences = [
        len(predicted(case, "student", row)) - len(predicted(case, "teacher", row))
        for row in range(len(case.batch.student.ids))
    ]
    assert min(differences) < 0 < max(differences)
    assert objective.weight(case.signal) == count
    found = objective(case.signal)
    parameters = case.student.model.parameters()
    assert_same(found, expected, parameters, value=1e-9, gradient=1e-7)


def test_it_is_0_without_a_gradient_where_the_student_is_its_teacher(byte_level_view):
    case = objective_case(byte_level_view, byte_level_view, widths=(32, 32))
    case.teacher.model.load_state_dict(case.student.model.state_dict())
    same = case.teacher(case.batch, case.batch.teacher, keep_distributions=True)
    objective = ULD()
    assert objective(case.signal).item() > 1.0
    found = objective(replace(case.signal, optional_teacher=same))
    assert found.item() == pytest.approx(0.0, abs=1e-9)
    for gradient in torch.autograd.grad(found, list(case.student.model.parameters())):
        torch.testing.assert_close(gradient, torch.zeros_like(gradient))


def test_prompts_and_padding_teach_nothing(case):
    nothing = replace(
        case.signal.student_tokens,
        chunk_ids=torch.full_like(case.signal.student_tokens.chunk_ids, -1),
    )
    signal = replace(case.signal, student_tokens=nothing)
    assert ULD().weight(signal) == 0
    assert ULD()(signal) == 0
