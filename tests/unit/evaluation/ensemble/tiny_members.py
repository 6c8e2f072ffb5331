"""Models of different families, widths and depths over one vocabulary, sure of different tokens."""

import torch
from tests.conftest import tiny_gemma3
from tests.unit.models.bytes.test_byte_lm import byte_model
from transformers import LlamaConfig, LlamaForCausalLM

VOCAB = 99


def llama(vocab_size=VOCAB, *, layers=1, seed=1, **changes):
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=256,
        bos_token_id=2,
        eos_token_id=1,
        pad_token_id=0,
        **changes,
    )
    return opinionated(LlamaForCausalLM(config).eval())


def gemma3(vocab_size=VOCAB, **changes):
    # windows of 4 are shorter than what the tests read and write
    return opinionated(tiny_gemma3(vocab_size, **{"sliding_window": 4, **changes}))


def opinionated(model, seed=5):
    """Fresh models find all tokens alike and look at the last one alone; these do not."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    return model


def byte_models():
    models = [byte_model(family) for family in ("gemma3", "llama", "gemma2")]
    for seed, model in enumerate(models):
        opinionated(model, seed)
    # a cap of 0.5, as other tests have it, makes many logits alike to the last digit
    models[2].config.body_config.final_logit_softcapping = 5.0
    return models


FAMILIES = {
    "subwords": lambda: [gemma3(), llama(layers=3), llama(VOCAB + 5, seed=2)],
    "bytes": byte_models,
}


def some_ids(family, rows=2, length=9, seed=0):
    low, high = (97, 100) if family == "bytes" else (3, VOCAB)
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(low, high, (rows, length), generator=generator)
