"""Which matrices are made anew for another vocabulary, and with which tokenizers."""

from dataclasses import dataclass, field

import pytest
import torch
from tests.conftest import tiny_gemma3
from transformers import AutoModelForCausalLM, LlamaConfig, PhiConfig

from alm_lightning.models.embeddings.fvt import FastVocabularyTransfer
from alm_lightning.models.vocabulary import BytesFromOldTokens, NewVocabulary
from alm_lightning.tokenization.bytes.view import byte_view

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "tie_word_embeddings": False,
}


@dataclass
class Recorder:
    """An initialisation whose rows tell what they were made for."""

    rows: int | None = None
    asked: list = field(default_factory=list)

    def fitted(self, *, old, new):
        self.views = (old, new)

        def make(matrix, *, side):
            self.asked.append((side, matrix))
            number = float(len(self.asked))
            rows = new.num_tokens if self.rows is None else self.rows
            return torch.full((rows, matrix.shape[1]), number)

        return make


def student_of(model, old, new, initialisation):
    return NewVocabulary(initialisation, torch.float32)(model, old=old, new=new)


def test_a_tied_model_asks_once(byte_level_view, metaspace_view):
    recorder = Recorder()
    model = tiny_gemma3(byte_level_view.num_tokens)
    student = student_of(model, byte_level_view, metaspace_view, recorder)
    assert recorder.views == (byte_level_view, metaspace_view)
    ((side, matrix),) = recorder.asked
    assert side == "input"
    assert torch.equal(matrix, model.get_input_embeddings().weight)
    assert not matrix.requires_grad
    assert student.get_output_embeddings().weight is student.get_input_embeddings().weight
    assert student.get_input_embeddings().weight.shape == (metaspace_view.num_tokens, 32)


@pytest.mark.parametrize("config", [LlamaConfig, PhiConfig])
def test_an_untied_model_asks_for_each_matrix(byte_level_view, metaspace_view, config):
    """Phi's output has a bias, which is asked for as a matrix of width 1."""
    recorder = Recorder()
    model = AutoModelForCausalLM.from_config(
        config(vocab_size=byte_level_view.num_tokens + 7, **SIZES), dtype=torch.float32
    )
    student = student_of(model, byte_level_view, metaspace_view, recorder)
    head, old_head = student.get_output_embeddings(), model.get_output_embeddings()
    asked = {
        "input": (student.get_input_embeddings().weight, model.get_input_embeddings().weight),
        "output": (head.weight, old_head.weight),
    }
    numbers = set()
    for place, (side, matrix) in enumerate(recorder.asked):
        if matrix.shape[1] == 1:
            assert side == "output"
            made, old = head.bias, old_head.bias
            assert torch.equal(matrix[:, 0], old)
        else:
            made, old = asked.pop(side)
            assert torch.equal(matrix, old)
        is_new = torch.ones(len(made), dtype=torch.bool)
        # what begins a document is read as it was (test_start_token.py)
        is_new[metaspace_view.start_id] = side == "output"
        assert (made[is_new] == place + 1.0).all()
        numbers.add(place)
    assert not asked
    assert len(numbers) == (3 if config is PhiConfig else 2)


def test_roles_and_rows_are_those_of_the_new_tokenizer(byte_level_view, metaspace_view):
    model = tiny_gemma3(byte_level_view.num_tokens, pad_token_id=5, bos_token_id=6, eos_token_id=7)
    student = student_of(model, byte_level_view, metaspace_view, Recorder())
    config = student.config
    assert config.vocab_size == metaspace_view.num_tokens
    assert {
        "bos": config.bos_token_id,
        "eos": config.eos_token_id,
        "pad": config.pad_token_id,
    } == metaspace_view.roles


def test_shared_tokens_keep_their_embeddings(byte_level_view, metaspace_view):
    model = tiny_gemma3(byte_level_view.num_tokens)
    student = student_of(model, byte_level_view, metaspace_view, FastVocabularyTransfer())
    old, new = model.get_input_embeddings().weight, student.get_input_embeddings().weight
    places = {s: i for i, s in enumerate(byte_level_view.token_bytes) if s is not None}
    shared = [
        (i, places[s])
        for i, s in enumerate(metaspace_view.token_bytes)
        if s in places and i not in metaspace_view.fallback_ids
    ]
    assert len(shared) > 20
    ids, old_ids = (list(column) for column in zip(*shared, strict=True))
    assert torch.equal(new[ids], old[old_ids])


def test_another_number_of_rows_is_refused(byte_level_view, metaspace_view):
    model = tiny_gemma3(byte_level_view.num_tokens)
    with pytest.raises(ValueError, match=r"Recorder made 9 rows: expected 400"):
        student_of(model, byte_level_view, metaspace_view, Recorder(rows=9))


def test_bytes_share_no_body(metaspace_view):
    vocabulary = BytesFromOldTokens(expansion=True, train_expansion=False, dtype=torch.float32)
    model = tiny_gemma3(metaspace_view.num_tokens)
    with pytest.raises(ValueError, match=r"can't share its teacher's body.*adapter=full"):
        vocabulary(model, old=metaspace_view, new=byte_view(), share_body=True)
