"""Both engines on a graphics card, with vLLM itself. Run by nobody of this project so far."""

import numpy as np
import pytest
import torch
from tests.unit.training.on_policy.engines.vllm.students import LORA, moved
from tests.unit.training.on_policy.own import settings
from transformers import AutoModelForCausalLM, LlamaConfig

from alm_lightning.models.pair import Scorer
from alm_lightning.training.on_policy import TransformersEngine, VllmSettings

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA card"),
]


# vLLM and what it brings along warn of much that is not this project's
@pytest.mark.filterwarnings("ignore")
def test_both_engines_take_the_likeliest_tokens(metaspace_view):
    pytest.importorskip("vllm")
    config = LlamaConfig(
        vocab_size=metaspace_view.num_tokens + 24,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=512,
        eos_token_id=1,
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    moved(model, 1, 0.05)
    LORA.adapt(model)
    student = Scorer(model.cuda(), metaspace_view)
    sampling = settings(max_new_tokens=8, top_p=1e-6)
    chosen = VllmSettings(memory_share=0.2, sleeps=True, eager=True)
    engine = chosen.engine(student, sampling, max_length=96)
    other = TransformersEngine(student, sampling)
    texts = ["The", "The quick brown fox", "It cost 5", "a"]
    prompts = [
        np.array([metaspace_view.start_id, *metaspace_view.encode(text).ids]) for text in texts * 8
    ]
    for step in range(3):
        with torch.autocast("cuda", torch.bfloat16):
            found, expected = engine(prompts, seed=step), other(prompts, seed=step)
        pairs = zip(found, expected, strict=True)
        same = [a.ids.tolist() == b.ids.tolist() and a.stop_id == b.stop_id for a, b in pairs]
        # in bfloat16 two likeliest tokens may be equal in one and not in the other
        assert np.mean(same) > 0.8
        generator = torch.Generator("cuda").manual_seed(step)
        with torch.no_grad():
            for parameter in model.parameters():
                noise = torch.randn(parameter.shape, generator=generator, device="cuda")
                parameter.add_(0.05 * noise)
