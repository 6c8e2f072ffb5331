import logging
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    Gemma3Config,
    Gemma3ForCausalLM,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
)

from alm_lightning.models import text_part as room
from alm_lightning.models.loading import load_causal_lm
from alm_lightning.models.structure import last_matrix
from alm_lightning.models.text_part import text_part
from alm_lightning.models.transfer import check_transferable
from alm_lightning.models.weights.sources import Folder


def tiny_gemma3_with_images(vocab_size=120):
    """A tiny Gemma 3 with a vision tower, as those from 4B on are on the hub."""
    torch.manual_seed(0)
    text = {
        "vocab_size": vocab_size,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "query_pre_attn_scalar": 16,
        "sliding_window": 8,
        "layer_types": ["sliding_attention", "full_attention"],
        "max_position_embeddings": 512,
    }
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    vision |= {"num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    config = Gemma3Config(
        text_config=text,
        vision_config=vision,
        mm_tokens_per_image=1,
        boi_token_index=vocab_size - 3,
        eoi_token_index=vocab_size - 2,
        image_token_index=vocab_size - 1,
        pad_token_id=0,
        eos_token_id=[1, 106],
        bos_token_id=2,
    )
    return Gemma3ForConditionalGeneration(config).eval()


@pytest.fixture
def folder(tmp_path):
    model = tiny_gemma3_with_images()
    # norms start as ones and zeros, which would hide one that was left out
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(tmp_path)
    return tmp_path


def load(folder, dtype=torch.float32):
    return load_causal_lm(Folder(path=str(folder)), dtype=dtype, attn_implementation="eager")


@pytest.fixture
def ids():
    return torch.randint(3, 100, (2, 21), generator=torch.Generator().manual_seed(1))


def test_the_text_part_has_the_same_logits_and_no_copy(folder, ids):
    whole = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    assert isinstance(whole, Gemma3ForConditionalGeneration)
    with torch.no_grad():
        expected = whole(input_ids=ids).logits
    plain = text_part(whole)
    assert type(plain) is Gemma3ForCausalLM
    with torch.no_grad():
        assert torch.equal(plain(input_ids=ids).logits, expected)
    assert plain.get_input_embeddings() is whole.get_input_embeddings()
    assert plain.lm_head.weight is plain.model.embed_tokens.weight
    tensors = [*plain.parameters(), *plain.buffers()]
    assert not any(tensor.is_meta for tensor in tensors)


def test_loading_takes_the_text_part_and_says_so(folder, caplog):
    caplog.set_level(logging.INFO)
    model = load(folder, torch.bfloat16)
    assert type(model) is Gemma3ForCausalLM
    assert not model.training
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert model.config._attn_implementation == "eager"
    assert model.config.get_text_config() is model.config
    assert "Gemma3ForConditionalGeneration reads more than text: of its " in caplog.text
    # the turn's end is in the list of the whole model alone
    assert model.generation_config.eos_token_id == [1, 106]
    check_transferable(model)


def test_the_text_part_trains_and_is_saved_as_a_plain_model(folder, ids, tmp_path):
    model = load(folder).train()
    # the whole model would ask which tokens are images
    model(input_ids=ids, labels=ids).loss.backward()
    assert last_matrix(model).grad.abs().sum() > 0
    model.save_pretrained(tmp_path / "plain")
    names = set(load_file(tmp_path / "plain" / "model.safetensors"))
    assert not any("vision" in name or "language_model" in name for name in names)
    again = load(tmp_path / "plain")
    assert type(again) is Gemma3ForCausalLM
    with torch.no_grad():
        assert torch.equal(again(input_ids=ids).logits, model.eval()(input_ids=ids).logits)


def test_other_models_come_as_they_are(scorers):
    for scorer in scorers:
        # a byte student has the configuration of its body inside, and is no model of two parts
        assert text_part(scorer.model) is scorer.model


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ({}, "no causal language model for Gemma3TextConfig"),
        (
            {Gemma3TextConfig: lambda config: SimpleNamespace(base_model=None)},
            "no causal language model around Gemma3TextModel",
        ),
    ],
)
def test_a_family_without_a_plain_model_is_refused(monkeypatch, known, message):
    monkeypatch.setattr(room, "MODEL_FOR_CAUSAL_LM_MAPPING", known)
    with pytest.raises(ValueError, match=f"reads more than text, and .*{message}"):
        text_part(tiny_gemma3_with_images())
