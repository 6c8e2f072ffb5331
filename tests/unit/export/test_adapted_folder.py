"""Students over another vocabulary as plain folders, their adapters added in."""

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma2Config,
    LlamaConfig,
    PhiConfig,
    Qwen2Config,
)

from alm_lightning.export.folder import export_folder
from alm_lightning.models.adapters import LowRank
from alm_lightning.models.embeddings.fvt import FastVocabularyTransfer
from alm_lightning.models.vocabulary import NewVocabulary

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
FAMILIES = {
    "Gemma2ForCausalLM": lambda size: Gemma2Config(
        **SIZES, vocab_size=size, head_dim=8, sliding_window=8, final_logit_softcapping=0.5
    ),
    "LlamaForCausalLM": lambda size: LlamaConfig(
        **SIZES, vocab_size=size, tie_word_embeddings=False
    ),
    "Qwen2ForCausalLM": lambda size: Qwen2Config(
        **SIZES, vocab_size=size, tie_word_embeddings=True
    ),
    # biases on every projection, and on the output
    "PhiForCausalLM": lambda size: PhiConfig(**SIZES, vocab_size=size, tie_word_embeddings=False),
}


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture
def student(family, byte_level_view, metaspace_view):
    """As if trained: nothing is where it was initialised."""
    torch.manual_seed(0)
    # rows that no token has, as many models have them
    config = FAMILIES[family](byte_level_view.num_tokens + 12)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    vocabulary = NewVocabulary(FastVocabularyTransfer(), torch.float32)
    made = vocabulary(model, old=byte_level_view, new=metaspace_view, share_body=True)
    LowRank(rank=4, alpha=8, share_body=True, train_embeddings=True).adapt(made)
    for parameter in made.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn_like(parameter)
    return made.eval()


def test_the_folder_is_a_plain_model_of_the_family(family, student, metaspace_view, tmp_path):
    folder = export_folder(
        student,
        metaspace_view.hf,
        tmp_path / "model",
        card="# x",
        dtype=torch.float32,
        stop_ids=[4],
    )
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == [family]
    assert config["vocab_size"] == metaspace_view.num_tokens
    assert "auto_map" not in config
    model, report = AutoModelForCausalLM.from_pretrained(
        folder, trust_remote_code=False, output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert model.generation_config.eos_token_id == [metaspace_view.id_of("eos"), 4]
    inputs = AutoTokenizer.from_pretrained(folder)("The quick brown", return_tensors="pt")
    with torch.no_grad():
        torch.testing.assert_close(
            model(**inputs).logits, student(**inputs).logits, rtol=0, atol=1e-4
        )
    greedy = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None}
    assert torch.equal(model.generate(**inputs, **greedy), student.generate(**inputs, **greedy))


def test_no_adapter_is_left_in_the_files(student, metaspace_view, tmp_path):
    folder = export_folder(
        student, metaspace_view.hf, tmp_path / "model", card="# x", dtype=torch.bfloat16
    )
    weights = load_file(folder / "model.safetensors")
    assert not [name for name in weights if "lora" in name or "base_layer" in name]
    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16}
    assert not list(folder.glob("adapter*"))
    # a tied matrix is written once
    assert ("lm_head.weight" in weights) != student.config.tie_word_embeddings


def test_padding_is_made_of_the_trained_rows(student, metaspace_view, tmp_path):
    count = metaspace_view.num_tokens
    folder = export_folder(
        student,
        metaspace_view.hf,
        tmp_path / "model",
        card="# x",
        dtype=torch.float32,
        num_rows=count + 7,
    )
    model, report = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert model.config.vocab_size == count + 7
    # the student is left as it is
    assert student.config.vocab_size == count == len(student.get_output_embeddings().weight)
    for made, trained in (
        (model.get_input_embeddings(), student.get_input_embeddings()),
        (model.get_output_embeddings(), student.get_output_embeddings()),
    ):
        torch.testing.assert_close(made.weight[:count], trained.weight)
        torch.testing.assert_close(made.weight[count:], trained.weight.mean(0).expand(7, -1))
    inputs = AutoTokenizer.from_pretrained(folder)("The quick brown", return_tensors="pt")
    greedy = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None}
    written = model.generate(**inputs, **greedy)
    assert written.max() < count
    assert torch.equal(written, student.generate(**inputs, **greedy))
