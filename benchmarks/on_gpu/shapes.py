"""Models of the published recipes: their real shapes, with random weights."""

import math

import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
)

from alm_lightning.models.structure import uninitialised

PERIOD = 4_194_301
"""Random numbers that are drawn, and laid down again and again: to draw billions takes minutes. A
prime, so that no two rows of a matrix are alike."""
LEAST_SPREAD = 0.02
"""Standard deviation of weights; more in narrow models, which would predict the same everywhere."""

MODELS: dict[str, tuple[type[PreTrainedModel], type[PreTrainedConfig], dict]] = {
    "gemma2_2b": (
        Gemma2ForCausalLM,
        Gemma2Config,
        {
            "hidden_size": 2304,
            "intermediate_size": 9216,
            "num_hidden_layers": 26,
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "head_dim": 256,
            "sliding_window": 4096,
            "tie_word_embeddings": True,
        },
    ),
    "llama3_8b": (
        LlamaForCausalLM,
        LlamaConfig,
        {
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "max_position_embeddings": 131072,
            "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0},
            "rms_norm_eps": 1e-5,
            "tie_word_embeddings": False,
        },
    ),
    "gemma3_12b": (
        Gemma3ForCausalLM,
        Gemma3TextConfig,
        {
            "hidden_size": 3840,
            "intermediate_size": 15360,
            "num_hidden_layers": 48,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "head_dim": 256,
            "sliding_window": 1024,
            "tie_word_embeddings": True,
        },
    ),
}
TINY = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
}
"""What ``--quick`` puts in the place of the real sizes; the family stays."""


def config_of(name: str, *, num_tokens: int, attention: str, tiny: bool = False, **changes):
    """The configuration of a model, with a row for each token of a tokenizer."""
    _, kind, sizes = MODELS[name]
    config = kind(
        **(sizes | (TINY if tiny else {}) | changes),
        vocab_size=num_tokens,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    config._attn_implementation = attention
    return config


def random_model(name: str, config: PreTrainedConfig, dtype: torch.dtype) -> PreTrainedModel:
    """A model on the CPU with random weights, made in seconds at any size."""
    kind, *_ = MODELS[name]
    model = uninitialised(kind, config, dtype)
    model.tie_weights()
    size = min(PERIOD, max(p.numel() for p in model.parameters()))
    noise = torch.randn(size, generator=torch.Generator().manual_seed(0))
    noise = noise.mul_(max(LEAST_SPREAD, config.hidden_size**-0.5)).to(dtype)
    is_gemma = name.startswith("gemma")
    for parameter in model.parameters():
        if parameter.ndim == 1:
            # Gemma's norms multiply by 1 + weight
            parameter.data.fill_(0.0 if is_gemma else 1.0)
            continue
        flat = parameter.data.view(-1)
        for start in range(0, len(flat), size):
            part = flat[start : start + size]
            part.copy_(noise[: len(part)])
    return model.eval()


def gibibytes(num_bytes: float) -> float:
    return num_bytes / 2**30


def product_weights(model: PreTrainedModel, *, trained: bool | None = None) -> int:
    """Weights that take part in matrix products, those of the output layer included."""
    found = {
        id(module.weight): module.weight
        for module in model.modules()
        if isinstance(module, torch.nn.Linear)
    }
    return sum(
        math.prod(weight.shape)
        for weight in found.values()
        if trained is None or weight.requires_grad == trained
    )
