"""The proof of a byte table: wrong ones are refused, right ones are not."""

import json

import pytest
from tests.unit.tokenization.small_backends import byte_level, view, words
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers

KEEPS_SPACES = pre_tokenizers.Split(" ", "merged_with_next")


@pytest.mark.parametrize("model", ["wordpiece", "end_of_word", "characters"])
@pytest.mark.parametrize("cut", [KEEPS_SPACES, pre_tokenizers.WhitespaceSplit()])
def test_decoders_that_put_spaces_between_words_are_no_fault(model, cut):
    side = view(words(model, cut))
    encoding = side.encode("the word")
    assert side.table.spelled(encoding.ids).tobytes().replace(b" ", b"") == b"theword"


def test_a_dummy_space_that_the_decoder_leaves_is_no_fault(metaspace_tokenizer):
    backend = Tokenizer.from_str(metaspace_tokenizer.backend_tokenizer.to_str())
    backend.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    backend.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    side = view(backend)
    encoding = side.encode(" hello")
    assert side.table.spelled(encoding.ids).tobytes() == b"  hello"
    # the dummy stands for nothing
    assert encoding.ends[-1] == 6
    assert encoding.rewritten_bytes == 0


@pytest.mark.parametrize("decoder", [None, decoders.Metaspace(), decoders.WordPiece()])
def test_a_byte_level_tokenizer_with_no_decoder_or_another_s_is_refused(decoder):
    backend = byte_level()
    if decoder is None:
        backend = Tokenizer.from_str(json.dumps(json.loads(backend.to_str()) | {"decoder": None}))
    else:
        backend.decoder = decoder
    with pytest.raises(ValueError, match=r"'small': the bytes of its tokens are not understood"):
        view(backend)


def test_what_a_normaliser_drops_is_a_loss_not_a_fault():
    backend = byte_level()
    backend.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()])
    assert any("accents" in loss for loss in view(backend).losses)
