"""What begins a document: the new token is read as the old one was."""

import dataclasses

import pytest
import torch
from tests.conftest import tiny_gemma3

from alm_lightning.models.embeddings.simple import Mean
from alm_lightning.models.vocabulary import NewVocabulary


@pytest.mark.parametrize("prepends", [(True, False), (False, True), (True, True)])
def test_the_first_token_is_read_as_the_old_first_one(metaspace_view, byte_level_view, prepends):
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
