"""Donors of ordinary tokens, and the old tokenizer whose special tokens they get."""

import pytest
from tests.unit.tokenization.small_backends import CORPUS, SPECIALS, byte_level, view, words
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)

from alm_lightning.tokenization.bytes.view import byte_view
from alm_lightning.tokenization.chat.formats import FORMATS
from alm_lightning.tokenization.new_vocabulary import new_vocabulary

ROLES = {"bos": "<s>", "eos": "</s>", "pad": "[PAD]"}
MARKS = ["<start_of_turn>", "<end_of_turn>"]


@pytest.fixture(scope="module")
def old():
    """Prepends its BOS, and has Gemma's template, whose special tokens nobody asks to keep."""
    return byte_view(ROLES, ["<mask>", *MARKS], FORMATS["gemma"].jinja)


def unigram() -> Tokenizer:
    backend = Tokenizer(models.Unigram())
    backend.normalizer = normalizers.Replace(" ", "\u2581")
    backend.decoder = decoders.Replace("\u2581", " ")
    trainer = trainers.UnigramTrainer(
        vocab_size=90, special_tokens=["<unk>", *SPECIALS], unk_token="<unk>", show_progress=False
    )
    backend.train_from_iterator(CORPUS, trainer)
    return backend


def with_added_words() -> Tokenizer:
    """Ordinary added tokens, within the model's vocabulary and outside of it."""
    backend = byte_level()
    backend.add_tokens([AddedToken("hello", normalized=False), AddedToken("\n\n")])
    backend.add_special_tokens(["<mask>", "<tool>"])
    backend.add_tokens([AddedToken("Việt", normalized=False)])
    return backend


DONORS = {
    "byte_level": byte_level,
    "ignoring_merges": lambda: byte_level(ignore_merges=True),
    "added_words": with_added_words,
    "unigram": unigram,
    "wordpiece": lambda: words("wordpiece", pre_tokenizers.Whitespace()),
    "end_of_word": lambda: words("end_of_word", pre_tokenizers.Whitespace()),
}


@pytest.fixture(scope="module")
def donors(metaspace_view):
    return {name: view(make()) for name, make in DONORS.items()} | {"metaspace": metaspace_view}


@pytest.fixture(scope="module")
def kept(donors, old):
    return {
        name: new_vocabulary(old, donor, special_tokens="keep", keep=[])
        for name, donor in donors.items()
    }
