"""Real tokenizers with the special tokens of other real tokenizers, or with their own."""

import json
import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf
from tests.real.test_pairs import INPUTS
from tests.real_tokenizers import real_view
from tests.unit.alignment.chat.test_messages import FOUR_TURNS, rows
from transformers import AutoTokenizer

from alm_lightning import align_messages, align_text
from alm_lightning.models.bytes.rows import single_byte_tokens
from alm_lightning.tokenization.chat.choice import template_of
from alm_lightning.tokenization.load import load_tokenizer
from alm_lightning.tokenization.new_vocabulary import new_vocabulary
from alm_lightning.tokenization.specials.roles import old_special_ids, stop_ids

pytestmark = pytest.mark.slow

CONF = Path(__file__).parents[2] / "conf" / "tokenizer"
STEP = int(os.environ.get("ALM_LIGHTNING_ROWS_STEP", "60"))
"""Every so manieth row of multilingual.jsonl; 1 for all of them and all pairs: half an hour."""
PAIRS = [
    ("gemma3", "smollm2"),
    ("smollm2", "gpt2"),
    ("gemma3", "mistral_v3"),
    ("llama3", "qwen2_5"),
]
if STEP == 1:
    PAIRS += [
        ("smollm2", "qwen2_5"),
        ("qwen2_5", "gemma3"),
        ("mistral_v3", "tekken"),
        ("llama3", "deepseek"),
        ("gemma3", "claude"),
    ]
BODIES = {"gemma3": "gemma3_text", "smollm2": "llama", "llama3": "llama", "mistral_v3": "mistral"}
"""Types of the models that have these tokenizers, but for Qwen's: of it `AutoTokenizer` takes every
tokenizer for Qwen's own."""
STOPS = {"gemma3": "<end_of_turn>", "llama3": "<|eot_id|>", "mistral_v3": "</s>"}


@cache
def texts() -> list[str]:
    found = list(INPUTS)
    if folder := os.environ.get("ALM_LIGHTNING_DATA"):
        lines = Path(folder, "multilingual.jsonl").read_text("utf-8").strip().split("\n")
        found += [json.loads(line)["text"] for line in lines[::STEP]]
    return found


@cache
def made(pair, choice):
    old, donor = map(real_view, pair)
    return old, donor, new_vocabulary(old, donor, special_tokens=choice, keep=[])


def pieces(view, text):
    return [view.token_bytes[index] for index in view.encode(text).ids]


@pytest.mark.parametrize("pair", PAIRS)
def test_content_is_cut_as_before(pair):
    _, donor, new = made(pair, "keep")
    for text in texts():
        assert pieces(new, text) == pieces(donor, text)
    # what a special token of the donor was is content
    for text in ["a<bos>b", "<unused5> <mask>", "<|endoftext|>", "[INST]</s>", "<EOT>"]:
        assert None not in pieces(new, text)


@pytest.mark.parametrize("pair", PAIRS)
def test_only_old_specials_and_no_holes(pair):
    old, donor, new = made(pair, "keep")
    assert new.special_ids.keys() <= old.special_ids.keys()
    assert len(new.special_ids) <= 8
    num_content = sum(surface is not None for surface in donor.token_bytes)
    assert new.num_tokens == num_content + len(new.special_ids)
    assert sorted(new.special_ids.values()) == list(range(num_content, new.num_tokens))
    counterparts = old_special_ids(old, new)
    assert counterparts == {new.special_ids[t]: old.special_ids[t] for t in new.special_ids}


@pytest.mark.parametrize("choice", ["keep", "replace"])
@pytest.mark.parametrize("pair", PAIRS)
def test_a_folder_reads_back(pair, choice, tmp_path):
    new = made(pair, choice)[2]
    new.hf.save_pretrained(tmp_path)
    if pair[0] in BODIES:
        (tmp_path / "config.json").write_text(json.dumps({"model_type": BODIES[pair[0]]}))
    again, stock = load_tokenizer(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    assert (again.fingerprint, again.roles) == (new.fingerprint, new.roles)
    side = real_view(pair[0 if choice == "keep" else 1])
    assert again.prepends_bos == new.prepends_bos == side.prepends_bos
    for text in texts():
        assert again.encode(text).ids.tolist() == new.encode(text).ids.tolist()
        ids = stock(text).input_ids
        assert ids == new.hf(text).input_ids
        assert stock.decode(ids) == new.hf.decode(ids)
    assert stock.chat_template == side.hf.chat_template
    assert stock.padding_side == "left"
    assert None not in (stock.eos_token_id, stock.pad_token_id, stock.bos_token_id)


@pytest.mark.parametrize("pair", PAIRS)
def test_decoding_gives_texts_back_where_the_donor_does(pair):
    _, donor, new = made(pair, "keep")
    for text in texts():
        content, donors = new.encode(text).ids.tolist(), donor.encode(text).ids.tolist()
        assert new.hf.decode(content) == donor.hf.decode(donors)


@pytest.mark.parametrize("pair", PAIRS)
def test_texts_align_whole(pair):
    old, _, new = made(pair, "keep")
    for text in texts()[::3]:
        assert align_text(text, student=new, teacher=old).coverage == 1.0


@pytest.mark.parametrize("pair", PAIRS)
def test_chats_are_written_as_before_and_pair_up(pair):
    old, _, new = made(pair, "keep")
    chat = rows(FOUR_TURNS)
    mine, theirs = template_of(new, None), template_of(old, None)
    assert mine.jinja == theirs.jinja
    aligned = align_messages(chat, student=new, teacher=old)
    itself = align_messages(chat, student=old, teacher=old)
    assert aligned.coverage == 1.0
    assert aligned.is_structure.sum() == itself.is_structure.sum() > 0
    assert (aligned.trained & aligned.is_structure).sum() == 2
    spoken = [aligned.chunk_bytes(chunk) for chunk in np.flatnonzero(aligned.trained).tolist()]
    assert b"".join(spoken) == b"".join(c.encode() for role, c in FOUR_TURNS if role == "assistant")
    # what the template writes is parsed: as many special tokens as the old tokenizer finds
    written = new.hf.apply_chat_template(chat, chat_template=mine.jinja, tokenize=False)
    specials = {
        side.name: [
            {index: text for text, index in side.special_ids.items()}[i]
            for i in side.hf(written, add_special_tokens=False).input_ids
            if i in side.special_ids.values()
        ]
        for side in (new, old)
    }
    assert specials[new.name] == specials[old.name]
    assert len(specials[new.name]) >= 4


@pytest.mark.parametrize("pair", PAIRS)
def test_generation_stops_where_it_did(pair):
    old, _, kept = made(pair, "keep")
    stop = STOPS.get(pair[0], "<|im_end|>")
    assert stop_ids(old, kept, [stop]) == [kept.special_ids[stop]]
    replaced = made(pair, "replace")[2]
    for index in stop_ids(old, replaced, [stop]):
        assert replaced.token_bytes[index] is None


def test_counterparts_under_replace():
    old, _, new = made(("qwen2_5", "gemma3"), "replace")
    ids = new.special_ids
    expected = {
        "<bos>": "<|im_end|>",
        "<eos>": "<|im_end|>",
        "<pad>": "<|endoftext|>",
        "<start_of_turn>": "<|im_start|>",
        "<end_of_turn>": "<|im_end|>",
    }
    assert old_special_ids(old, new) == {ids[n]: old.special_ids[o] for n, o in expected.items()}
    assert stop_ids(old, new, ["<|im_end|>"]) == [ids["<eos>"], ids["<end_of_turn>"]]


@pytest.mark.parametrize(
    ("config", "name"),
    [("smollm2", "smollm2"), ("gpt2", "gpt2"), ("qwen2", "qwen2_5"), ("gemma3", "gemma3")],
)
def test_configurations(config, name):
    settings = OmegaConf.create(
        {"student": {"special_tokens": []}, "tokenizer": OmegaConf.load(CONF / f"{config}.yaml")}
    )
    make = instantiate(settings.tokenizer)
    try:
        donor = make.source.load("donor")
    except OSError as error:
        pytest.skip(str(error))
    assert donor.token_bytes == real_view(name).token_bytes
    assert donor.special_ids == real_view(name).special_ids
    assert donor.fingerprint == real_view(name).fingerprint
    assert donor.roles == real_view(name).roles


@pytest.mark.parametrize(
    ("name", "lacking"),
    [
        ("gemma3", []),
        ("llama3", []),
        ("qwen2_5", []),
        ("mistral_v3", []),
        # it was cut down to what its text needed
        ("smollm2", [4, 6, 0x13, 0x14, 0x16, 0x1D, 0xC0, 0xC1, 0xF1, 0xF2, *range(0xF5, 0x100)]),
    ],
)
def test_bytes_that_no_old_token_stands_for(name, lacking):
    view = real_view(name)
    found = single_byte_tokens(view.token_bytes, view.fallback_ids)
    assert [byte for byte, old_id in enumerate(found) if old_id is None] == lacking
    spelt = [view.token_bytes[old_id] for old_id in found if old_id is not None]
    assert spelt == [bytes([byte]) for byte in range(256) if byte not in lacking]
