"""The published recipe for subword tokenizers: what it says, and each family in small."""

import json
import math

import pytest
import torch
from tests.unit.models.test_text_part import tiny_gemma3_with_images
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma2Config,
    Gemma2ForCausalLM,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from alm_lightning.app.train.command import train
from alm_lightning.tokenization.chat.formats import FORMATS

EXPERIMENTS = {
    "llama3_to_qwen2": "meta-llama/Llama-3.2-3B-Instruct",
    "gemma2_to_qwen2": "google/gemma-2-2b-it",
    "gemma3_12b_to_qwen2": "google/gemma-3-12b-it",
}
TEXTS = ["What is one and two?", "It is three, and the sum of both.", "user assistant model"]
HEADS = {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16}
SIZES = {"hidden_size": 32, "intermediate_size": 48, "max_position_embeddings": 512, **HEADS}


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_it_is_the_published_recipe(composed, experiment):
    cfg = composed(f"experiment={experiment}")
    budget = cfg.budget
    assert (budget.steps, budget.batch_size, budget.learning_rate) == (20_000, 64, 1e-5)
    assert (budget.student_length, budget.teacher_length) == (512, 512)
    assert cfg.windows.dataset._target_.endswith("FirstWindow")
    assert cfg.schedule.warmup_share * budget.steps == 2000
    assert (cfg.optimizer.lr, cfg.optimizer.weight_decay) == (1e-5, 0)
    assert cfg.corpus.source.name == "allenai/tulu-3-sft-mixture"
    assert (cfg.adapter.rank, cfg.adapter.alpha, cfg.adapter.share_body) == (64, 64, True)
    assert set(cfg.objective) == {"alm", "next_token"}
    assert cfg.balance._target_.endswith("GradMag")
    assert cfg.student.source.hub_id == cfg.teacher.source.hub_id == EXPERIMENTS[experiment]
    assert cfg.tokenizer.name.startswith("Qwen/Qwen2")
    assert cfg.chat.trained == "all"


def byte_level(specials, template, vocab_size):
    """A tiny byte-level BPE with the special tokens and the chat format of a family."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[AddedToken(text, special=True, normalized=False) for text in specials],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(TEXTS, trainer)
    hf = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=specials[0], eos_token=specials[1]
    )
    hf.chat_template = FORMATS[template].jinja
    return hf


@pytest.fixture
def family(experiment, tmp_path, metaspace_tokenizer):
    """A folder as the hub has it of the family that an experiment names, but tiny."""
    torch.manual_seed(0)
    tokenizer = metaspace_tokenizer
    if experiment == "llama3_to_qwen2":
        marks = FORMATS["llama3"].special_tokens
        tokenizer = byte_level(["<|begin_of_text|>", "<|end_of_text|>", *marks], "llama3", 280)
        model = LlamaForCausalLM(
            LlamaConfig(vocab_size=len(tokenizer), tie_word_embeddings=True, **SIZES)
        )
    elif experiment == "gemma2_to_qwen2":
        model = Gemma2ForCausalLM(
            Gemma2Config(
                vocab_size=len(tokenizer),
                query_pre_attn_scalar=16,
                sliding_window=64,
                final_logit_softcapping=30.0,
                attn_logit_softcapping=50.0,
                pad_token_id=0,
                eos_token_id=1,
                bos_token_id=2,
                **SIZES,
            )
        )
    else:
        # Gemma 3 12B has more rows than its tokenizer has tokens
        model = tiny_gemma3_with_images(len(tokenizer) + 8)
    folder = tmp_path / "old"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def in_place_of_the_hub(folder):
    """Overrides that leave a student as its experiment has it, but for where it comes from."""
    return [
        "student.source._target_=alm_lightning.models.weights.sources.Folder",
        f"+student.source.path={folder}",
        "~student.source.hub_id",
        # Hydra takes a null for a key that is not there, and would not delete it
        "student.source.revision=main",
        "~student.source.revision",
    ]


@pytest.mark.parametrize(
    ("experiment", "architecture"),
    [
        ("llama3_to_qwen2", "LlamaForCausalLM"),
        ("gemma2_to_qwen2", "Gemma2ForCausalLM"),
        ("gemma3_12b_to_qwen2", "Gemma3ForCausalLM"),
    ],
)
def test_it_trains_a_tiny_model_of_the_family(
    composed, experiment, family, architecture, chats, tmp_path
):
    new = byte_level(["<|endoftext|>", "<|im_end|>", "<|im_start|>"], "chatml", 300)
    new.save_pretrained(tmp_path / "new")
    cfg = composed(
        f"experiment={experiment}",
        *in_place_of_the_hub(family),
        "tokenizer=folder",
        f"tokenizer.source.path={tmp_path / 'new'}",
        "corpus@corpus_other=tulu3",
        "trainer=cpu",
        "trainer.precision=32-true",
        "budget.steps=2",
        "budget.batch_size=8",
        "budget.learning_rate=1e-3",
        "budget.validate_every=null",
        "adapter.rank=4",
        "adapter.alpha=4",
        "student.dtype=float32",
        "export_dtype=float32",
        "sample_prompts=0",
    )
    summary = train(cfg)
    assert summary["steps"] == 2
    assert summary["chunks"]["coverage"] == 1.0
    figures = summary["bits_per_byte"]
    assert all(map(math.isfinite, figures.values()))
    assert figures["student_after"] < figures["student_before"]

    # what is left is a plain model of the family, with the other vocabulary
    folder = tmp_path / "model"
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == [architecture]
    assert not {"vision_config", "text_config", "auto_map"} & set(config)
    assert config.get("final_logit_softcapping") == (30.0 if "Gemma2" in architecture else None)
    student = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert student.get_input_embeddings().weight.shape == (len(tokenizer), 32)
    old = AutoTokenizer.from_pretrained(family)
    for text in (*cfg.student.special_tokens, old.bos_token, old.eos_token):
        assert tokenizer.decode(tokenizer.convert_tokens_to_ids(text)) == text
    text = "What is three and nine?"
    assert tokenizer.tokenize(text) == new.tokenize(text) != old.tokenize(text)
    stops = student.generation_config.eos_token_id
    own = GenerationConfig.from_pretrained(family).eos_token_id
    own = old.convert_ids_to_tokens([own] if isinstance(own, int) else own)
    own = [each for each in own if each in old.get_added_vocab()]
    ends = {old.eos_token, *cfg.student.stop_tokens, *own}
    assert sorted(stops) == sorted(tokenizer.convert_tokens_to_ids(ends))
