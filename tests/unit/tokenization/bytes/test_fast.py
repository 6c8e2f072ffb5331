"""The stock byte tokenizer: ids are bytes, every text comes back, AutoTokenizer reads it."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from alm_lightning.tokenization.bytes.fast import byte_tokenizer

SPECIALS = ["<bos>", "<eos>", "<pad>", "<start_of_turn>", "<end_of_turn>"]


def tokenizer_with(specials=SPECIALS, **kwargs):
    roles = {"bos": "<bos>", "eos": "<eos>", "pad": "<pad>"} | kwargs
    return byte_tokenizer(specials, **roles)


@pytest.fixture(scope="module", params=["made", "read"])
def tokenizer(request, tmp_path_factory):
    made = tokenizer_with()
    if request.param == "made":
        return made
    folder = tmp_path_factory.mktemp("tokenizer")
    made.save_pretrained(folder)
    # nothing but data, so nothing to trust
    assert not list(folder.glob("*.py"))
    return AutoTokenizer.from_pretrained(folder)


@settings(max_examples=300, deadline=None)
@given(st.text())
@example("")
@example("<bos><end_of_turn>")
@example("\x00\x01\x7f\x80\x9f \t\r\n  x")
@example("▁a Ġb Ċ e\u0301 é \u200d👩‍👩‍👧 \ufeff\ufffd\U0010ffff")
@example(" , . ' n't do n't ?")
def test_every_text_comes_back(tokenizer, text):
    # hypothesis knows the specials' names from this file, and tries them as content
    ids = tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids
    assert ids == list(text.encode())
    assert tokenizer.decode(ids) == text
    assert tokenizer(text, split_special_tokens=True).input_ids == [256, *ids]


@settings(max_examples=200, deadline=None)
@given(st.binary())
def test_any_bytes_decode_as_utf8_with_replacements(tokenizer, data):
    assert tokenizer.decode(list(data)) == data.decode("utf-8", errors="replace")


def test_special_tokens_follow_the_bytes_and_can_be_skipped(tokenizer):
    assert tokenizer.convert_tokens_to_ids(SPECIALS) == [256, 257, 258, 259, 260]
    assert len(tokenizer) == 261
    assert set(tokenizer.all_special_ids) == {256, 257, 258, 259, 260}
    text = "<start_of_turn>é<end_of_turn>"
    ids = tokenizer(text, add_special_tokens=False).input_ids
    assert ids == [259, 0xC3, 0xA9, 260]
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode([256, *ids, 257, 258], skip_special_tokens=True) == "é"
    as_content = tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids
    assert as_content == list(text.encode())


def test_batches_are_padded_on_the_left(tokenizer):
    batch = tokenizer(["a", "abc"], padding=True)
    assert set(batch) == {"input_ids", "attention_mask"}
    assert batch.input_ids == [[258, 258, 256, 97], [256, 97, 98, 99]]
    assert batch.attention_mask == [[0, 0, 1, 1], [1, 1, 1, 1]]
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (
        256,
        257,
        258,
    )


def test_bos_is_optional(tmp_path):
    tokenizer = tokenizer_with(add_bos=False)
    assert tokenizer("a").input_ids == [97]
    tokenizer.save_pretrained(tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path)("a").input_ids == [97]
    assert tokenizer_with()("a", "b").input_ids == [256, 97, 256, 98]


def test_roles_may_share_a_token():
    tokenizer = byte_tokenizer(["<s>", "</s>"], bos="<s>", eos="</s>", pad="</s>")
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id, len(tokenizer)) == (257, 257, 258)


def test_wrong_specials_are_refused():
    with pytest.raises(ValueError, match=r"\['<none>'\] have a role .* Add them"):
        tokenizer_with(pad="<none>")
    for specials in ([*SPECIALS, "<bos>"], [*SPECIALS, "é"]):
        with pytest.raises(ValueError, match="distinct and longer"):
            tokenizer_with(specials)
