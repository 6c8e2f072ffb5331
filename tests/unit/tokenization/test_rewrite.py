"""Ends of rewritten texts: true boundaries only, in linear time."""

import json

import numpy as np
import pytest
from tests.unit.tokenization.small_backends import byte_level, view, words
from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers, processors

from alm_lightning.tokenization.rewrite import (
    INSIDE_REWRITE,
    byte_positions,
    ends_from_spans,
    pieces_of,
)

NORMALIZERS = {
    "nfc": normalizers.NFC(),
    "collapse": normalizers.Replace(Regex(r"\s+"), " "),
}


@pytest.mark.parametrize(
    ("name", "unit"), [("nfc", "\u0301\u0323"), ("nfc", "Vie\u0323\u0302t "), ("collapse", " ")]
)
def test_the_work_grows_with_the_text_not_with_its_square(name, unit):
    def work(length):
        asked = 0

        def spell(text):
            nonlocal asked
            asked += len(text)
            return NORMALIZERS[name].normalize_str(text).encode()

        text = (unit * length)[:length]
        pieces = pieces_of(text, spell)
        assert b"".join(given for given, _ in pieces) == text.encode()
        assert b"".join(spelled for _, spelled in pieces) == spell(text)
        return asked

    assert work(4000) <= 4.5 * work(1000)


def test_a_long_run_of_marks_or_spaces_is_still_explained():
    # 200 marks of one class keep their order: each is a piece of its own
    text = "a" + "\u0301" * 200 + "b"
    pieces = pieces_of(text, lambda piece: normalizers.NFC().normalize_str(piece).encode())
    assert pieces[0] == ("a\u0301".encode(), "á".encode())
    assert len(pieces) == 1 + 199 + 1


@pytest.mark.parametrize("normalizer", [normalizers.NFC(), normalizers.NFKC()])
def test_a_composed_letter_ends_behind_its_mark(normalizer):
    # whitespace has no token here, so spans are taken, and the library's span of é is that of e
    backend = words("wordpiece", pre_tokenizers.WhitespaceSplit())
    backend.normalizer = normalizer
    side = view(backend)
    text = "cafe\u0301 word"
    encoding = side.encode(text)
    assert encoding.ends[-1] == len(text.encode())
    assert len(b"cafe") not in encoding.ends.tolist()
    assert len("cafe\u0301".encode()) in encoding.ends.tolist()


def test_an_end_that_an_earlier_token_goes_beyond_is_none():
    pieces = [(b"abcdef", b"abcdef")]
    spans = np.array([[0, 2], [2, 5], [3, 3], [5, 6]])
    ends, _ = ends_from_spans(pieces, spans, np.array([2, 3, 0, 1]))
    assert ends.tolist() == [2, INSIDE_REWRITE, INSIDE_REWRITE, 6]


def test_whitespace_at_a_token_s_ends_belongs_to_it():
    # GPT-2's post-processor may take it off the spans; Strip is why spans are looked at
    text = "  hello\n\nworld "
    ends = []
    for trim in (False, True):
        backend = byte_level()
        backend.add_tokens([AddedToken("hello\n\n", normalized=False)])
        backend.add_tokens([AddedToken("\n\n", normalized=False)])
        backend.normalizer = normalizers.Strip()
        backend.post_processor = processors.ByteLevel(trim_offsets=trim)
        ends.append(view(backend).encode(text).ends.tolist())
    assert ends[0] == ends[1]


def test_bytes_that_several_unknown_tokens_stand_for_are_lost_once():
    backend = byte_level(unk_token="<eos>")
    state = backend.get_vocab()
    letters = [chr(0xC3), "©"]  # the two bytes of é, in the byte alphabet
    assert all(letter in state for letter in letters)
    content = json.loads(backend.to_str())
    for letter in letters:
        content["model"]["vocab"][f"gone{letter}"] = content["model"]["vocab"].pop(letter)
    content["model"]["merges"] = []
    encoding = view(Tokenizer.from_str(json.dumps(content))).encode("a é é b")
    assert encoding.unknown.sum() == 4
    assert encoding.rewritten_bytes == 0


def test_byte_positions_are_those_of_characters_and_the_end():
    assert byte_positions("né!").tolist() == [0, 1, 3, 4]
    assert byte_positions("日👍").tolist() == [0, 3, 7]
