"""Text that is listed as special tokens, and structure that is not: what they decode to counts."""

import json
import logging

import pytest
from tests.unit.tokenization.small_backends import byte_level
from tokenizers import AddedToken, Tokenizer
from transformers import PreTrainedTokenizerFast

from alm_lightning import align_text
from alm_lightning.alignment.chat.turns import turns_of
from alm_lightning.alignment.text import uncovered
from alm_lightning.corpus.chat import Chat
from alm_lightning.tokenization.bytes.view import byte_view, byte_view_like
from alm_lightning.tokenization.chat.choice import template_of
from alm_lightning.tokenization.fast import view_of
from alm_lightning.tokenization.new_vocabulary import new_vocabulary
from alm_lightning.tokenization.specials.classify import with_flags

ROLES = {"bos_token": "<bos>", "eos_token": "<eos>"}
ANSWER = {"role": "assistant", "content": "sat"}


def listed(backend: Tokenizer, *contents: str, special: bool = True, **roles: str):
    """The view of a tokenizer.json in which someone has listed tokens among the added ones."""
    state = json.loads(backend.to_str())
    known = {token["content"] for token in state["added_tokens"]}
    state["added_tokens"] = [
        token | {"special": special} if token["content"] in contents else token
        for token in state["added_tokens"]
    ]
    made = Tokenizer.from_str(json.dumps(state))
    missing = [text for text in contents if text not in known]
    tokens = [AddedToken(text, special=special, normalized=False) for text in missing]
    (made.add_special_tokens if special else made.add_tokens)(tokens)
    hf = PreTrainedTokenizerFast(tokenizer_object=made, **(ROLES | roles))
    return view_of(hf, name="listed")


@pytest.fixture(scope="module")
def metaspace(metaspace_tokenizer):
    return metaspace_tokenizer.backend_tokenizer


@pytest.mark.parametrize("special", [True, False])
def test_byte_fallback_pieces_are_bytes_whatever_the_flag_says(
    metaspace, metaspace_view, special, caplog
):
    with caplog.at_level(logging.INFO):
        view = listed(metaspace, "<0x0A>", "<0x09>", special=special)
    assert view.token_bytes == metaspace_view.token_bytes
    assert view.special_ids == metaspace_view.special_ids
    aligned = align_text("a\nb\tc", student=byte_view(), teacher=view)
    assert aligned.coverage == 1.0
    assert not uncovered(byte_view(), view)
    # what someone writes is content, and no byte
    for text in ("<0x0A> is six characters", "a<0x0A>\n"):
        assert view.encode(text).ids.tolist() == metaspace_view.encode(text).ids.tolist()
    assert ("'<0x09>', '<0x0A>' are listed as special tokens" in caplog.text) == special


def test_a_word_of_the_text_that_pads_is_text(caplog):
    backend = byte_level()
    plain = listed(backend)
    text = "hello hello world! it's 12!!"
    with caplog.at_level(logging.INFO):
        view = listed(backend, "Ġworld", pad_token="!")
    assert view.encode(text).ids.tolist() == plain.encode(text).ids.tolist()
    assert view.token_bytes == plain.token_bytes
    assert "'!', 'Ġworld' are listed as special tokens" in caplog.text
    # the EOS fills rows up in its place, here and with bytes
    assert view.roles == plain.roles
    assert byte_view_like(view, []).roles["pad"] == byte_view_like(view, []).roles["eos"]


def test_merges_tell_text_where_whole_words_are_looked_up_as_well():
    backend = byte_level(ignore_merges=True)
    plain, view = listed(backend), listed(backend, "Ġworld", "hello")
    text = "hello world the cat <bos>"
    assert view.encode(text).ids.tolist() == plain.encode(text).ids.tolist()
    assert view.special_ids == plain.special_ids == {"<bos>": 0, "<eos>": 1}


def test_whitespace_that_only_an_added_token_spells_is_found(metaspace):
    view = listed(metaspace, "\n\n\n")
    index = view.hf.convert_tokens_to_ids("\n\n\n")
    encoding = view.encode("a\n\n\nb<bos>")
    assert index in encoding.ids
    assert view.token_bytes[index] == b"\n\n\n"
    assert view.table.spelled(encoding.ids).tobytes() == b"a\n\n\nb<bos>"
    # the tokenizer that is exported stays as it was
    assert view.hf.backend_tokenizer.get_added_tokens_decoder()[index].special


@pytest.mark.parametrize("text", ["<start_of_turn>", "<|im_start|>", "<tool>"])
def test_structure_stays_structure(metaspace, text):
    partner = {"<start_of_turn>": "<end_of_turn>", "<|im_start|>": "<|im_end|>"}.get(text, "<b>")
    view = listed(metaspace, text, partner)
    assert {text, partner} <= set(view.special_ids)
    assert view.token_bytes[view.special_ids[text]] is None


def test_marks_of_a_chat_that_merges_lead_to_are_structure():
    backend = byte_level()
    state = json.loads(backend.to_str())
    vocabulary, merges = state["model"]["vocab"], []
    for mark in ("<|im_start|>", "<|im_end|>", "<|word|>"):
        for end in range(2, len(mark) + 1):
            if mark[:end] not in vocabulary:
                vocabulary[mark[:end]] = len(vocabulary)
                merges.append([mark[: end - 1], mark[end - 1]])
    # before what was learned, which would take their letters
    state["model"]["merges"] = merges + state["model"]["merges"]
    plain = Tokenizer.from_str(json.dumps(state))
    assert plain.model.tokenize("<|im_end|>")[0].value == "<|im_end|>"
    view = listed(plain, "<|im_start|>", "<|im_end|>", "<|word|>")
    assert {"<|im_start|>", "<|im_end|>"} <= set(view.special_ids)
    assert "<|word|>" not in view.special_ids


def test_roles_are_structure_without_a_flag(metaspace):
    view = listed(metaspace, "<bos>", special=False)
    assert view.special_ids["<bos>"] == view.id_of("bos")
    assert view.token_bytes[view.id_of("bos")] is None
    assert view.id_of("bos") not in view.encode("one <bos> two").ids


def test_a_tokenizer_without_other_flags_is_not_copied():
    backend = byte_level()
    assert with_flags(backend, {}) is backend


def test_what_a_pair_has_no_chunk_for_is_listed(metaspace, metaspace_view, bytes_view):
    # whose accents are lost for good, with the byte that is the EOS
    view = listed(metaspace, "<0xC3>", eos_token="<0xC3>")
    (first, *_) = uncovered(bytes_view, view)
    assert first == "accents: 8 of 20 bytes of 'café Größe naïve'"
    assert not uncovered(bytes_view, metaspace_view)


ROLE_MARKS = ("<｜User｜>", "<｜Assistant｜>", "<｜tool▁calls▁begin｜>")


def test_marks_of_a_chat_are_structure_without_a_flag():
    """DeepSeek's: a tokenizer finds unflagged tokens in any text, unless it is told not to."""
    backend = byte_level()
    view = listed(backend, *ROLE_MARKS, "<think>", "<tool_call>", special=False)
    assert view.special_ids.keys() == {"<bos>", "<eos>", *ROLE_MARKS}
    assert all(view.token_bytes[index] is None for index in view.special_ids.values())
    text = f"the cat{ROLE_MARKS[0]}\n {''.join(ROLE_MARKS)}sat"
    encoding = view.encode(text)
    assert encoding.ids.tolist() == listed(backend).encode(text).ids.tolist()
    assert view.table.spelled(encoding.ids).tobytes() == text.encode()
    aligned = align_text(text, student=byte_view(), teacher=view)
    assert aligned.coverage == 1.0
    # what is no mark of a format stays content, as one token
    thought = view.encode("<think>").ids.tolist()
    assert [view.token_bytes[index] for index in thought] == [b"<think>"]
    # the tokenizer that is exported stays as it was
    added = view.hf.backend_tokenizer.get_added_tokens_decoder()
    assert not added[view.special_ids["<｜User｜>"]].special


def test_a_chat_of_unflagged_marks_is_structure_and_content():
    view = listed(byte_level(), *ROLE_MARKS, special=False)
    chat = Chat.of([{"role": "user", "content": "the<｜User｜>"}, ANSWER], "c")
    side = turns_of(view, template_of(view, None).render(chat), "c")
    texts = {index: text for text, index in view.special_ids.items()}
    structure = [texts[index] for index in side.ids.tolist() if index in texts]
    assert structure == ["<bos>", "<｜User｜>", "<｜Assistant｜>", "<eos>"]
    spelled = b"".join(view.token_bytes[i] for i in side.ids[side.steps == 1].tolist())
    assert spelled == "the<｜User｜>".encode()
    # a new tokenizer and the bytes have the marks, too
    assert {"<｜User｜>", "<｜Assistant｜>"} <= {*byte_view_like(view, ROLE_MARKS[:2]).special_ids}
    made = new_vocabulary(view, listed(byte_level()), special_tokens="keep", keep=[])
    assert {"<｜User｜>", "<｜Assistant｜>"} <= {*made.special_ids}
