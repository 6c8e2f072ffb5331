"""Small pairs on which objectives over whole distributions are tested, in float64.

A slow reference may take any logits that it likes: `case.student_logprobs[row, position]` is the
whole distribution from which the token at that position is predicted.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from tests.conftest import SENTENCES, tiny_gemma3
from torch import Tensor

from alm_lightning.alignment.boundaries import Finest
from alm_lightning.corpus.document import Document
from alm_lightning.data.batch import DistillBatch, SideTokens
from alm_lightning.data.collator import Collator
from alm_lightning.data.pairing import Pairing
from alm_lightning.likelihood.distributions import Distributions
from alm_lightning.likelihood.head import OutputHead
from alm_lightning.likelihood.signal import ModelSignal, Signal, TokenLogprobs
from alm_lightning.models.pair import Scorer
from alm_lightning.objectives.vocabularies.pair_facts import PairFacts, SideFacts


@dataclass(frozen=True)
class Case:
    """A student and a teacher with a batch.

    Attributes:
        student: The student, trainable.
        teacher: The teacher.
        batch: Windows of the inline sentences.
        pair: What `Objective.setup` is given.
        signal: What `Objective.forward` is given, with distributions; its student has a gradient.
        student_logprobs: Log-probabilities from transformers' own logits, [row, position, token],
            moved so that those at a position predict the token at that position.
        teacher_logprobs: The same for the teacher.
    """

    student: Scorer
    teacher: Scorer
    batch: DistillBatch
    pair: PairFacts
    signal: Signal
    student_logprobs: Float[Tensor, "batch pos vocab"]
    teacher_logprobs: Float[Tensor, "batch pos vocab"]


def objective_case(student_view, teacher_view, *, num_rows: int = 6, widths=(32, 48)) -> Case:
    """Builds a case of two tiny models of different widths in float64."""
    models = [
        tiny_gemma3(view.num_tokens, hidden_size=width).double()
        for view, width in zip((student_view, teacher_view), widths, strict=True)
    ]
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for model in models:
            # as they are initialised, all distributions are nearly uniform
            for parameter in model.parameters():
                noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                parameter.add_(0.3 * noise)
    models[1].requires_grad_(False)
    scorers = [
        Scorer(model, view)
        for model, view in zip(models, (student_view, teacher_view), strict=True)
    ]
    pairing = Pairing(
        student=student_view,
        teacher=teacher_view,
        alignment=Finest(),
        student_length=40,
        teacher_length=40,
    )
    documents = [Document(text, name=str(index)) for index, text in enumerate(SENTENCES)]
    rows = [window for document in documents for window in pairing.windows(document)][:num_rows]
    collator = Collator(student=student_view, teacher=teacher_view, micro_batch_size=num_rows)
    batch = collator.batch(rows)
    sides = [
        scorer(batch, tokens, keep_hidden=True, keep_distributions=True)
        for scorer, tokens in zip(scorers, (batch.student, batch.teacher), strict=True)
    ]
    signal = signal_of(batch, *sides)
    facts = [SideFacts(s.view, width, width) for s, width in zip(scorers, widths, strict=True)]
    logprobs = [_logprobs(scorers[0], batch.student), _logprobs(scorers[1], batch.teacher)]
    return Case(*scorers, batch, PairFacts(*facts), signal, *logprobs)


def signal_of(batch: DistillBatch, student: ModelSignal, teacher: ModelSignal) -> Signal:
    """What `Objective.forward` is given, of a batch and what both models say of it."""
    return Signal(
        student=student,
        optional_teacher=teacher,
        chunk_mask=batch.chunk_mask,
        chunk_ends_run=batch.chunk_ends_run,
        target_mask=batch.student_targets,
        own_rows=batch.own_rows,
        student_tokens=batch.student,
        teacher_tokens=batch.teacher,
    )


def assert_same(
    found: Tensor, expected: Tensor, parameters: Iterable[Tensor], *, value: float, gradient: float
) -> tuple[Tensor, ...]:
    """Compares a total and its gradients with those of a slow reference.

    The gradient is taken twice from one graph, as a balance that compares gradients does.

    Args:
        found: The objective's total.
        expected: The reference's.
        parameters: What gradients are taken with respect to.
        value: Tolerance of the total, relative and absolute.
        gradient: Relative tolerance of a gradient; a hundredth of it is the absolute one.

    Returns:
        The reference's gradients.
    """
    torch.testing.assert_close(found, expected, rtol=value, atol=value)
    parameters = list(parameters)
    for _ in range(2):
        gradients = torch.autograd.grad(found, parameters, retain_graph=True)
    wanted = torch.autograd.grad(expected, parameters)
    assert any(each.any() for each in wanted)
    for got, want in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(got, want, rtol=gradient, atol=gradient / 100)
    return wanted


def vocabulary(view, tokens):
    """A view of some tokens and nothing else."""
    return replace(view, token_bytes=tokens, roles={}, special_ids={}, fallback_ids=frozenset())


def signal_by_hand(student, teacher) -> Signal:
    """A signal of one row whose distributions are given.

    Args:
        student: Ids, the chunk of each, and for each but the first its distribution.
        teacher: The same for the teacher.

    Returns:
        The signal; its student has no gradient.
    """
    sides = [_side_by_hand(*student), _side_by_hand(*teacher)]
    mask = torch.ones(1, max(student[1]) + 1, dtype=torch.bool)
    return Signal(
        student=sides[0][0],
        optional_teacher=sides[1][0],
        chunk_mask=mask,
        chunk_ends_run=mask,
        target_mask=sides[0][1].has_target,
        own_rows=torch.zeros(len(mask), dtype=torch.bool),
        student_tokens=sides[0][1],
        teacher_tokens=sides[1][1],
    )


def _side_by_hand(ids, chunk_ids, probs):
    """A side of a signal whose distributions are given: the state before a token is its logits."""
    # the log of 0 would be nan in a product with the output layer's zeros
    hidden = torch.tensor([[*probs, probs[0]]], dtype=torch.float64).clamp_min(1e-200).log()
    size = hidden.shape[2]
    head = OutputHead(torch.eye(size, dtype=torch.float64), None, None, size, None, torch.arange(1))
    tokens = SideTokens(
        torch.tensor([ids]),
        positions=torch.arange(len(ids))[None],
        mask=torch.ones(1, len(ids), dtype=torch.bool),
        chunk_ids=torch.tensor([chunk_ids]),
    )
    logprobs = [0.0, *(math.log(p[id_]) for p, id_ in zip(probs, ids[1:], strict=True))]
    side = ModelSignal(
        TokenLogprobs(
            token_logprobs=torch.tensor([logprobs], dtype=torch.float64),
            chunk_logprobs=torch.zeros(1, 1),
            boundary_logprobs=torch.zeros(1, 1),
        ),
        optional_distributions=Distributions(hidden, hidden, head),
    )
    return side, tokens


def _logprobs(scorer: Scorer, tokens: SideTokens) -> Float[Tensor, "batch pos vocab"]:
    logits = scorer.model(
        input_ids=tokens.ids, attention_mask=tokens.mask.long(), use_cache=False
    ).logits
    found = logits[..., : scorer.view.num_tokens].log_softmax(dim=-1)
    return found.roll(1, dims=1)
