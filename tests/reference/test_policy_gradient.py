"""The policy gradient by hand, and against an exact mean over all that may be sampled."""

from dataclasses import replace

import pytest
import torch
from tests.reference.test_alm import random_signal

from alm_lightning.likelihood.signal import ModelSignal, TokenLogprobs
from alm_lightning.objectives.alm import ALM
from alm_lightning.objectives.policy_gradient import PolicyGradient


def with_own(signal, rows):
    own = torch.zeros(len(signal.chunk_mask), dtype=torch.bool)
    own[rows] = True
    return replace(signal, own_rows=own)


@pytest.mark.parametrize("debias", [True, False])
@pytest.mark.parametrize("threshold", [0.0, 0.1])
@pytest.mark.parametrize("seed", range(5))
def test_against_a_loop(seed, threshold, debias):
    signal = with_own(random_signal(seed), [0, 2])
    total, count = 0.0, 0
    for row in (0, 2):
        sums = [0.0, 0.0]
        for chunk in range(int(signal.chunk_mask[row].sum())):
            sides = (signal.student, signal.teacher)
            sums = [
                s + float(m.chunk_logprobs[row, chunk]) for s, m in zip(sums, sides, strict=True)
            ]
            boundaries = [float(m.boundary_logprobs[row, chunk]) for m in sides]
            passes = torch.tensor(boundaries[1]).exp() > threshold
            if not (passes or signal.chunk_ends_run[row, chunk]):
                continue
            student, teacher = (s + b * debias for s, b in zip(sums, boundaries, strict=True))
            total -= (teacher - student) * student
            count += 1
            sums = [0.0, 0.0]
    objective = PolicyGradient(threshold=threshold, debias=debias)
    assert objective(signal).item() == pytest.approx(total, rel=1e-9)
    assert objective.weight(signal) == count
    # rows of the corpus count for nothing
    assert objective(with_own(signal, [])).item() == 0.0
    assert objective.weight(with_own(signal, [])) == 0


def one_chunk(student, teacher, boundaries=None):
    """An answer of one chunk, to which the sides give these log-likelihoods."""
    zero = torch.zeros((), dtype=torch.float64)
    boundaries = (zero, zero) if boundaries is None else boundaries

    def side(value, boundary):
        values = value.view(1, 1), boundary.view(1, 1)
        return ModelSignal(TokenLogprobs(torch.zeros(1, 5).double(), *values))

    ones = torch.ones(1, 1, dtype=torch.bool)
    return replace(
        random_signal(0, batch=1, chunks=1),
        student=side(student, boundaries[0]),
        optional_teacher=side(teacher, boundaries[1]),
        chunk_mask=ones,
        chunk_ends_run=ones,
        own_rows=ones[0],
    )


def mean_gradient(logits, target):
    """Over all texts that may be sampled, weighed by how often each is."""
    objective = PolicyGradient(threshold=0.0, debias=True)
    mean = torch.zeros_like(logits)
    for text in range(len(logits)):
        logprobs = logits.log_softmax(0)
        loss = objective(one_chunk(logprobs[text], target[text]))
        (gradient,) = torch.autograd.grad(loss, logits)
        mean += logprobs[text].exp().detach() * gradient
    return mean


def test_the_mean_gradient_is_that_of_the_reverse_kl():
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(6, generator=generator, dtype=torch.float64, requires_grad=True)
    target = torch.randn(6, generator=generator, dtype=torch.float64).log_softmax(0)
    logprobs = logits.log_softmax(0)
    (exact,) = torch.autograd.grad((logprobs.exp() * (logprobs - target)).sum(), logits)
    torch.testing.assert_close(mean_gradient(logits, target), exact)
    assert exact.abs().max() > 0.1


def test_a_student_that_is_its_teacher_has_no_gradient():
    logits = torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64, requires_grad=True)
    assert not mean_gradient(logits, logits.log_softmax(0).detach()).any()
    signal = random_signal(1)
    same = with_own(replace(signal, student=signal.teacher), [0, 1, 2])
    assert PolicyGradient(threshold=0.1, debias=True)(same).item() == 0.0
    # the distance of its relative is 0 as well
    alm = ALM(temperature=1, threshold=0.1, debias=True, divergence="reverse_kl")
    assert alm(same).item() == 0.0


@pytest.mark.parametrize("debias", [True, False])
def test_a_boundary_that_was_not_drawn_has_no_gradient(debias):
    """Its score would not be 0 in the mean: where both sides agree the student would move."""
    logits = torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64, requires_grad=True)
    next_logits = torch.tensor([1.0, 0.5], dtype=torch.float64, requires_grad=True)
    boundary = next_logits.log_softmax(0)[0]
    logprobs = logits.log_softmax(0)
    # at the chunk itself the teacher says something else
    target = logprobs.detach() + torch.tensor([0.5, -0.2, -0.3], dtype=torch.float64)
    objective = PolicyGradient(threshold=0.0, debias=debias)
    mean = torch.zeros_like(logits)
    for text in range(len(logits)):
        signal = one_chunk(logprobs[text], target[text], (boundary, boundary.detach()))
        loss = objective(signal)
        gradients = torch.autograd.grad(
            loss, [logits, next_logits], retain_graph=True, allow_unused=True
        )
        assert gradients[1] is None
        mean += logprobs[text].exp().detach() * gradients[0]
    (exact,) = torch.autograd.grad((logprobs.exp() * (logprobs - target)).sum(), logits)
    torch.testing.assert_close(mean, exact)
    # what the sides think of the boundary is part of the advantage
    found = [
        objective(one_chunk(logprobs[0], target[0], (boundary, boundary.detach() + more))).item()
        for more in (0.0, -1.0)
    ]
    assert (found[0] != found[1]) is debias


def test_thresholds_that_are_none():
    with pytest.raises(ValueError, match=r"PolicyGradient: threshold is 1.5: expected"):
        PolicyGradient(threshold=1.5, debias=True)
