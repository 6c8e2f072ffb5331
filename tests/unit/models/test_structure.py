"""Packed rows: no token sees another document, in any layer."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.conftest import tiny_gemma3
from tests.unit.models.bytes.test_byte_lm import byte_model
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    RecurrentGemmaConfig,
    RecurrentGemmaForCausalLM,
    xLSTMConfig,
    xLSTMForCausalLM,
)

from alm_lightning.models.bytes.byte_config import ByteLMConfig
from alm_lightning.models.pair import Scorer
from alm_lightning.models.structure import (
    check_packable,
    head_of,
    last_hidden,
    output_head,
    unused_ids,
)

LENGTHS = (5, 1, 11, 2, 8)
NUM_PADDING = 4


def tiny_llama():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=99,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
    )
    return LlamaForCausalLM(config).eval()


MODELS = {
    # windows far shorter than the row, and than some documents
    "gemma3": lambda: tiny_gemma3(99, sliding_window=4),
    "llama": tiny_llama,
    "byte gemma3": lambda: byte_model("gemma3"),
    "byte gemma2": lambda: byte_model("gemma2"),
    "byte llama": lambda: byte_model("llama"),
}


# Gemma 2 caps the logits of its attention, which sdpa can't
CASES = [
    (name, a) for name in MODELS for a in ("sdpa", "eager") if (name, a) != ("byte gemma2", "sdpa")
]


@torch.no_grad()
@pytest.mark.parametrize(("name", "attention"), CASES)
def test_a_packed_row_has_the_hidden_states_of_its_documents(name, attention):
    model = MODELS[name]()
    model.set_attn_implementation(attention)
    check_packable(model)
    # no start token parts the documents, and byte tokens reach over their ends
    low, high = (97, 100) if name.startswith("byte") else (3, 99)
    generator = torch.Generator().manual_seed(1)
    rows = [
        [torch.randint(low, high, (n,), generator=generator) for n in order]
        for order in (LENGTHS, LENGTHS[::-1])
    ]
    padding = torch.full((NUM_PADDING,), low)
    ids = torch.stack([torch.cat([*row, padding]) for row in rows])
    positions = torch.stack(
        [torch.cat([torch.arange(len(d)) for d in [*row, padding]]) for row in rows]
    ).int()
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[:, -NUM_PADDING:] = False
    packed = last_hidden(model, ids, positions)
    for row, found in zip(rows, packed, strict=True):
        apart = [last_hidden(model, d[None])[0] for d in row]
        torch.testing.assert_close(found[:-NUM_PADDING], torch.cat(apart), rtol=0, atol=1e-5)
    # it would not pass without the positions
    joined = last_hidden(model, ids)
    assert (joined[:, 6:-NUM_PADDING] - packed[:, 6:-NUM_PADDING]).abs().max() > 1e-2


@pytest.mark.parametrize("make", [tiny_llama, lambda: byte_model("llama")])
def test_models_whose_documents_would_meet_are_refused(make):
    model = make()
    body = model.get_decoder() if model.config.model_type == "llama" else model.model.body
    body.config._attn_implementation = "flash_attention_2"
    with pytest.raises(ValueError, match=r"has 'flash_attention_2' attention: documents of"):
        check_packable(model)
    body.config._attn_implementation = "sdpa"
    check_packable(model)
    body.config.layer_types = ["linear_attention", "full_attention"]
    with pytest.raises(ValueError, match=r"layers of kind \['linear_attention'\].*one_per_row"):
        check_packable(model)


def test_rows_that_no_token_has_get_no_mass(metaspace_view):
    """In the middle of the vocabulary and at its end, in the loss and in its gradient."""
    lost = [i for i, s in enumerate(metaspace_view.token_bytes) if s is not None][3::40]
    surfaces = [None if i in lost else s for i, s in enumerate(metaspace_view.token_bytes)]
    view = replace(metaspace_view, token_bytes=surfaces)
    assert unused_ids(metaspace_view).tolist() == []
    assert unused_ids(view).tolist() == lost
    assert not set(lost) & set(view.boundary_ids.tolist())
    model = tiny_gemma3(view.num_tokens + 7)
    head = output_head(model, view)
    assert head.padding_ids.tolist() == lost
    assert output_head(model, metaspace_view).padding_ids is None
    Scorer(model, view)
    assert np.array_equal(view.boundary_ids, head.boundary_ids.numpy())


@pytest.mark.parametrize("scale", ["logit_scale", "logits_scaling", "lm_head_multiplier"])
def test_a_head_that_scales_its_logits_is_refused(scale, metaspace_view):
    model = tiny_gemma3(metaspace_view.num_tokens)
    setattr(model.config, scale, 1.0)
    output_head(model, metaspace_view)
    setattr(model.config, scale, 0.5)
    with pytest.raises(ValueError, match=rf"scales its logits \({scale}=0\.5\)"):
        output_head(model, metaspace_view)


def tiny_recurrent_gemma(cap):
    return RecurrentGemmaForCausalLM(
        RecurrentGemmaConfig(
            vocab_size=99,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=3,
            num_attention_heads=2,
            lru_width=32,
            attention_window_size=16,
            logits_soft_cap=cap,
        )
    )


def tiny_xlstm(cap):
    return xLSTMForCausalLM(
        xLSTMConfig(
            vocab_size=99,
            hidden_size=128,
            num_hidden_layers=1,
            num_heads=2,
            mode="train",
            chunk_size=9,
            output_logit_soft_cap=cap,
        )
    )


def tiny_capped_gemma3(cap):
    return tiny_gemma3(99, final_logit_softcapping=cap)


@torch.no_grad()
@pytest.mark.parametrize("make", [tiny_capped_gemma3, tiny_recurrent_gemma, tiny_xlstm])
def test_the_soft_cap_of_logits_whatever_it_is_called(make):
    torch.manual_seed(0)
    model = make(0.25).eval()
    torch.nn.init.normal_(model.get_output_embeddings().weight, std=0.3)
    ids = torch.randint(3, 99, (1, 9), generator=torch.Generator().manual_seed(1))
    head = head_of(model, 99, torch.zeros(0, dtype=torch.long))
    assert head.softcap == 0.25
    logits = last_hidden(model, ids) @ head.weight.T
    assert logits.abs().max() > 0.5
    capped = head.softcap * torch.tanh(logits / head.softcap)
    torch.testing.assert_close(capped, model(ids).logits, rtol=1e-4, atol=1e-5)
    assert ByteLMConfig(body_config=model.config).final_logit_softcapping == 0.25
