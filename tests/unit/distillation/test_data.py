"""Which template a student's chats are written in."""

from dataclasses import replace

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import open_dict
from tests.runs import REPOSITORY

from alm_lightning.alignment.chat.messages import align_messages
from alm_lightning.app.train.build import data_plan
from alm_lightning.data.examples import AllWindows, FirstWindow
from alm_lightning.tokenization.bytes.view import byte_view
from alm_lightning.tokenization.chat.choice import template_of

GEMMA = byte_view(other_specials=["<start_of_turn>", "<end_of_turn>"], chat_template=None)
CHATML = byte_view(other_specials=["<|im_start|>", "<|im_end|>"], chat_template=None)


def chat_of(view, special_tokens, student="gemma", teacher="gemma"):
    with initialize_config_dir(version_base="1.3", config_dir=str(REPOSITORY / "conf")):
        cfg = compose("train", ["tokenizer=bytes", "chat.system=merge"])
    cfg.chat.student_template, cfg.chat.teacher_template = student, teacher
    if special_tokens is None:
        # a student that keeps its tokenizer has no such setting
        with open_dict(cfg):
            del cfg.tokenizer.special_tokens
    else:
        cfg.tokenizer.special_tokens = special_tokens
    return data_plan(cfg).chat_of(view)


def test_own_special_tokens_write_chats_in_their_own_template():
    chat = chat_of(CHATML, "replace")
    assert (chat.student_template, chat.teacher_template) == (None, "gemma")
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "you"}]
    aligned = align_messages(messages, student=CHATML, teacher=GEMMA, **vars(chat))
    assert aligned.coverage == 1.0
    assert CHATML.special_ids["<|im_start|>"] in aligned.student_ids


@pytest.mark.parametrize("special_tokens", ["keep", "replace", None])
def test_the_models_format_where_it_fits(special_tokens):
    assert chat_of(GEMMA, special_tokens).student_template == "gemma"


@pytest.mark.parametrize("special_tokens", ["keep", None])
def test_only_own_special_tokens_change_it(special_tokens):
    assert chat_of(CHATML, special_tokens).student_template == "gemma"


def test_a_format_that_is_asked_for_is_refused_where_it_does_not_fit():
    chat = chat_of(CHATML, "replace", student="llama3")
    assert chat.student_template == "llama3"
    with pytest.raises(
        ValueError, match=r"null for the tokenizer's own.*special_tokens='keep'.* a student"
    ):
        template_of(CHATML, chat.student_template)


def test_without_any_format_the_way_out_is_named():
    bare = byte_view(chat_template=None)
    chat = chat_of(bare, "replace")
    assert chat.student_template is None
    with pytest.raises(ValueError, match=r"no chat template.*special_tokens='keep' \(tokenizer\."):
        template_of(bare, None)


def test_all_windows_of_texts_that_are_not_cut_have_no_scores():
    with initialize_config_dir(version_base="1.3", config_dir=str(REPOSITORY / "conf")):
        plan = data_plan(compose("train", []))
    assert plan.cut_bytes is None
    for dataset in (plan.dataset, AllWindows):
        with pytest.raises(ValueError, match=r"all windows of each text are trained on"):
            replace(plan, dataset=dataset).check_first_windows()
        replace(plan, dataset=dataset, cut_bytes=60).check_first_windows()
    replace(plan, dataset=FirstWindow).check_first_windows()
