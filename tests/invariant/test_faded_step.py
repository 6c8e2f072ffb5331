"""A whole step with a term that fades out."""

import pytest
import torch
from tests.invariant.test_step import gradients, make_step, terms

from alm_lightning.data.collator import Collator
from alm_lightning.objectives.combine import Fixed, GradMag, GradNorm
from alm_lightning.objectives.hidden_states import HiddenStates

WEIGHTS = {"alm": 0.5, "next_token": 0.2, "hidden_states": 0.3}


def fading(**changes):
    states = HiddenStates(projection=None, learning_rate=1e-3, fades_by=0.5)
    return {**terms(), "hidden_states": states, **changes}


def step_at(scorers, rows, balance, progress, **changes):
    student, teacher = scorers
    step = make_step(scorers, balance, terms=fading(), **changes)
    collator = Collator(student=student.view, teacher=teacher.view, micro_batch_size=3)
    student.model.zero_grad()
    result = step(collator(rows), progress)
    parameters = student.model.named_parameters()
    return step, result, {n: p.grad.clone() for n, p in parameters if p.requires_grad}


def without(scorers, rows, balance, names):
    """A step of an objective that has only some of the terms."""
    student, teacher = scorers
    step = make_step(scorers, balance, terms={name: terms()[name] for name in names})
    collator = Collator(student=student.view, teacher=teacher.view, micro_batch_size=3)
    student.model.zero_grad()
    result = step(collator(rows))
    return result, {
        n: p.grad.clone() for n, p in student.model.named_parameters() if p.requires_grad
    }


@pytest.mark.parametrize("progress", [0.5, 0.9])
def test_past_the_fade_the_term_is_not_there(scorers, rows, progress):
    step, result, found = step_at(scorers, rows, GradMag(), progress)
    expected_result, expected = without(scorers, rows, GradMag(), ["alm", "next_token"])
    assert "hidden_states" not in step.active
    assert result.losses.keys() == result.balance.keys() == {"alm", "next_token"}
    for name, value in expected_result.balance.items():
        torch.testing.assert_close(result.balance[name], value, rtol=1e-5, atol=0.0)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-7)


def test_halfway_the_gradient_is_that_of_the_faded_weights(scorers, rows):
    _, result, found = step_at(scorers, rows, Fixed(weights=WEIGHTS), 0.25)
    # half of the term's weight is left, and the sum of all stays 1
    left = {**WEIGHTS, "hidden_states": 0.15}
    expected = {name: weight / 0.85 for name, weight in left.items()}
    assert {n: float(v) for n, v in result.balance.items()} == pytest.approx(expected)
    _, gradient = gradients(scorers, rows, Fixed(weights=expected), 3)
    for name in gradient:
        torch.testing.assert_close(found[name], gradient[name], rtol=1e-4, atol=1e-7)


def test_a_balance_that_needs_all_terms_keeps_it_without_weight(scorers, rows):
    balance = GradNorm(alpha=1.5, lr=0.025)
    _, result, _ = step_at(scorers, rows, balance, 0.9)
    assert result.balance["hidden_states"] == 0.0
    assert result.losses["hidden_states"] > 0.0
