"""Whose special tokens a byte tokenizer has."""

from dataclasses import replace

import pytest

from alm_lightning.tokenization.bytes.view import byte_view, byte_view_like

MARKS = ["<|im_start|>", "<|im_end|>"]


def old_view(*, prepends_bos, template=None):
    roles = {"bos": MARKS[0], "eos": "<|endoftext|>", "pad": MARKS[1]}
    old = replace(byte_view(roles, MARKS, template), prepends_bos=prepends_bos)
    del old.roles["pad"]
    return old


def texts_of(view):
    texts = {index: text for text, index in view.special_ids.items()}
    return {role: texts[index] for role, index in view.roles.items()}


def test_documents_begin_with_what_began_them():
    eos = "<|endoftext|>"
    kept = byte_view_like(old_view(prepends_bos=True), MARKS)
    assert texts_of(kept) == {"bos": MARKS[0], "eos": eos, "pad": eos}
    # SmolLM2's BOS begins turns, and no document
    kept = byte_view_like(old_view(prepends_bos=False), MARKS)
    assert texts_of(kept) == {"bos": eos, "eos": eos, "pad": eos}
    assert kept.start_id == kept.id_of("eos")
    assert set(kept.special_ids) == {eos, *MARKS}
    # and stays a token of its own, whether or not it is asked for
    assert set(byte_view_like(old_view(prepends_bos=False), []).special_ids) == {eos, MARKS[0]}
    # a chat whose template writes the BOS has to find the token that it wrote
    writes = old_view(prepends_bos=False, template="{{ bos_token }}{{ messages }}")
    assert texts_of(byte_view_like(writes, MARKS))["bos"] == MARKS[0]


@pytest.mark.parametrize("prepends_bos", [True, False])
def test_special_tokens_of_its_own_are_the_same_for_all(prepends_bos):
    old = old_view(prepends_bos=prepends_bos, template="{{ messages }}")
    made = byte_view_like(old, MARKS, "replace")
    assert made.fingerprint == byte_view().fingerprint
    assert made.hf.chat_template == byte_view().hf.chat_template
    assert texts_of(made) == {"bos": "<bos>", "eos": "<eos>", "pad": "<pad>"}


def test_a_format_that_writes_the_bos_counts_as_a_template():
    roles = {"bos": "<b>", "eos": "</s>", "pad": "</s>"}
    marks = ["<start_of_turn>", "<end_of_turn>"]
    old = replace(byte_view(roles, marks, None), prepends_bos=False)
    assert texts_of(byte_view_like(old, marks))["bos"] == "<b>"


def test_what_the_template_writes_is_kept_where_nothing_is_named(caplog):
    """Without its special tokens a chat would have their names, letter by letter."""
    template = "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"
    roles = {"bos": "<b>", "eos": "</s>", "pad": "</s>"}
    old = byte_view(roles, [*MARKS, "<|other|>"], template)
    kept = byte_view_like(old, None)
    assert set(kept.special_ids) == {"<b>", "</s>", *MARKS}
    assert kept.hf.chat_template == template
    assert "does not keep" not in caplog.text
    assert set(byte_view_like(old, []).special_ids) == {"<b>", "</s>"}
    # what is named is what there is, with a word on what the template lacks
    named = byte_view_like(old, [MARKS[0]])
    assert set(named.special_ids) == {"<b>", "</s>", MARKS[0]}
    assert (
        "writes the special tokens <|im_end|>, which the byte tokenizer does not keep"
        in caplog.text
    )


def test_an_eos_is_asked_for():
    old = old_view(prepends_bos=True)
    del old.roles["eos"]
    for choice in ("keep", "replace"):
        with pytest.raises(ValueError, match="has no eos token"):
            byte_view_like(old, MARKS, choice)


def test_bad_choices_are_refused():
    old = old_view(prepends_bos=True)
    with pytest.raises(ValueError, match=r"special_tokens is 'own': expected 'keep', .*'replace'"):
        byte_view_like(old, MARKS, "own")
    for choice in ("keep", "replace"):
        with pytest.raises(ValueError, match=r"no special tokens \['<x>'\], which keep"):
            byte_view_like(old, ["<x>"], choice)
