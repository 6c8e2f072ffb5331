"""The published recipe for bytes: it says what was published, and trains in small."""

import json
import math

import pytest
import torch
from omegaconf import OmegaConf
from transformers import Gemma2Config, Gemma2ForCausalLM

from alm_lightning.app.train.command import train
from alm_lightning.models.bytes.byte_lm import ByteForCausalLM
from alm_lightning.models.bytes.student import byte_config

PAPER_SIZE = [
    *("student=gemma2_2b_it", "corpus=tulu3", "budget=paper", "trainer=gpu"),
    "objective=alm_next_token_hidden",
]


def test_paper_size_is_the_published_recipe(composed):
    cfg = composed(*PAPER_SIZE)
    assert not OmegaConf.missing_keys(cfg)
    budget = cfg.budget
    assert (budget.steps, budget.batch_size, budget.learning_rate) == (20_000, 32, 3e-5)
    assert (budget.student_length, budget.teacher_length) == (2048, 512)
    assert cfg.schedule.warmup_share * budget.steps == 2000
    assert (cfg.optimizer.lr, cfg.optimizer.weight_decay) == (3e-5, 0)
    assert cfg.corpus.source.name == "allenai/tulu-3-sft-mixture"
    assert cfg.student.source.hub_id == cfg.teacher.source.hub_id == "google/gemma-2-2b-it"
    assert set(cfg.objective) == {"alm", "next_token", "hidden_states"}


def test_a_student_of_paper_size_can_be_built(composed):
    cfg = composed(*PAPER_SIZE)
    # Gemma 2 2B's dimensions, by name: the defaults of transformers may come to differ
    body = Gemma2Config(
        hidden_size=2304,
        num_hidden_layers=26,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=256,
        intermediate_size=9216,
        vocab_size=256_000,
        final_logit_softcapping=30.0,
        attn_logit_softcapping=50.0,
        attn_implementation=cfg.student.attention,
    )
    num_special = len(["<bos>", "<eos>", "<pad>", *cfg.student.special_tokens])
    config = byte_config(
        body,
        num_special=num_special,
        expansion_rows=body.vocab_size if cfg.embeddings.expansion else 0,
        expansion_nodes=1_000_000,
        expansion_depth=64,
    )
    with torch.device("meta"):
        student = ByteForCausalLM(config)
    sizes = {name: weight.numel() for name, weight in student.named_parameters()}
    table = sizes.pop("model.expansion.embedding.weight")
    assert table == 256_000 * 2304
    # what Gemma 2 2B has, without its embeddings, and an input and an output row for each byte
    in_all = 2_614_341_888
    assert sum(sizes.values()) == in_all - table + 2 * (256 + num_special) * 2304
    assert (config.final_logit_softcapping, config.vocab_size) == (30.0, 261)
    # sdpa would leave out Gemma 2's soft-capping of attention
    assert student.model.body.config._attn_implementation == "eager"


@pytest.fixture
def tiny_gemma2(tmp_path, metaspace_tokenizer):
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=len(metaspace_tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        query_pre_attn_scalar=16,
        sliding_window=64,
        max_position_embeddings=512,
        final_logit_softcapping=30.0,
        attn_logit_softcapping=50.0,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
    )
    folder = tmp_path / "tiny-gemma2"
    Gemma2ForCausalLM(config).save_pretrained(folder)
    metaspace_tokenizer.save_pretrained(folder)
    return folder


def test_paper_size_trains_a_step_of_a_tiny_gemma2(composed, tiny_gemma2, chats, tmp_path):
    cfg = composed(
        "student=folder",
        f"student.source.path={tiny_gemma2}",
        "student.attention=eager",
        "student.special_tokens=['<start_of_turn>','<end_of_turn>']",
        "corpus=tulu3",
        "corpus@corpus_other=tulu3",
        # a tiny tokenizer has no template of its own
        "chat.student_template=gemma",
        "chat.teacher_template=gemma",
        "budget=paper",
        "budget.steps=1",
        "budget.validate_every=null",
        "trainer=cpu",
        "sample_prompts=0",
    )
    summary = train(cfg)
    assert summary["steps"] == 1
    assert summary["chunks"]["coverage"] == 1.0
    exported = json.loads((tmp_path / "model/config.json").read_text(encoding="utf-8"))
    assert exported["body_config"]["final_logit_softcapping"] == 30.0
    assert exported["body_config"]["model_type"] == "gemma2"
    assert math.isfinite(summary["bits_per_byte"]["student_after"])
