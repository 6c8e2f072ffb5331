import logging
from dataclasses import replace

import pytest
from tests.unit.tokenization.small_backends import view, words
from tokenizers import pre_tokenizers

from alm_lightning.tokenization.bytes.view import byte_view
from alm_lightning.tokenization.specials.roles import old_special_ids, stop_ids, unknown_id

LLAMA = ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
CHATML = ["<|im_start|>", "<|im_end|>"]
GEMMA = ["<end_of_turn>", "<start_of_turn>"]
MISTRAL = ["[INST]", "[/INST]"]


def view_with(specials=(), *, prepends_bos=True, without=(), **roles):
    """Bytes with special tokens; `without` are roles that it lacks."""
    made = byte_view({"bos": "<s>", "eos": "</s>", "pad": "[PAD]"} | roles, specials)
    kept = {role: index for role, index in made.roles.items() if role not in without}
    return replace(made, roles=kept, prepends_bos=prepends_bos)


def named(old, new):
    """The counterparts by text."""
    old_texts = {index: text for text, index in old.special_ids.items()}
    new_texts = {index: text for text, index in new.special_ids.items()}
    found = old_special_ids(old, new)
    return {new_texts[new_id]: old_texts[old_id] for new_id, old_id in found.items()}


def test_the_same_text_comes_before_the_role():
    # '</s>' ends texts here and is only some token there
    old = view_with(["</s>", "<tool>"], eos="<eos>")
    new = view_with(["<tool>", "<other>"])
    assert named(old, new) == {
        "<s>": "<s>",
        "</s>": "</s>",
        "[PAD]": "[PAD]",
        "<tool>": "<tool>",
    }


def test_roles():
    old = view_with()
    new = view_with(bos="<bos>", eos="<eos>", pad="<pad>")
    assert named(old, new) == {"<bos>": "<s>", "<eos>": "</s>", "<pad>": "[PAD]"}


@pytest.mark.parametrize("role", ["bos", "pad"])
def test_eos_plays_the_roles_that_the_old_one_lacks(role):
    new = view_with(bos="<bos>", eos="<eos>", pad="<pad>")
    assert named(view_with(without=[role]), new)[f"<{role}>"] == "</s>"


def test_a_token_of_several_roles_is_the_eos_first():
    new = view_with(bos="<|endoftext|>", eos="<|endoftext|>", pad="<|endoftext|>")
    assert named(view_with(), new) == {"<|endoftext|>": "</s>"}


@pytest.mark.parametrize(
    ("old_marks", "new_marks", "expected"),
    [
        (CHATML, GEMMA, {"<start_of_turn>": "<|im_start|>", "<end_of_turn>": "<|im_end|>"}),
        (GEMMA, CHATML, {"<|im_start|>": "<start_of_turn>", "<|im_end|>": "<end_of_turn>"}),
        (LLAMA, GEMMA, {"<start_of_turn>": LLAMA[0], "<end_of_turn>": LLAMA[2]}),
        # ChatML has no token for the end of a head
        (CHATML, LLAMA, {LLAMA[0]: "<|im_start|>", LLAMA[2]: "<|im_end|>"}),
        # Mistral's assistant ends with EOS
        (MISTRAL, GEMMA, {"<start_of_turn>": "[INST]", "<end_of_turn>": "</s>"}),
        (MISTRAL, LLAMA, {LLAMA[0]: "[INST]", LLAMA[1]: "[/INST]", LLAMA[2]: "</s>"}),
        ([], GEMMA, {}),
    ],
)
def test_marks_of_turns(old_marks, new_marks, expected):
    old, new = view_with(old_marks), view_with([*new_marks, "<mask>"])
    roles = {"<s>": "<s>", "</s>": "</s>", "[PAD]": "[PAD]"}
    assert named(old, new) == roles | expected


def test_a_bos_in_name_alone_is_a_mark():
    # SmolLM2 calls <|im_start|> its BOS, and never prepends it
    smollm2 = {"bos": "<|im_start|>", "eos": "<|im_end|>", "pad": "<|im_end|>"}
    new = view_with(["<tool>"], prepends_bos=False, **smollm2)
    assert named(view_with(GEMMA), new) == {
        "<|im_start|>": "<start_of_turn>",
        "<|im_end|>": "</s>",
    }
    assert named(view_with(), new)["<|im_start|>"] == "<s>"
    prepended = view_with(prepends_bos=True, **smollm2)
    assert named(view_with(GEMMA), prepended)["<|im_start|>"] == "<s>"


def test_unknown_is_unknown(metaspace_view, byte_level_view):
    wordpiece = view(words("wordpiece", pre_tokenizers.Whitespace()))
    assert metaspace_view.token_bytes[unknown_id(metaspace_view)] is None
    assert named(metaspace_view, wordpiece)["[UNK]"] == "<unk>"
    assert named(wordpiece, metaspace_view)["<unk>"] == "[UNK]"
    assert unknown_id(byte_level_view) is None
    assert "<unk>" not in named(byte_level_view, metaspace_view)


def test_stop_ids():
    gemma, chatml = view_with(GEMMA), view_with(["<tool>", *CHATML], eos="<|endoftext|>")
    ids = chatml.special_ids
    # the old end of a turn is the new one, and EOS is EOS
    assert stop_ids(gemma, chatml, ["<end_of_turn>"]) == [ids["<|im_end|>"]]
    stops = stop_ids(gemma, chatml, ["</s>", "<end_of_turn>", "</s>"])
    assert stops == [ids["<|endoftext|>"], ids["<|im_end|>"]]
    assert stop_ids(gemma, chatml, []) == []


def test_the_same_text_is_the_only_stop():
    # <end_of_turn> would do what the old EOS did, were there no token of its text
    old = view_with(CHATML, eos="<|im_end|>")
    new = view_with([*CHATML, *GEMMA])
    assert stop_ids(old, new, ["<|im_end|>"]) == [new.special_ids["<|im_end|>"]]
    plain = view_with(GEMMA)
    expected = [plain.special_ids["</s>"], plain.special_ids["<end_of_turn>"]]
    assert stop_ids(old, plain, ["<|im_end|>"]) == expected


def test_a_pad_token_stops_nothing():
    old = view_with(without=["pad", "bos"])
    new = view_with(bos="<bos>", eos="<eos>", pad="<pad>")
    assert stop_ids(old, new, ["</s>"]) == [new.special_ids["<eos>"]]
    both = view_with(bos="<eos>", eos="<eos>", pad="<eos>")
    assert stop_ids(old, both, ["</s>"]) == [both.special_ids["<eos>"]]


def test_a_stop_without_counterpart_is_left_out(caplog):
    with caplog.at_level(logging.WARNING):
        assert stop_ids(view_with(GEMMA), view_with(), ["<end_of_turn>"]) == []
    assert "no special token for the stop token <end_of_turn>" in caplog.text


def test_unknown_stop_tokens_are_refused():
    with pytest.raises(
        ValueError, match=r"no special tokens \['<x>'\], which stop_tokens \(student.stop_tokens\)"
    ):
        stop_ids(view_with(), view_with(), ["<x>"])
