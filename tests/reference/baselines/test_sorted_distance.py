"""Against a sort of everything, and numbers by hand."""

import pytest
import torch

from alm_lightning.objectives.baselines.sorted_distance import (
    by_counting,
    by_sorting,
    sorted_distance,
)


def reference(student, teacher):
    size = max(student.shape[1], teacher.shape[1])
    padded = [
        torch.nn.functional.pad(side.sort(dim=1, descending=True).values, (0, size - side.shape[1]))
        for side in (student, teacher)
    ]
    return (padded[0] - padded[1]).abs().sum(dim=1)


def probs(num_tokens, *, seed, spread=3.0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return (spread * torch.randn(7, num_tokens, generator=generator)).softmax(dim=1).to(dtype)


@pytest.mark.parametrize(
    ("student", "teacher", "distance", "gradient"),
    [
        # sorted: 0.75 0.25 0 against 0.5 0.25 0.25
        ([0.25, 0.75], [0.5, 0.1875, 0.3125], 0.25 + 0.0625 + 0.1875, [-1, 1]),
        # 0.5 0.25 0.25 against 1 0 0
        ([0.25, 0.5, 0.25], [0.0, 0.0, 1.0], 1.0, [1, -1, 1]),
        ([0.5, 0.25], [], 0.75, [1, 1]),
        ([], [0.5, 0.25], 0.75, []),
    ],
)
def test_by_hand(student, teacher, distance, gradient):
    student = torch.tensor([student]).requires_grad_()
    found = sorted_distance(student, torch.tensor([teacher]))
    assert found.item() == pytest.approx(distance, abs=1e-6)
    (got,) = torch.autograd.grad(found.sum(), student)
    assert got.tolist() == [gradient]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("num_student", "num_teacher"), [(40, 90), (700, 300), (5000, 5000)])
@pytest.mark.parametrize("find", [by_counting, by_sorting])
def test_value_and_gradient(num_student, num_teacher, dtype, find, monkeypatch):
    module = "alm_lightning.objectives.baselines.sorted_distance"
    monkeypatch.setattr(f"{module}.by_counting", find)
    student = probs(num_student, seed=1, dtype=dtype).requires_grad_()
    teacher = probs(num_teacher, seed=2, spread=2.0, dtype=dtype).requires_grad_()
    expected, found = reference(student, teacher), sorted_distance(student, teacher)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    weights = torch.arange(1, 8, dtype=dtype)
    want = torch.autograd.grad((weights * expected).sum(), (student, teacher))
    got = torch.autograd.grad((weights * found).sum(), (student, teacher))
    for one, other in zip(got, want, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("noise", [1.0, 0.1, 1e-3])
def test_lists_that_are_nearly_the_same(noise):
    """Most values share their bucket with their counterpart."""
    student = probs(3000, seed=1, dtype=torch.float64)
    teacher = (student.log() + noise * probs(3000, seed=2).log()).softmax(dim=1)
    counted, *counted_signs = by_counting(student, teacher)
    in_order, *signs = by_sorting(student, teacher)
    torch.testing.assert_close(counted, in_order, rtol=1e-9, atol=1e-12)
    for one, other in zip(counted_signs, signs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_ties_do_not_change_the_distance():
    """Many equal values, on one side and on both; eighths, so that sums are exact."""
    generator = torch.Generator().manual_seed(3)
    student = torch.randint(0, 5, (7, 60), generator=generator) / 8
    teacher = torch.randint(0, 4, (7, 90), generator=generator) / 8
    expected = reference(student, teacher)
    torch.testing.assert_close(sorted_distance(student, teacher), expected, rtol=0, atol=0)
    assert torch.equal(sorted_distance(student, student), torch.zeros(7))


def test_a_nan_is_told():
    student = probs(50, seed=1)
    student[2, 3] = -torch.tensor(torch.nan)
    found = sorted_distance(student, probs(60, seed=2))
    assert found.isnan().tolist() == [row == 2 for row in range(7)]
