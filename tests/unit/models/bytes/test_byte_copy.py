"""A byte model as the student: trained on with its own tokenizer, and refused for another."""

import pytest
import torch
from tests.conftest import tiny_gemma3

from alm_lightning.models.bytes.byte_lm import ByteForCausalLM
from alm_lightning.models.embeddings.simple import Mean
from alm_lightning.models.own_vocabulary import OwnVocabulary
from alm_lightning.models.vocabulary import BytesFromOldTokens, NewVocabulary
from alm_lightning.tokenization.bytes.view import byte_view
from alm_lightning.tokenization.view import TokenizerView

IDS = torch.tensor([[256, *b"the cat", 257]])


def byte_model(view: TokenizerView, expansion: bool = True) -> ByteForCausalLM:
    """As one is loaded: in bfloat16, nothing of it to be trained."""
    make = BytesFromOldTokens(expansion=expansion, train_expansion=False, dtype=torch.bfloat16)
    model = make(tiny_gemma3(view.num_tokens), old=view, new=byte_view())
    return model.requires_grad_(False).eval()


@pytest.mark.parametrize("expansion", [True, False])
def test_the_student_is_a_copy_and_shares_no_storage(metaspace_view, bytes_view, expansion):
    model = byte_model(metaspace_view, expansion)
    own = OwnVocabulary(dtype=torch.float32)
    student = own(model, old=bytes_view, new=byte_view())
    assert student.training
    own_storage = {p.data_ptr() for p in student.state_dict().values()}
    assert not own_storage & {p.data_ptr() for p in model.state_dict().values()}
    # sums of bfloat16's embeddings, rounded or not
    expected = model.float()(IDS).logits
    torch.testing.assert_close(student.eval()(IDS).logits, expected, rtol=0, atol=1e-4)
    assert student.config is not model.config
    # the big matrix of old embeddings is neither trained nor widened
    is_trained = {name: p.requires_grad for name, p in student.named_parameters()}
    frozen = {name for name, trained in is_trained.items() if not trained}
    assert frozen == ({"model.expansion.embedding.weight"} if expansion else set())
    trained = {p.dtype for p in student.parameters() if p.requires_grad}
    assert trained == {torch.float32}


def test_one_step_changes_the_student_alone(metaspace_view, bytes_view):
    model = byte_model(metaspace_view)
    model.generation_config.temperature = 0.9
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    student = OwnVocabulary(dtype=torch.float32)(model, old=bytes_view, new=byte_view())
    optimizer = torch.optim.SGD((p for p in student.parameters() if p.requires_grad), lr=1.0)
    student(IDS, labels=IDS).loss.backward()
    optimizer.step()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    changed = student(IDS).logits - model.float()(IDS).logits
    assert changed.abs().max() > 1e-3
    # without sampling it has no effect, and is not written
    assert student.generation_config.temperature is None
    assert model.generation_config.temperature == 0.9


def test_its_body_cannot_be_shared(metaspace_view, bytes_view):
    with pytest.raises(ValueError, match=r"byte model.*share_body.*adapter=full"):
        OwnVocabulary(dtype=torch.float32)(
            byte_model(metaspace_view), old=bytes_view, new=bytes_view, share_body=True
        )


@pytest.mark.parametrize(
    "make",
    [
        NewVocabulary(Mean(), dtype=torch.float32),
        BytesFromOldTokens(expansion=True, train_expansion=False, dtype=torch.float32),
    ],
)
def test_no_other_student_is_made_of_it(metaspace_view, bytes_view, make):
    with pytest.raises(ValueError, match=r"byte model.*tokenizer=own embeddings=own adapter=full"):
        make(byte_model(metaspace_view), old=bytes_view, new=bytes_view)
