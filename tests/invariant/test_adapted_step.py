"""A step with low-rank adapters on a body that the teacher has as well."""

import pytest
import torch
from tests.conftest import SENTENCES, tiny_gemma3

from alm_lightning.alignment.boundaries import Finest
from alm_lightning.corpus.document import Document
from alm_lightning.data.collator import Collator
from alm_lightning.data.examples import Pairing
from alm_lightning.models.adapters import LowRank
from alm_lightning.models.embeddings.fvt import FastVocabularyTransfer
from alm_lightning.models.pair import Scorer
from alm_lightning.models.structure import last_matrix
from alm_lightning.models.vocabulary import NewVocabulary
from alm_lightning.objectives.alm import ALM
from alm_lightning.objectives.combine import GradMag
from alm_lightning.objectives.hidden_states import HiddenStates
from alm_lightning.objectives.next_token import NextToken
from alm_lightning.training.step import DistillStep


def pair(old, new, share_body=True):
    """Student and teacher, the adapters away from where they add nothing."""
    model = tiny_gemma3(old.num_tokens)
    vocabulary = NewVocabulary(FastVocabularyTransfer(), torch.float32)
    student = vocabulary(model, old=old, new=new, share_body=share_body)
    torch.manual_seed(1)
    LowRank(rank=4, alpha=8, share_body=share_body, train_embeddings=True).adapt(student)
    for name, parameter in student.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(parameter, std=0.1)
    model.requires_grad_(False)
    return Scorer(student, new), Scorer(model, old)


def windows(student, teacher):
    pairing = Pairing(
        student=student.view,
        teacher=teacher.view,
        alignment=Finest(),
        student_length=40,
        teacher_length=40,
    )
    documents = [Document(text, name=str(index)) for index, text in enumerate(SENTENCES)]
    return [window for document in documents for window in pairing.windows(document)]


def gradients(scorers, micro_batch_size, balance=None):
    student, teacher = scorers
    terms = {
        "alm": ALM(temperature=5, threshold=0.1, debias=True, divergence="kl"),
        "next_token": NextToken(),
        "hidden_states": HiddenStates(projection=None, learning_rate=1e-3, fades_by=None),
    }
    step = DistillStep(
        student=student,
        teacher=teacher,
        terms=terms,
        balance=balance or GradMag(),
        compared_at=lambda: last_matrix(student.model),
        reduce=lambda value, op="sum": value,
        backward=lambda loss, exchange: loss.backward(),
        scale=1.0,
    )
    collator = Collator(
        student=student.view, teacher=teacher.view, micro_batch_size=micro_batch_size
    )
    student.model.zero_grad()
    result = step(collator(windows(student, teacher)))
    parameters = student.model.named_parameters()
    return result, {n: p.grad.clone() for n, p in parameters if p.requires_grad}


def check_same(first, second):
    (result, found), (expected_result, expected) = first, second
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=2e-3, atol=1e-6)
    for name, loss in expected_result.losses.items():
        torch.testing.assert_close(result.losses[name], loss, rtol=1e-4, atol=0.0)
        torch.testing.assert_close(
            result.balance[name], expected_result.balance[name], rtol=1e-3, atol=0.0
        )


@pytest.mark.parametrize("size", [1, 3])
def test_micro_batches(byte_level_view, metaspace_view, size):
    scorers = pair(byte_level_view, metaspace_view)
    whole = gradients(scorers, 9)
    assert all(gradient.any() for gradient in whole[1].values())
    check_same(gradients(scorers, size), whole)


def test_a_shared_body_or_a_copy(byte_level_view, metaspace_view):
    """The same step: sharing saves memory, and changes nothing."""
    shared = gradients(pair(byte_level_view, metaspace_view), 3)
    check_same(gradients(pair(byte_level_view, metaspace_view, share_body=False), 3), shared)
