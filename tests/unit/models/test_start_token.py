"""What begins a document: the new token is read as the old one was."""

import copy
import dataclasses

import pytest
import torch
from tests.conftest import tiny_gemma3

from alm_lightning.models.embeddings.simple import Mean
from alm_lightning.models.vocabulary import BytesFromOldTokens, NewVocabulary
from alm_lightning.tokenization.bytes.view import byte_view_like


@pytest.mark.parametrize("prepends", [(True, False), (False, True), (True, True)])
def test_the_first_token_is_read_as_the_old_first_one(
    metaspace_view, byte_level_view, prepends, caplog
):
    old = dataclasses.replace(metaspace_view, prepends_bos=prepends[0])
    new = dataclasses.replace(byte_level_view, prepends_bos=prepends[1])
    model = tiny_gemma3(old.num_tokens)
    student = NewVocabulary(initialisation=Mean(), dtype=torch.float32)(model, old=old, new=new)
    rows = student.get_input_embeddings().weight
    old_rows = model.get_input_embeddings().weight
    start, old_start = (
        new.id_of("bos" if prepends[1] else "eos"),
        old.id_of("bos" if prepends[0] else "eos"),
    )
    torch.testing.assert_close(rows[start], old_rows[old_start], rtol=0, atol=0)
    other = new.id_of("eos" if prepends[1] else "bos")
    torch.testing.assert_close(
        rows[other], old_rows[old.id_of("eos" if prepends[1] else "bos")], rtol=0, atol=0
    )
    # of a tied model that row is EOS's output as well
    assert ("learn again to end a text" in caplog.text) == (prepends == (True, False))


def test_an_untied_model_writes_eos_as_it_did(metaspace_view, byte_level_view, caplog):
    old = dataclasses.replace(metaspace_view, prepends_bos=True)
    new = dataclasses.replace(byte_level_view, prepends_bos=False)
    model = tiny_gemma3(old.num_tokens, tie_word_embeddings=False)
    student = NewVocabulary(initialisation=Mean(), dtype=torch.float32)(model, old=old, new=new)
    inputs, outputs = (
        (m.get_input_embeddings().weight, m.get_output_embeddings().weight)
        for m in (student, model)
    )
    eos = new.id_of("eos")
    assert torch.equal(inputs[0][eos], outputs[0][old.id_of("bos")])
    assert torch.equal(inputs[1][eos], outputs[1][old.id_of("eos")])
    assert "learn again" not in caplog.text


def named_otherwise(view):
    """Special tokens that no other tokenizer here has, and none that mark turns."""
    ids = {f"[{role}]": index for role, index in view.roles.items()}
    return dataclasses.replace(view, special_ids=ids)


@pytest.mark.parametrize("choice", ["keep", "replace"])
@pytest.mark.parametrize("prepends_bos", [True, False])
def test_bytes_begin_with_what_is_read_as_the_old_first_token(
    byte_level_view, prepends_bos, choice
):
    old = dataclasses.replace(named_otherwise(byte_level_view), prepends_bos=prepends_bos)
    new = byte_view_like(old, [], choice)
    model = tiny_gemma3(old.num_tokens)
    made = BytesFromOldTokens(expansion=False, train_expansion=False, dtype=torch.float32)
    student = made(model, old=old, new=new)
    rows, outputs = student.get_input_embeddings().weight, student.get_output_embeddings().weight
    old_rows = model.get_input_embeddings().weight
    assert torch.equal(rows[new.start_id], old_rows[old.start_id])
    for role in ("eos", "pad"):
        assert torch.equal(rows[new.id_of(role)], old_rows[old.id_of(role)])
    assert torch.equal(outputs[new.id_of("eos")], old_rows[old.id_of("eos")])


@pytest.mark.parametrize("without", [(), ("bos",), ("pad",), ("bos", "pad")])
def test_where_a_text_ended_no_other_token_is_as_likely(byte_level_view, without):
    """A BOS or pad token with the output of EOS would be written in its place, and end nothing."""
    roles = {role: index for role, index in byte_level_view.roles.items() if role not in without}
    old = named_otherwise(byte_level_view)
    old = dataclasses.replace(old, roles=roles, prepends_bos=False)
    new = byte_view_like(old, [], "replace")
    model = tiny_gemma3(old.num_tokens)
    made = BytesFromOldTokens(expansion=False, train_expansion=False, dtype=torch.float32)
    outputs = made(model, old=old, new=new).get_output_embeddings().weight.detach()
    eos = new.id_of("eos")
    assert torch.equal(outputs[eos], model.get_output_embeddings().weight[old.id_of("eos")])
    # a state in which the old model ends the text
    logits = outputs @ outputs[eos] * 1e4
    assert logits.softmax(dim=0)[eos] > 0.99


def test_a_bos_that_chats_are_written_with_stays_what_it_was(byte_level_view):
    # the view is shared by all tests
    hf = copy.deepcopy(byte_level_view.hf)
    hf.chat_template = "{{ bos_token }}{{ messages }}"
    old = dataclasses.replace(named_otherwise(byte_level_view), hf=hf, prepends_bos=False)
    new = byte_view_like(old, [])
    model = tiny_gemma3(old.num_tokens)
    made = BytesFromOldTokens(expansion=False, train_expansion=False, dtype=torch.float32)
    student = made(model, old=old, new=new)
    old_rows = model.get_input_embeddings().weight
    for side in (student.get_input_embeddings(), student.get_output_embeddings()):
        assert torch.equal(side.weight[new.id_of("bos")], old_rows[old.id_of("bos")])
