"""Real vocabularies: Gemma 3 270M and SmolLM2. Skipped where their packages can't be had."""

import time

import pytest
import torch
from tests.real_tokenizers import gemma_folder, real_view
from transformers import AutoModelForCausalLM

from alm_lightning.models.embeddings.fvt import FastVocabularyTransfer
from alm_lightning.models.embeddings.simple import Keep, Mean

pytestmark = pytest.mark.slow
WAYS = {"fvt": FastVocabularyTransfer(), "mean": Mean(), "keep": Keep(seed=0)}
SECONDS = 60
"""Of a shared machine. On a core of its own each way takes less than 10."""


@pytest.fixture(scope="module")
def gemma_matrix():
    model = AutoModelForCausalLM.from_pretrained(gemma_folder(), dtype=torch.bfloat16)
    return model.get_input_embeddings().weight.detach()


def test_smollm2s_tokens_in_gemma(gemma_matrix):
    old, new = real_view("gemma3"), real_view("smollm2")
    rows = FastVocabularyTransfer().fitted(old=old, new=new)(gemma_matrix, side="input")
    assert rows.shape == (49_152, 640)
    # of the two tokens for "A", or for a newline, the ordinary one
    in_order = [*sorted(old.fallback_ids), *sorted({*range(old.num_tokens)} - old.fallback_ids)]
    ordinary = {old.token_bytes[i]: i for i in in_order if old.token_bytes[i] is not None}
    shared = [(i, ordinary[s]) for i, s in enumerate(new.token_bytes) if s in ordinary]
    assert len(shared) == 46_145
    new_ids, old_ids = map(list, zip(*shared, strict=True))
    assert torch.equal(rows[new_ids], gemma_matrix[old_ids].float())
    by_surface = {surface: index for index, surface in enumerate(new.token_bytes)}
    by_hand = {
        b" epidem": [b" epid", b"em"],
        b" unconstitutional": [b" un", b"constitutional"],
        b"!**": [b"!", b"**"],
        b" \xe2\x80": [b" ", b"\xe2", b"\x80"],
    }
    for surface, parts in by_hand.items():
        expected = gemma_matrix[[ordinary[part] for part in parts]].double().mean(dim=0)
        torch.testing.assert_close(rows[by_surface[surface]], expected.float())
    start = gemma_matrix[old.special_ids["<start_of_turn>"]].float()
    assert torch.equal(rows[new.special_ids["<|im_start|>"]], start)


@pytest.mark.parametrize("way", WAYS)
def test_gemmas_vocabulary_is_made_in_seconds(way):
    old, new = real_view("smollm2"), real_view("gemma3")
    # the numbers do not change the time
    matrix = torch.randn(old.num_tokens, 576, generator=torch.Generator().manual_seed(0))
    started = time.perf_counter()
    rows = WAYS[way].fitted(old=old, new=new)(matrix, side="input")
    assert time.perf_counter() - started < SECONDS
    assert rows.shape == (new.num_tokens, 576)
    assert rows.isfinite().all()


def test_a_space_before_each_text_is_in_no_piece():
    # Mistral's tokenizer puts one before each text
    old, new = real_view("mistral_v3"), real_view("smollm2")
    matrix = torch.arange(old.num_tokens, dtype=torch.float32)[:, None]
    rows = FastVocabularyTransfer().fitted(old=old, new=new)(matrix, side="input")[:, 0]
    (index,) = [i for i, s in enumerate(new.token_bytes) if s == b"ysics"]
    ids, counts = old.encoder.ids_of_many(["ysics"])
    assert b"".join(old.token_bytes[piece] for piece in ids) == b"ysics"
    assert counts.tolist() == [len(ids)]
    assert rows[index] == pytest.approx(ids.mean())
