"""Settings of paired chats: system messages, templates that strip, and what is refused."""

import logging

import numpy as np
import pytest
from tests.unit.alignment.chat.chat_sides import view_for

from alm_lightning.alignment.chat.messages import align_messages
from alm_lightning.corpus.chat import BadChat, Chat


def rows(messages):
    return [{"role": role, "content": content} for role, content in messages]


def aligned_of(pair, messages, **settings):
    student, teacher = map(view_for, pair)
    return align_messages(rows(messages), student=student, teacher=teacher, **settings)


def test_a_template_that_strips_gives_both_sides_the_same(caplog):
    messages = [("user", " Hi\n"), ("assistant", "\n Six. ")]
    with caplog.at_level(logging.WARNING):
        jinja = "{% for m in messages %}<{{ m.content | trim }}>{% endfor %}{# stripped #}"
        aligned = aligned_of(("bytes", "chatml"), messages, student_template=jinja)
        aligned_of(("bytes", "chatml"), messages, student_template=jinja)
    assert aligned.content == b"HiSix."
    assert aligned.coverage == 1.0
    assert len([r for r in caplog.records if "strips whitespace" in r.message]) == 1


def test_one_template_strips_the_left_and_one_the_right():
    left, right = (
        f"{{% for m in messages %}}<{{{{ m.content.{side}strip() }}}}>{{% endfor %}}"
        for side in "lr"
    )
    aligned = aligned_of(
        ("bytes", "bytes"), [("user", " Hi ")], student_template=left, teacher_template=right
    )
    assert aligned.content == b"Hi"


SYSTEM = [("system", "Be brief."), ("user", "Hi"), ("assistant", "Six.")]


@pytest.mark.parametrize(
    ("policy", "content"),
    [("own", b"Be brief.HiSix."), ("merge", b"Be brief.\n\nHiSix."), ("drop", b"HiSix.")],
)
@pytest.mark.parametrize("pair", [("chatml", "gemma"), ("mistral", "llama3")])
def test_system_messages(pair, policy, content):
    aligned = aligned_of(pair, SYSTEM, system=policy)
    assert aligned.content == content
    assert aligned.coverage == 1.0
    spoken = [aligned.chunk_bytes(c) for c in np.flatnonzero(aligned.trained).tolist()]
    assert b"".join(spoken) == b"Six."


def test_a_chat_keeps_its_own_name():
    chat = Chat.of(rows([("user", "U"), ("user", "V")]), "chats.jsonl:3")
    sides = {"student": view_for("gemma"), "teacher": view_for("bytes")}
    with pytest.raises(BadChat, match=r"chats\.jsonl:3: the chat template 'gemma' refuses it"):
        align_messages(chat, **sides, name="another")
    with pytest.raises(BadChat, match="row 3: the chat template 'gemma' refuses it"):
        align_messages(chat.messages, **sides, name="row 3")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"trained": "user"}, "trained is 'user'; expected one of all, assistant"),
        ({"system": "keep"}, "system is 'keep'; expected one of own, merge, drop, error"),
        ({"system": "error"}, "chat: there is a system message"),
        ({"student_template": "gemma"}, "needs the special tokens <start_of_turn>"),
        ({"teacher_template": "{{ messages[1].content }}"}, "chat: .* leaves out message 0"),
    ],
)
def test_settings_that_do_not_fit_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        aligned_of(("chatml", "bytes"), SYSTEM, **setting)
