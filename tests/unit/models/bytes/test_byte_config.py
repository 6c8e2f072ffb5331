"""The byte model's configuration: any body, one vocabulary, and a round trip through JSON."""

import pytest
import torch
from transformers import DynamicCache, Gemma2Config, Gemma3TextConfig, LlamaConfig

from alm_lightning.models.bytes.byte_config import ByteLMConfig
from alm_lightning.models.bytes.byte_lm import ByteForCausalLM


@pytest.mark.parametrize("body", [Gemma3TextConfig(), Gemma2Config(), LlamaConfig()])
def test_survives_json_and_leaves_the_given_one_alone(tmp_path, body):
    before = body.to_dict()
    config = ByteLMConfig(body_config=body, vocab_size=260, expansion_rows=9, expansion_depth=3)
    config.save_pretrained(tmp_path)
    read = ByteLMConfig.from_pretrained(tmp_path)
    assert read.to_dict() == {**config.to_dict(), "auto_map": read.auto_map}
    assert type(read.body_config) is type(body)
    assert (read.hidden_size, read.num_hidden_layers) == (body.hidden_size, body.num_hidden_layers)
    assert read.max_position_embeddings == body.max_position_embeddings
    assert (read.body_config.vocab_size, read.body_config.pad_token_id) == (260, 258)
    assert body.to_dict() == before


def test_caches_follow_the_layers_of_the_body():
    body = Gemma3TextConfig(num_hidden_layers=4, sliding_window=8, sliding_window_pattern=2)
    cache = DynamicCache(config=ByteLMConfig(body_config=body))
    assert cache.is_sliding == [True, False, True, False]


def test_meta_device_and_default_dtype():
    body = Gemma2Config(dtype="bfloat16")  # the paper's size: 2.6 billion weights
    config = ByteLMConfig(
        body_config=body, expansion_rows=256_000, expansion_nodes=700_000, expansion_depth=48
    )
    with torch.device("meta"):
        model = ByteForCausalLM(config)
        assert model(torch.zeros(2, 16, dtype=torch.int64)).logits.shape == (2, 16, 259)
    assert {t.device.type for t in [*model.parameters(), *model.buffers()]} == {"meta"}
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert model.config.final_logit_softcapping == 30.0
