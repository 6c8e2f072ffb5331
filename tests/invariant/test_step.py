"""One step, several roads: the gradient does not depend on how the step was cut."""

import pytest
import torch

from alm_lightning.data.collator import Collator
from alm_lightning.data.packing import FirstFit
from alm_lightning.models.structure import last_matrix, layers_of
from alm_lightning.objectives.alm import ALM
from alm_lightning.objectives.combine import Fixed, GradMag, GradNorm
from alm_lightning.objectives.hidden_states import HiddenStates
from alm_lightning.objectives.next_byte import NextByte
from alm_lightning.objectives.next_token import NextToken
from alm_lightning.objectives.sampled import SampledGradMag
from alm_lightning.objectives.vocabularies.pair_facts import PairFacts, SideFacts
from alm_lightning.training.step import DistillStep


def terms():
    return {
        "alm": ALM(temperature=5, threshold=0.1, debias=True, divergence="kl"),
        "next_token": NextToken(),
        "hidden_states": HiddenStates(projection=None, learning_rate=1e-3, fades_by=None),
    }


# of more terms than the objective has, as in conf/balance/fixed.yaml
WEIGHTS = {"next_byte": 2.0, "alm": 5.0, "next_token": 1.0, "hidden_states": 0.5}
BALANCES = [
    GradMag,
    lambda: SampledGradMag(every=2, decay=0.5),
    lambda: GradNorm(alpha=1.5, lr=0.025),
    lambda: Fixed(weights=WEIGHTS),
]


def make_step(scorers, balance, **changes):
    student, teacher = scorers
    chosen = changes.get("terms", terms())
    balance.setup(list(chosen))
    settings = {
        "student": student,
        "teacher": teacher,
        "terms": chosen,
        "balance": balance,
        "compared_at": lambda: last_matrix(student.model),
        "reduce": lambda value, op="sum": value,
        "backward": lambda loss, exchange: loss.backward(),
        "scale": 1.0,
    }
    return DistillStep(**(settings | changes))


def gradients(scorers, rows, balance, micro_batch_size, steps=1, packing=None, **changes):
    student, teacher = scorers
    collator = Collator(
        student=student.view,
        teacher=teacher.view,
        micro_batch_size=micro_batch_size,
        packing=packing,
    )
    step = make_step(scorers, balance, **changes)
    for _ in range(steps):
        student.model.zero_grad()
        result = step(collator(rows))
    found = {n: p.grad.clone() for n, p in student.model.named_parameters() if p.requires_grad}
    return result, found


def test_graphs_that_are_kept_save_a_forward_pass(scorers, rows):
    again, expected = gradients(scorers, rows, GradMag(), 2)
    passes = [0]

    def note(*_):
        passes[0] += 1

    layers_of(scorers[0].model)[0].register_forward_hook(note)
    kept, found = gradients(scorers, rows, GradMag(), 2, keep_graphs=True)
    assert passes[0] == -(-len(rows) // 2)
    assert kept.balance == again.balance
    for name in expected:
        assert torch.equal(found[name], expected[name]), name


@pytest.mark.parametrize(
    "make_balance",
    [
        GradMag,
        lambda: GradNorm(alpha=1.5, lr=0.025),
        lambda: Fixed(weights=WEIGHTS),
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


def test_packing_changes_nothing(scorers, rows):
    """Sums, weights and gradients of a step: several documents in a row, or each in its own."""
    whole, expected = gradients(scorers, rows, GradMag(), len(rows), steps=2)
    packing = FirstFit(student_length=120, teacher_length=110)
    for size in (1, 2, 9):
        parts, found = gradients(scorers, rows, GradMag(), size, steps=2, packing=packing)
        for name in expected:
            torch.testing.assert_close(found[name], expected[name], rtol=2e-3, atol=1e-6)
        for name in whole.losses:
            torch.testing.assert_close(parts.losses[name], whole.losses[name], rtol=1e-4, atol=0.0)
            torch.testing.assert_close(
                parts.balance[name], whole.balance[name], rtol=1e-3, atol=0.0
            )
            assert parts.weights[name] == whole.weights[name]


def test_the_order_of_the_windows_changes_nothing(scorers, rows):
    """Rows are sorted by length before they are cut into micro-batches."""
    whole, expected = gradients(scorers, rows, GradMag(), 3)
    parts, found = gradients(scorers, rows[::-1], GradMag(), 3)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=2e-3, atol=1e-6)
    assert parts.weights == whole.weights


class Rank:
    """What one rank says in each collective call, and hears of the others."""

    def __init__(self, heard):
        self.heard, self.said, self.exchanges = heard, [], []

    def reduce(self, value, op="sum"):
        place = len(self.said)
        self.said.append(value.detach().clone())
        values = [value.detach(), *(other[place] for other in self.heard if place < len(other))]
        return sum(values) if op == "sum" else torch.stack(values).amax(dim=0)

    def backward(self, loss, exchange):
        self.exchanges.append(exchange)
        loss.backward()


def on_ranks(scorers, shares, balance, **changes):
    """A step on ranks with these micro-batches, one after another in this process.

    A rank hears what the others said in the round before. A call needs what was said in those
    before it, so that after as many rounds as there are stages everybody has heard everything.
    """
    student, _ = scorers
    ranks = [Rank([]) for _ in shares]
    for _ in range(4):
        said = [rank.said for rank in ranks]
        ranks = [Rank([s for j, s in enumerate(said) if j != i]) for i in range(len(shares))]
        results, grads = [], []
        for rank, batches in zip(ranks, shares, strict=True):
            student.model.zero_grad()
            settings = changes | {"reduce": rank.reduce, "backward": rank.backward}
            step = make_step(scorers, balance(), **settings)
            results.append(step(batches))
            parameters = student.model.named_parameters()
            grads.append({n: p.grad.clone() for n, p in parameters if p.requires_grad})
    # the same collective calls on every rank, with the same shapes and types
    assert len({tuple((value.shape, value.dtype) for value in rank.said) for rank in ranks}) == 1
    # gradients are exchanged once, at the end: what comes before only adds to those of this rank
    for rank, batches in zip(ranks, shares, strict=True):
        assert rank.exchanges == [False] * (max(len(batches), 1) - 1) + [True]
    return results, grads


@pytest.mark.parametrize("balance", BALANCES)
@pytest.mark.parametrize("shares", [(3, 0), (2, 1), (0, 0)])
def test_ranks_with_different_numbers_of_micro_batches(scorers, rows, balance, shares):
    """Also with none: its gradients are zeros, and it makes every collective call."""
    student, teacher = scorers
    collator = Collator(student=student.view, teacher=teacher.view, micro_batch_size=2)
    batches = collator(rows[:6])[: sum(shares)]
    split = [batches[: shares[0]], batches[shares[0] :]]
    results, grads = on_ranks(scorers, split, balance)
    student.model.zero_grad()
    whole = make_step(scorers, balance())(batches)
    for name in terms():
        for result in results:
            torch.testing.assert_close(result.losses[name], whole.losses[name], rtol=1e-4, atol=0)
            assert result.weights[name] == whole.weights[name]
    assert sum(shares) == 0 or whole.losses["alm"] > 0
    for name, parameter in student.model.named_parameters():
        if parameter.requires_grad and sum(shares):
            summed = grads[0][name] + grads[1][name]
            torch.testing.assert_close(summed, parameter.grad, rtol=2e-3, atol=1e-6)
    if shares[1] == 0:
        assert not any(gradient.any() for gradient in grads[1].values())


@pytest.mark.parametrize("balance", BALANCES)
def test_a_step_without_text_teaches_a_balance_nothing(scorers, rows, balance):
    student, teacher = scorers
    batches = Collator(student=student.view, teacher=teacher.view, micro_batch_size=9)(rows)
    step, other = make_step(scorers, balance()), make_step(scorers, balance())
    for _ in range(2):
        expected = other(batches)
        # two, so that one that measures in every second step is as far as before
        for nothing in ([], []):
            step(nothing)
        result = step(batches)
        for name in terms():
            torch.testing.assert_close(result.balance[name], expected.balance[name])
            assert result.balance[name].isfinite()
    for name, value in step.balance.state_dict().items():
        torch.testing.assert_close(value, other.balance.state_dict()[name])


@pytest.mark.parametrize("balance", [GradMag, lambda: GradNorm(alpha=1.5, lr=0.025)])
def test_a_rank_without_text_beside_a_term_in_double_precision(scorers, rows, balance):
    """Losses of bytes are added up in float64, and it must exchange that, and balance alike."""
    student, teacher = scorers
    collator = Collator(student=student.view, teacher=teacher.view, micro_batch_size=2)
    batches = collator(rows[:6])
    chosen = {
        "next_byte": NextByte(end="drop", positions="every_byte", divergence="kl"),
        "next_token": NextToken(),
    }
    pair = PairFacts(SideFacts(student.view, 32, 32), SideFacts(teacher.view, 48, 48))
    chosen["next_byte"].setup(pair)
    results, _ = on_ranks(scorers, [batches, []], balance, terms=chosen)
    assert all(value.dtype == torch.float32 for value in results[0].balance.values())
    assert results[0].balance == results[1].balance
    for name in chosen:
        torch.testing.assert_close(
            results[0].losses[name].float(), results[1].losses[name], rtol=1e-6, atol=0
        )


def test_next_token_gradients_are_those_of_plain_cross_entropy(scorers, rows):
    """Against autograd on transformers' own logits of the whole batch."""
    student, teacher = scorers
    batch = Collator(student=student.view, teacher=teacher.view, micro_batch_size=9).batch(rows)
    logits = student.model(
        input_ids=batch.student.ids, attention_mask=batch.student.mask.long(), use_cache=False
    ).logits
    labels = batch.student.ids.masked_fill(~batch.student.mask, -100)[:, 1:]
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
        compared_at=lambda: last_matrix(student.model),
        reduce=lambda value, op="sum": value,
        backward=lambda loss, exchange: loss.backward(),
        scale=1.0,
    )
    collator = Collator(student=student.view, teacher=teacher.view, micro_batch_size=9)
    assert float(step(collator(rows)).total) > 0
    batch = collator.batch(rows)
    with pytest.raises(AssertionError, match="teacher was called"):
        teacher(batch, batch.teacher)
