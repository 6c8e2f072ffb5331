"""Rows beyond the last token."""

import copy

import pytest
import torch
from tests.conftest import tiny_gemma3
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PhiConfig

from alm_lightning.models.padding import padded_weights

SIZES = {
    "vocab_size": 50,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "tie_word_embeddings": False,
}


def tiny_llama():
    return LlamaForCausalLM(LlamaConfig(**SIZES))


def tiny_phi():
    """With a bias of the output."""
    model = AutoModelForCausalLM.from_config(PhiConfig(**SIZES))
    torch.nn.init.normal_(model.lm_head.bias)
    return model


MODELS = {"tied": lambda: tiny_gemma3(50), "untied": tiny_llama, "bias": tiny_phi}


def padded(model, num_rows):
    """A model of the padded weights."""
    weights = padded_weights(model, model.state_dict(), num_rows)
    config = copy.deepcopy(model.config)
    config.vocab_size = num_rows
    made = type(model)(config)
    made.load_state_dict(weights)
    return made.eval()


@pytest.fixture(params=MODELS)
def model(request):
    torch.manual_seed(0)
    return MODELS[request.param]().eval()


def test_padding_rows_are_the_mean_and_change_no_other_logit(model):
    ids = torch.arange(12)[None]
    before = model(input_ids=ids).logits.detach()
    made = padded(model, 64)
    after = made(input_ids=ids).logits.detach()
    assert after.shape[-1] == 64
    torch.testing.assert_close(after[..., :50], before)
    for end in (made.get_input_embeddings(), made.get_output_embeddings()):
        torch.testing.assert_close(end.weight[50:], end.weight[:50].mean(0).expand(14, -1))
    # no more than their share of a uniform distribution
    assert after.softmax(-1)[..., 50:].sum(-1).max() <= 14 / 64
    assert model.get_input_embeddings().num_embeddings == 50


@pytest.mark.parametrize("seed", range(4))
def test_no_padding_row_is_written(model, seed):
    """Greedy decoding by transformers takes none, though most rows are padding."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    settings = {"max_new_tokens": 24, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    ids = torch.randint(50, (4, 6), generator=generator)
    written = padded(model, 500).generate(ids, **settings)
    assert written.max() < 50
    assert torch.equal(written, model.generate(ids, **settings))


def test_enough_rows_stay_as_they_are(model):
    weights = model.state_dict()
    made = padded_weights(model, weights, 50)
    assert all(made[name] is weights[name] for name in weights)
    with pytest.raises(ValueError, match="num_rows is 49: expected at least the model's 50"):
        padded_weights(model, weights, 49)
