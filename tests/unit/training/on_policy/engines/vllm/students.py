"""Tiny students of families that vLLM has models of, with rows that no token has, and adapters."""

import torch
from tests.conftest import tiny_gemma3
from transformers import AutoModelForCausalLM, LlamaConfig, MixtralConfig

from alm_lightning.models.adapters import LowRank
from alm_lightning.models.pair import Scorer

LORA = LowRank(rank=4, alpha=8, share_body=False, train_embeddings=True)
UNUSED_ROWS = 24
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 512,
    "eos_token_id": 1,
    "bos_token_id": 2,
    "tie_word_embeddings": False,
}


def llama(num_rows):
    config = LlamaConfig(vocab_size=num_rows, **SIZES)
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


def mixtral(num_rows):
    config = MixtralConfig(vocab_size=num_rows, num_local_experts=2, num_experts_per_tok=1, **SIZES)
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


FAMILIES = {"gemma": tiny_gemma3, "llama": llama, "mixtral": mixtral}


def moved(model, seed, size=0.2):
    """Other weights, as after training; as they are initialised, all distributions are even."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(size * torch.randn(parameter.shape, generator=generator))


def student_of(family, view, *, adapters):
    torch.manual_seed(0)
    model = FAMILIES[family](view.num_tokens + UNUSED_ROWS)
    moved(model, 1)
    if adapters:
        LORA.adapt(model)
        # at first adapters add zero
        moved(model, 2, 0.05)
    with torch.no_grad():
        # would be the likeliest of all, if they counted
        model.get_output_embeddings().weight[view.num_tokens :].mul_(10.0)
    return Scorer(model, view)
