"""Which template a student's chats are written in."""

import pytest
from omegaconf import OmegaConf

from alm_lightning.alignment.chat.messages import align_messages
from alm_lightning.app.train.data import chat_settings
from alm_lightning.tokenization.bytes.view import byte_view
from alm_lightning.tokenization.chat.choice import template_of

GEMMA = byte_view(other_specials=["<start_of_turn>", "<end_of_turn>"], chat_template=None)
CHATML = byte_view(other_specials=["<|im_start|>", "<|im_end|>"], chat_template=None)


def config(special_tokens, student="gemma", teacher="gemma"):
    chat = {
        "_target_": "alm_lightning.data.pairing.ChatSettings",
        "trained": "all",
        "system": "merge",
        "student_template": student,
        "teacher_template": teacher,
    }
    tokenizer = {} if special_tokens is None else {"special_tokens": special_tokens}
    return OmegaConf.create({"chat": chat, "tokenizer": tokenizer})


def test_own_special_tokens_write_chats_in_their_own_template():
    chat = chat_settings(config("replace"), CHATML)
    assert (chat.student_template, chat.teacher_template) == (None, "gemma")
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "you"}]
    aligned = align_messages(messages, student=CHATML, teacher=GEMMA, **vars(chat))
    assert aligned.coverage == 1.0
    assert CHATML.special_ids["<|im_start|>"] in aligned.student_ids


@pytest.mark.parametrize("special_tokens", ["keep", "replace", None])
def test_the_models_format_where_it_fits(special_tokens):
    assert chat_settings(config(special_tokens), GEMMA).student_template == "gemma"


@pytest.mark.parametrize("special_tokens", ["keep", None])
def test_only_own_special_tokens_change_it(special_tokens):
    assert chat_settings(config(special_tokens), CHATML).student_template == "gemma"


def test_a_format_that_is_asked_for_is_refused_where_it_does_not_fit():
    chat = chat_settings(config("replace", student="llama3"), CHATML)
    assert chat.student_template == "llama3"
    with pytest.raises(ValueError, match=r"null for student_template.*special_tokens=keep a stud"):
        template_of(CHATML, chat.student_template)


def test_without_any_format_the_way_out_is_named():
    bare = byte_view(chat_template=None)
    chat = chat_settings(config("replace"), bare)
    assert chat.student_template is None
    with pytest.raises(ValueError, match=r"no chat template.*tokenizer\.special_tokens=keep"):
        template_of(bare, None)
