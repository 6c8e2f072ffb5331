"""A student that keeps its vocabulary."""

import pytest
import torch
from tests.conftest import tiny_gemma3

from alm_lightning.models.own_vocabulary import OwnTokenizer, OwnVocabulary
from alm_lightning.tokenization.chat.formats import FORMATS


@pytest.fixture
def model(metaspace_view):
    return tiny_gemma3(metaspace_view.num_tokens + 8)


def test_the_student_is_a_copy_of_what_it_starts_as(model, metaspace_view):
    own = OwnVocabulary(dtype=torch.float32)
    student = own(model, old=metaspace_view, new=metaspace_view)
    ids = torch.tensor([[2, 300, 301, 302]])
    torch.testing.assert_close(student(ids).logits, model(ids).logits, rtol=0, atol=1e-6)
    assert student.get_output_embeddings().weight is student.get_input_embeddings().weight
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(1)
    assert not torch.allclose(student(ids).logits, model(ids).logits)


def test_a_student_is_trained_in_its_own_type(model, metaspace_view):
    own = OwnVocabulary(dtype=torch.float32)
    student = own(model.to(torch.bfloat16), old=metaspace_view, new=metaspace_view)
    assert {p.dtype for p in student.parameters()} == {torch.float32}
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


def test_the_chat_template_is_the_students_alone(metaspace_view):
    found = OwnTokenizer(name="tiny", chat_template="gemma")(metaspace_view)
    assert found.hf.chat_template == FORMATS["gemma"].jinja
    assert metaspace_view.hf.chat_template is None
    assert found.fingerprint == metaspace_view.fingerprint
    assert OwnTokenizer(name="tiny", chat_template=None)(metaspace_view) is metaspace_view
    with pytest.raises(ValueError, match=r"chat_template='llama3'|special tokens <\|start_header"):
        OwnTokenizer(name="tiny", chat_template="llama3")(metaspace_view)
    with pytest.raises(ValueError, match=r"a chat template of its own.*chat_template=null"):
        OwnTokenizer(name="tiny", chat_template="{{ messages[0]['content'] }}")(found)


def test_another_tokenizer_has_no_embeddings_of_its_own(model, metaspace_view, byte_level_view):
    with pytest.raises(ValueError, match=r"'tiny metaspace'.*'tiny byte-level'.*embeddings=fvt"):
        OwnVocabulary(dtype=torch.float32)(model, old=metaspace_view, new=byte_level_view)
