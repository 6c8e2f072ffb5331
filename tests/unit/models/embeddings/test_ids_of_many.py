"""Many texts at once are cut as each would be within a longer text."""

import numpy as np
import pytest
from tests.unit.tokenization.small_backends import CORPUS, byte_level, view
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from alm_lightning.tokenization import fast

TEXTS = ["the", " the", "word words", "", "é", " ", "  cat", "\n", "mat, it's", "日本"]


def sentencepiece(normalizer, pre_tokenizer):
    backend = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    backend.normalizer = normalizer
    backend.pre_tokenizer = pre_tokenizer
    backend.decoder = decoders.Sequence(
        [
            decoders.Replace("\u2581", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    backend.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(
            vocab_size=360, special_tokens=["<bos>", "<eos>", "<unk>"], show_progress=False
        ),
    )
    return view(backend)


def metaspace(scheme):
    return sentencepiece(None, pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False))


def prepending():
    normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    return sentencepiece(normalizer, None)


def prefixing():
    backend = byte_level()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=True),
        ]
    )
    return view(backend)


def stripping():
    backend = byte_level()
    backend.normalizer = normalizers.Strip()
    return view(backend)


DUMMIES = {
    "first": lambda: metaspace("first"),
    "always": lambda: metaspace("always"),
    "prepend": prepending,
    "prefix": prefixing,
    "strip": stripping,
}


def spelled(view, texts):
    ids, counts = view.encoder.ids_of_many(texts)
    assert len(counts) == len(texts)
    assert (ids.dtype, counts.sum()) == (np.int32, len(ids))
    parts = np.split(ids, counts.cumsum()[:-1])
    return [b"".join(view.token_bytes[index] or b"?" for index in part) for part in parts]


@pytest.mark.parametrize("name", DUMMIES)
def test_nothing_goes_before_a_text_or_off_its_ends(name):
    made = DUMMIES[name]()
    known = [text for text in TEXTS if text.isascii() and "\n" not in text]
    # a test that can fail: at the start of a text this tokenizer does another thing
    alone = [made.encoder.ids(text, continued=False).tolist() for text in ("the", " the")]
    within = [made.encoder.ids_of_many([text])[0].tolist() for text in ("the", " the")]
    assert alone != within
    assert spelled(made, known) == [text.encode() for text in known]


@pytest.mark.parametrize("name", ["byte_level", "metaspace", "bytes"])
def test_the_same_as_one_by_one(views, name, monkeypatch):
    monkeypatch.setattr(fast, "BATCH", 3)
    encoder = views[name].encoder
    ids, counts = encoder.ids_of_many(TEXTS)
    one_by_one = [encoder.ids(text, continued=True) for text in TEXTS]
    assert counts.tolist() == [len(found) for found in one_by_one]
    assert np.array_equal(ids, np.concatenate(one_by_one))
    none, no_counts = encoder.ids_of_many([])
    assert (len(none), len(no_counts)) == (0, 0)


def test_special_tokens_are_text(byte_level_view):
    ids, _ = byte_level_view.encoder.ids_of_many(["<eos>"])
    assert not set(ids.tolist()) & set(byte_level_view.special_ids.values())
