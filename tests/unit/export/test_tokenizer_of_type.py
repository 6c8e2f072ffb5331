"""Folders out of which AutoTokenizer would read another tokenizer than was written."""

import logging

import pytest
import torch
from transformers import (
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from alm_lightning.export.card import model_card
from alm_lightning.export.folder import export_folder

SIZES = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 400,
}
CARD = model_card(
    title="x",
    base_model="x",
    license_note="x",
    how_made="x",
    recipe={},
    figures={},
    is_byte_model=False,
)
TEXT = " The quick  brown fox"


@pytest.mark.parametrize(
    ("model", "is_misread"),
    [
        (Qwen2ForCausalLM(Qwen2Config(**SIZES)), True),
        (LlamaForCausalLM(LlamaConfig(**SIZES)), False),
    ],
)
def test_the_card_names_a_class_that_reads_the_tokenizer(
    model, is_misread, metaspace_tokenizer, tmp_path, caplog
):
    with caplog.at_level(logging.WARNING, logger="alm_lightning"):
        folder = export_folder(
            model, metaspace_tokenizer, tmp_path / "model", card=CARD, dtype=torch.float32
        )
    expected = metaspace_tokenizer(TEXT)["input_ids"]
    assert (AutoTokenizer.from_pretrained(folder)(TEXT)["input_ids"] != expected) == is_misread
    assert PreTrainedTokenizerFast.from_pretrained(folder)(TEXT)["input_ids"] == expected
    card = (folder / "README.md").read_text(encoding="utf-8")
    named = "PreTrainedTokenizerFast" if is_misread else "AutoTokenizer"
    assert f"tokenizer = {named}.from_pretrained(folder)" in card
    assert ("Not with" in card) == is_misread
    assert ("models of type qwen2" in caplog.text) == is_misread


def test_an_export_outlives_a_class_that_cannot_read_it(
    metaspace_tokenizer, tmp_path, caplog, monkeypatch
):
    def failing(*args, **kwargs):
        raise KeyError("no such piece")

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", failing)
    model = LlamaForCausalLM(LlamaConfig(**SIZES))
    folder = export_folder(
        model, metaspace_tokenizer, tmp_path / "model", card=CARD, dtype=torch.float32
    )
    assert "no such piece" in caplog.text
    assert PreTrainedTokenizerFast.from_pretrained(folder)(TEXT) == metaspace_tokenizer(TEXT)
    assert "Not with `AutoTokenizer`" in (folder / "README.md").read_text(encoding="utf-8")
