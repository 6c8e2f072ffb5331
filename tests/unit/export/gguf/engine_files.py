"""A tiny model's folder, and GGUF files as llama.cpp's converter makes them of it."""

import gguf
import numpy as np
import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

PADDING = 6
WIDTH = 32


def write_folder(folder, tokenizer, *, stop_ids=(), **changes):
    """A Llama with rows of padding, its end of turn a stop."""
    torch.manual_seed(0)
    settings = {
        "vocab_size": len(tokenizer) + PADDING,
        "hidden_size": WIDTH,
        "intermediate_size": 48,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    model = LlamaForCausalLM(LlamaConfig(**(settings | changes)))
    model.generation_config = GenerationConfig(eos_token_id=[tokenizer.eos_token_id, *stop_ids])
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_gguf(path, tokenizer, **changes):
    """The file of that folder; `changes` says what is wrong with it, None leaves a key out."""
    size = len(tokenizer) + PADDING
    tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    given = {
        "model": "gpt2",
        "pre": "gpt-2",
        "tokens": [*tokens, *(f"[PAD{index}]" for index in range(len(tokens), size))],
        "rows": size,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "padding_token_id": tokenizer.pad_token_id,
        "add_bos_token": True,
        **changes,
    }
    writer = gguf.GGUFWriter(path, "llama")
    rows = given.pop("rows")
    for key, value in given.items():
        name = f"tokenizer.ggml.{key}"
        if isinstance(value, bool):
            writer.add_bool(name, value)
        elif isinstance(value, int):
            writer.add_uint32(name, value)
        elif isinstance(value, str):
            writer.add_string(name, value)
        elif value is not None:
            writer.add_array(name, value)
    if rows is not None:
        writer.add_tensor("token_embd.weight", np.zeros((rows, WIDTH), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
