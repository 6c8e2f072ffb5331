"""Steps of objectives over whole distributions do not depend on how they were cut either."""

from dataclasses import replace

import pytest
import torch
from tests.conftest import SENTENCES, tiny_gemma3

from alm_lightning.alignment.boundaries import Finest
from alm_lightning.corpus.document import Document
from alm_lightning.data.collator import Collator
from alm_lightning.data.packing import FirstFit
from alm_lightning.data.pairing import Pairing
from alm_lightning.models.pair import Scorer
from alm_lightning.models.structure import last_matrix
from alm_lightning.objectives.alm_hybrid import ALMHybrid
from alm_lightning.objectives.baselines.bld import BLD
from alm_lightning.objectives.baselines.bpm import BytePrefix
from alm_lightning.objectives.baselines.dskd import DSKD
from alm_lightning.objectives.baselines.escd import ESCD
from alm_lightning.objectives.baselines.strict_one_to_one import StrictOneToOne
from alm_lightning.objectives.baselines.uld import ULD
from alm_lightning.objectives.combine import GradMag
from alm_lightning.objectives.next_byte import NextByte
from alm_lightning.objectives.next_token import NextToken
from alm_lightning.objectives.total_variation import TotalVariation
from alm_lightning.objectives.vocabularies.pair_facts import PairFacts, SideFacts
from alm_lightning.shapes import NO_CHUNK
from alm_lightning.training.step import DistillStep


def hybrid(unshared):
    return ALMHybrid(
        temperature=5,
        threshold=3e-3,
        debias=True,
        distribution_temperature=1.5,
        distribution_weight=1,
        unshared=unshared,
    )


OBJECTIVES = {
    "strict_one_to_one": lambda: StrictOneToOne(temperature=1.5),
    "next_byte": lambda: NextByte(end="drop", positions="every_byte", divergence="kl"),
    "next_byte_boundary": lambda: NextByte(
        end="boundary", positions="token_starts", divergence="kl"
    ),
    "alm_hybrid": lambda: hybrid("bucket"),
    "alm_hybrid_by_prefix": lambda: hybrid("prefix"),
    "bld": lambda: BLD(max_bytes=4, cross_entropy_weight=1, learning_rate=1e-3),
    "bpm": lambda: BytePrefix(mask_whitespace=True, inside=False),
    "bpm_inside": lambda: BytePrefix(mask_whitespace=True, inside=True),
    "escd": lambda: ESCD(mask_whitespace=True),
    "dskd": lambda: DSKD(temperature=2, learning_rate=1e-3),
    "uld": ULD,
    "total_variation": TotalVariation,
}


@pytest.fixture
def scorers(byte_level_view, metaspace_view):
    """Two subword models of different widths, which are not nearly uniform."""
    views = (byte_level_view, metaspace_view)
    models = [
        tiny_gemma3(view.num_tokens, hidden_size=width)
        for view, width in zip(views, (32, 48), strict=True)
    ]
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for model in models:
            for parameter in model.parameters():
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    models[1].requires_grad_(False)
    return [Scorer(*parts) for parts in zip(models, views, strict=True)]


@pytest.fixture
def rows(scorers):
    student, teacher = scorers
    pairing = Pairing(
        student=student.view,
        teacher=teacher.view,
        alignment=Finest(),
        student_length=20,
        teacher_length=20,
    )
    documents = [Document(text, name=str(index)) for index, text in enumerate(SENTENCES)]
    return [window for document in documents for window in pairing.windows(document)]


@pytest.fixture(params=OBJECTIVES)
def term(request, scorers):
    objective = OBJECTIVES[request.param]()
    torch.manual_seed(3)
    student, teacher = scorers
    objective.setup(PairFacts(SideFacts(student.view, 32, 32), SideFacts(teacher.view, 48, 48)))
    return objective


def gradients(scorers, rows, term, *, size, packing=None):
    """What a step says, and the gradients of the student and of what the term has of its own."""
    student, teacher = scorers
    collator = Collator(
        student=student.view, teacher=teacher.view, micro_batch_size=size, packing=packing
    )
    step = DistillStep(
        student=student,
        teacher=teacher,
        terms={"term": term, "next_token": NextToken()},
        balance=GradMag(),
        compared_at=lambda: last_matrix(student.model),
        reduce=lambda value, op="sum": value,
        backward=lambda loss, exchange: loss.backward(),
        scale=1.0,
    )
    student.model.zero_grad()
    term.zero_grad()
    batches = collator(rows)
    result = step(batches)
    parameters = [*student.model.named_parameters(), *term.named_parameters()]
    return result, {name: p.grad.clone() for name, p in parameters}, len(batches)


def check_same(first, second):
    (result, found, _), (expected_result, expected, _) = first, second
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert gradient.any()
        scale = float(gradient.abs().max())
        torch.testing.assert_close(found[name], gradient, rtol=2e-3, atol=2e-5 * scale)
    for name, loss in expected_result.losses.items():
        assert loss > 0
        torch.testing.assert_close(result.losses[name], loss, rtol=1e-4, atol=0.0)
        torch.testing.assert_close(
            result.balance[name], expected_result.balance[name], rtol=1e-3, atol=0.0
        )
        assert result.weights[name] == expected_result.weights[name]


def test_micro_batches(scorers, rows, term):
    whole = gradients(scorers, rows, term, size=len(rows))
    for size in (1, 4):
        check_same(gradients(scorers, rows, term, size=size), whole)


def test_packing_changes_nothing(scorers, rows, term):
    whole = gradients(scorers, rows, term, size=len(rows))
    packing = FirstFit(student_length=70, teacher_length=70)
    for size in (1, 100):
        packed = gradients(scorers, rows, term, size=size, packing=packing)
        # fewer rows than windows
        assert size > 1 or packed[2] < len(rows) / 2
        check_same(packed, whole)


def test_a_step_without_a_unit_has_a_gradient_of_0(scorers, rows, term):
    """A batch in which nothing is one token on both sides, or in no chunk, or not trained on."""
    student, teacher = scorers
    batch = Collator(student=student.view, teacher=teacher.view, micro_batch_size=2).batch(rows[:2])
    chunk_ids = torch.full_like(batch.student.chunk_ids, NO_CHUNK)
    empty = replace(
        batch,
        chunk_mask=torch.zeros_like(batch.chunk_mask),
        student_targets=torch.zeros_like(batch.student_targets),
        student=replace(batch.student, chunk_ids=chunk_ids),
    )
    step = DistillStep(
        student=student,
        teacher=teacher,
        terms={"term": term, "next_token": NextToken()},
        balance=GradMag(),
        compared_at=lambda: last_matrix(student.model),
        reduce=lambda value, op="sum": value,
        backward=lambda loss, exchange: loss.backward(),
        scale=1.0,
    )
    for batches in ([empty], [empty, empty]):
        student.model.zero_grad()
        result = step(batches)
        assert result.losses["term"] == 0
        assert not any(p.grad.any() for p in student.model.parameters())
