"""Rows beyond the last token."""

import pytest
import torch
from tests.conftest import tiny_gemma3
from transformers import LlamaConfig, LlamaForCausalLM

from alm_lightning.models.padding import pad_rows


def tiny_llama():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=50,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        tie_word_embeddings=False,
    )
    return LlamaForCausalLM(config)


@pytest.mark.parametrize("model", [tiny_gemma3(50), tiny_llama()], ids=["tied", "untied"])
def test_padding_rows_are_the_mean_and_change_no_other_logit(model):
    ids = torch.arange(12)[None]
    before = model(input_ids=ids).logits.detach()
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    pad_rows(model, 64)
    after = model(input_ids=ids).logits.detach()
    assert after.shape[-1] == 64 == model.config.vocab_size
    torch.testing.assert_close(after[..., :50], before)
    assert (model.get_output_embeddings().weight is model.get_input_embeddings().weight) == tied
    for table in (model.get_input_embeddings().weight, model.get_output_embeddings().weight):
        assert table.requires_grad
        torch.testing.assert_close(table[50:], table[:50].mean(0).expand(14, -1))
    # no more than their share of a uniform distribution
    assert after.softmax(-1)[..., 50:].sum(-1).max() <= 14 / 64


def test_enough_rows_stay_as_they_are():
    model = tiny_llama()
    weight = model.get_input_embeddings().weight
    pad_rows(model, 50)
    assert model.get_input_embeddings().weight is weight
