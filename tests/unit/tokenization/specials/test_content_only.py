"""Tokenizers made over: one text, one tokenization."""

import logging
import pickle

import pytest
from tests.unit.tokenization.small_backends import byte_level, view, words
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from alm_lightning.tokenization.specials.content_only import deterministic, local_normalizer

TEXT = "hello world the cat sat on the mat"


def test_dropout_is_switched_off_and_said(caplog):
    with caplog.at_level(logging.WARNING):
        random = view(byte_level(dropout=0.5))
    assert "at random" in caplog.text
    plain = view(byte_level())
    assert {tuple(random.encode(TEXT).ids.tolist()) for _ in range(20)} == {
        tuple(plain.encode(TEXT).ids.tolist())
    }
    assert random.fingerprint == plain.fingerprint
    # the tokenizer itself stays as it was
    assert random.hf.backend_tokenizer.model.dropout == 0.5


def test_sampling_of_unigram_is_switched_off():
    vocab = [("<unk>", 0.0), ("a", -1.0), ("aa", -1.1), ("aaa", -1.2)]
    model = models.Unigram(vocab, unk_id=0)
    model.alpha, model.nbest_size = 0.1, 64
    made = deterministic(Tokenizer(model))
    assert len({tuple(made.encode("aaaaaaaaaaaa").ids) for _ in range(30)}) == 1


def test_normalisers_of_ends_are_found_in_nested_sequences():
    inner = normalizers.Sequence([normalizers.Strip(), normalizers.Lowercase()])
    nested = normalizers.Sequence([inner, normalizers.Prepend("x")])
    assert local_normalizer(nested).normalize_str(" A ") == " a "


@pytest.mark.parametrize("model", ["wordpiece", "end_of_word", "characters"])
def test_a_view_of_any_family_goes_to_a_worker(model):
    side = view(words(model, pre_tokenizers.WhitespaceSplit()))
    again = pickle.loads(pickle.dumps(side))
    assert again.fingerprint == side.fingerprint
    assert again.encode(TEXT).ends.tolist() == side.encode(TEXT).ends.tolist()
