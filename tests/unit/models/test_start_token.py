"""What begins a document: the new token is read as the old one was."""

import dataclasses

import pytest
import torch
from tests.conftest import tiny_gemma3

from alm_lightning.models.embeddings.simple import Mean
from alm_lightning.models.vocabulary import BytesFromOldTokens, NewVocabulary
from alm_lightning.tokenization.byte_view import byte_view_like


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
    assert ("learn anew to end a text" in caplog.text) == (prepends == (True, False))


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
    assert "learn anew" not in caplog.text


@pytest.mark.parametrize("choice", ["keep", "replace"])
@pytest.mark.parametrize("prepends_bos", [True, False])
def test_bytes_begin_with_what_is_read_as_the_old_first_token(
    byte_level_view, prepends_bos, choice
):
    old = dataclasses.replace(byte_level_view, prepends_bos=prepends_bos)
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
