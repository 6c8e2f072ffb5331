"""A step asks each model only for what an active term reads."""

import pytest
import torch

from alm_lightning.models.pair import Scorer
from alm_lightning.models.structure import last_matrix
from alm_lightning.objectives.alm import ALM
from alm_lightning.objectives.combine import GradMag
from alm_lightning.objectives.hidden_states import HiddenStates
from alm_lightning.objectives.next_byte import NextByte
from alm_lightning.objectives.next_token import NextToken
from alm_lightning.objectives.vocabularies.pair_facts import PairFacts, SideFacts
from alm_lightning.training.step import DistillStep

NEXT_BYTE = {
    "next_byte": lambda: NextByte(end="drop", positions="token_starts", divergence="kl"),
    "hidden_states": lambda: HiddenStates(projection=None, learning_rate=1e-3, fades_by=None),
}


def step_of(scorers, made):
    student, teacher = scorers
    terms = {name: make() for name, make in made.items()}
    for term in terms.values():
        term.setup(PairFacts(SideFacts(student.view, 32, 32), SideFacts(teacher.view, 32, 32)))
    balance = GradMag()
    balance.setup(list(terms))
    return DistillStep(
        student=student,
        teacher=teacher,
        terms=terms,
        balance=balance,
        compared_at=lambda: last_matrix(student.model),
        reduce=lambda value, op="sum": value,
        backward=lambda loss, exchange: loss.backward(),
        scale=1.0,
    )


def asked(monkeypatch, scorers, made, batches):
    """Whether log-likelihoods of tokens were made, of student and of teacher."""
    found = {}
    call = Scorer.__call__

    def noted(self, batch, tokens, **settings):
        signal = call(self, batch, tokens, **settings)
        found[self is scorers[0]] = signal.optional_tokens is not None
        return signal

    with monkeypatch.context() as patch:
        patch.setattr(Scorer, "__call__", noted)
        step_of(scorers, made)(batches)
    return found[True], found[False]


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (NEXT_BYTE, (False, False)),
        (NEXT_BYTE | {"next_token": NextToken}, (True, False)),
        (
            {"alm": lambda: ALM(temperature=5, threshold=0.1, debias=True, divergence="kl")},
            (True, True),
        ),
    ],
)
def test_token_likelihoods_are_made_where_a_term_reads_them(
    monkeypatch, scorers, collator, rows, made, expected
):
    assert asked(monkeypatch, scorers, made, collator(rows)) == expected


def test_the_gradient_is_the_same_without_them(monkeypatch, scorers, collator, rows):
    gradients = []
    for needs_tokens in (True, False):
        monkeypatch.setattr(NextByte, "needs_tokens", needs_tokens)
        scorers[0].model.zero_grad()
        step_of(scorers, NEXT_BYTE)(collator(rows))
        parameters = [p for p in scorers[0].model.parameters() if p.requires_grad]
        gradients.append([p.grad.clone() for p in parameters])
    for with_tokens, without in zip(*gradients, strict=True):
        torch.testing.assert_close(without, with_tokens, rtol=1e-5, atol=1e-8)


def test_a_matrix_that_no_term_reads_has_a_gradient_in_the_last_backward_pass(
    scorers, collator, rows
):
    """DDP waits for one of each trained parameter there, and counts no other pass."""
    model = scorers[0].model
    missing = []

    def backward(loss, exchange):
        model.zero_grad()
        loss.backward()
        missing.append(
            {n for n, p in model.named_parameters() if p.requires_grad and p.grad is None}
        )

    step = step_of(scorers, {"hidden_states": NEXT_BYTE["hidden_states"]})
    step.backward = backward
    batches = collator(rows)
    # alone nobody waits, and an optimizer would hold states of it for nothing
    step(batches)
    assert missing == [{"lm_head.weight"}] * len(batches)
    missing.clear()
    step.scale = 2.0
    step(batches)
    assert missing == [{"lm_head.weight"}] * (len(batches) - 1) + [set()]
    assert not model.lm_head.weight.grad.any()
    assert model.get_input_embeddings().weight.grad.any()
