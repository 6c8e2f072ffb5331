"""A GPU is waited for once a step, when the norm of the gradient is looked at.

On the meta device there are shapes and no values: what reads a value there, or makes a result whose
size depends on values, is an error. So a step that runs there waits for nothing.
"""

from contextlib import nullcontext

import pytest
import torch
from tests.invariant.test_step import make_step
from transformers import masking_utils

from alm_lightning.data.collator import Collator
from alm_lightning.distillation import options
from alm_lightning.objectives.combine import GradMag
from alm_lightning.objectives.sampled import SampledGradMag
from alm_lightning.objectives.vocabularies.pair_facts import PairFacts
from alm_lightning.training.module import _facts

# a step under a mode that looks at each operation
pytestmark = pytest.mark.slow

META = torch.device("meta")


@pytest.fixture(autouse=True)
def packed_rows_are_none(monkeypatch):
    """transformers asks once a mask whether rows are packed, at the start of a forward pass."""
    monkeypatch.setattr(masking_utils, "find_packed_sequence_indices", lambda position_ids: None)


@pytest.fixture(autouse=True)
def no_autocast(monkeypatch):
    """Which the meta device has none of."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())


def step_on_meta(scorers, rows, objective, micro_batch_size, make_balance=GradMag):
    student, teacher = scorers
    terms = options.terms(objective)
    for term in terms.values():
        term.setup(PairFacts(_facts(student), _facts(teacher)))
        term.to(META)
    balance = make_balance()
    step = make_step(scorers, balance, terms=terms)
    balance.setup(list(terms))
    balance.to(META)
    for scorer in scorers:
        scorer.to(META)
    collator = Collator(
        student=student.view, teacher=teacher.view, micro_batch_size=micro_batch_size
    )
    return step, [batch.to(META) for batch in collator(rows)]


@pytest.mark.parametrize("micro_batch_size", [3, 100])
@pytest.mark.parametrize(
    "objective",
    ["next_byte_hidden", "next_byte", "alm_next_token", "alm_next_token_hidden", "next_token"],
)
def test_a_step_waits_for_nothing(scorers, rows, objective, micro_batch_size):
    step, batches = step_on_meta(scorers, rows, objective, micro_batch_size)
    result = step(batches)
    assert all(loss.device == META for loss in result.losses.values())
    trained = [p for p in step.student.model.parameters() if p.requires_grad]
    assert all(p.grad is not None for p in trained)


def test_what_waits_is_an_error_there(scorers, rows):
    step, batches = step_on_meta(scorers, rows, "next_token", 100)
    with pytest.raises(RuntimeError, match="meta tensors"):
        float(step(batches).total)


def test_sampled_norms_wait_for_nothing(scorers, rows):
    def sampled():
        return SampledGradMag(every=2, decay=0.5)

    step, batches = step_on_meta(scorers, rows, "next_byte_hidden", 3, sampled)
    for _ in range(3):
        step(batches)
