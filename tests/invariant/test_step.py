"""One step, several roads: the gradient does not depend on how the step was cut."""

import pytest
import torch

from alm_lightning.data.collator import Collator
from alm_lightning.models.structure import last_matrix
from alm_lightning.objectives.alm import ALM
from alm_lightning.objectives.combine import Fixed, GradMag, GradNorm
from alm_lightning.objectives.hidden_states import HiddenStates
from alm_lightning.objectives.next_token import NextToken
from alm_lightning.training.step import DistillStep


def terms():
    return {
        "alm": ALM(temperature=5, threshold=0.1, debias=True, divergence="kl"),
        "next_token": NextToken(),
        "hidden_states": HiddenStates(),
    }


def gradients(scorers, rows, balance, micro_batch_size, steps=1):
    student, teacher = scorers
    collator = Collator(
        student=student.view, teacher=teacher.view, micro_batch_size=micro_batch_size
    )
    balance.setup(list(terms()))
    step = DistillStep(
        student=student,
        teacher=teacher,
        terms=terms(),
        balance=balance,
        compared_at=last_matrix(student.model),
        reduce=lambda value: value,
        backward=torch.Tensor.backward,
        scale=1.0,
    )
    for _ in range(steps):
        student.model.zero_grad()
        result = step(collator(rows))
    found = {n: p.grad.clone() for n, p in student.model.named_parameters() if p.requires_grad}
    return result, found


@pytest.mark.parametrize(
    "make_balance",
    [
        GradMag,
        lambda: GradNorm(alpha=1.5, lr=0.025),
        lambda: Fixed(weights={"alm": 5.0, "next_token": 1.0, "hidden_states": 0.5}),
    ],
)
def test_micro_batches(scorers, rows, make_balance):
    whole, expected = gradients(scorers, rows, make_balance(), len(rows), steps=2)
    for size in (1, 3):
        parts, found = gradients(scorers, rows, make_balance(), size, steps=2)
        for name in expected:
            torch.testing.assert_close(found[name], expected[name], rtol=2e-3, atol=1e-6)
        for name in whole.losses:
            torch.testing.assert_close(parts.losses[name], whole.losses[name], rtol=1e-4, atol=0.0)
            torch.testing.assert_close(
                parts.balance[name], whole.balance[name], rtol=1e-3, atol=0.0
            )
            assert parts.weights[name] == whole.weights[name]


def test_next_token_gradients_are_those_of_plain_cross_entropy(scorers, rows):
    """Against autograd on transformers' own logits of the whole batch."""
    student, teacher = scorers
    batch = Collator(student=student.view, teacher=teacher.view, micro_batch_size=9).batch(rows)
    logits = student.model(
        input_ids=batch.student_ids, attention_mask=batch.student_mask.long(), use_cache=False
    ).logits
    labels = batch.student_ids.masked_fill(~batch.student_mask, -100)[:, 1:]
    cross_entropy = torch.nn.functional.cross_entropy(
        logits[:, :-1].reshape(-1, logits.shape[-1]), labels.reshape(-1)
    )
    student.model.zero_grad()
    cross_entropy.backward()
    expected = {n: p.grad.clone() for n, p in student.model.named_parameters() if p.requires_grad}
    only = {"alm": 0.0, "next_token": 1.0, "hidden_states": 0.0}
    result, found = gradients(scorers, rows, Fixed(weights=only), 2)
    torch.testing.assert_close(
        result.losses["next_token"], cross_entropy.detach(), rtol=1e-4, atol=0.0
    )
    assert result.total == result.losses["next_token"]
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-3, atol=1e-7)


def test_the_step_is_linear_in_the_weights_of_its_terms(scorers, rows):
    """ALM and hidden states reach the weights as their own gradients do, each times its weight."""
    weights = {"alm": 5.0, "next_token": 1.0, "hidden_states": 0.5}
    _, whole = gradients(scorers, rows, Fixed(weights=weights), len(rows))
    summed = {name: torch.zeros_like(gradient) for name, gradient in whole.items()}
    for name, weight in weights.items():
        alone = {other: float(other == name) for other in weights}
        _, part = gradients(scorers, rows, Fixed(weights=alone), len(rows))
        assert any(gradient.any() for gradient in part.values())
        for parameter, gradient in part.items():
            summed[parameter] += weight * gradient
    for parameter, gradient in whole.items():
        torch.testing.assert_close(gradient, summed[parameter], rtol=1e-3, atol=1e-6)


def test_gradmag_makes_all_terms_pull_alike(scorers, rows):
    result, _ = gradients(scorers, rows, GradMag(), len(rows))
    assert float(sum(result.balance.values())) == pytest.approx(1.0)
    pulls = []
    for name in terms():
        alone = {other: float(other == name) for other in terms()}
        _, found = gradients(scorers, rows, Fixed(weights=alone), len(rows))
        (matrix,) = (g for n, g in found.items() if n.endswith(".layers.1.mlp.down_proj.weight"))
        norm = matrix.norm()
        pulls.append(float(norm * result.balance[name]))
    assert pulls == pytest.approx([pulls[0]] * 3, rel=1e-3)


def test_a_teacher_that_nobody_needs_is_not_called(scorers, rows, monkeypatch):
    student, teacher = scorers

    def refuse(*args, **kwargs):
        raise AssertionError("the teacher was called")

    monkeypatch.setattr(teacher.model.get_decoder(), "forward", refuse)
    balance = Fixed(weights={"next_token": 1.0})
    balance.setup(["next_token"])
    step = DistillStep(
        student=student,
        teacher=teacher,
        terms={"next_token": NextToken()},
        balance=balance,
        compared_at=last_matrix(student.model),
        reduce=lambda value: value,
        backward=torch.Tensor.backward,
        scale=1.0,
    )
    collator = Collator(student=student.view, teacher=teacher.view, micro_batch_size=9)
    assert float(step(collator(rows)).total) > 0
    with pytest.raises(AssertionError, match="teacher was called"):
        teacher(collator.batch(rows))
