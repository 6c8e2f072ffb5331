"""What is a chat, what is not, and what happens to its system message."""

from dataclasses import replace

import pytest

from alm_lightning.corpus.chat import SYSTEM_POLICIES, BadChat, Chat, Message
from alm_lightning.corpus.document import BadDocument

USER, SYSTEM = {"role": "user", "content": "U"}, {"role": "system", "content": "S"}
ANSWER = {"role": "assistant", "content": "A"}


def chat_of(*rows):
    return Chat.of(list(rows), "c.jsonl:7")


def pairs(chat):
    return [(message.role, message.content) for message in chat.messages]


def test_a_chat_keeps_its_contents():
    chat = chat_of(SYSTEM, {"role": "user", "content": " U\n"}, ANSWER)
    assert pairs(chat) == [("system", "S"), ("user", " U\n"), ("assistant", "A")]
    assert chat.name == "c.jsonl:7"
    assert chat.text == "S\n\n U\n\n\nA"
    assert not chat.is_blank
    assert chat_of({"role": "user", "content": " \n"}).is_blank
    assert Chat.of(chat.messages, "again").messages == chat.messages


def test_empty_calls_and_other_keys_are_what_every_row_has():
    assert pairs(chat_of(USER | {"tool_calls": [], "id": 3})) == [("user", "U")]
    assert pairs(chat_of(USER | {"tool_calls": None})) == [("user", "U")]
    empty = {"reasoning_content": "", "reasoning": None, "thinking": [], "function_call": {}}
    assert pairs(chat_of(USER | empty)) == [("user", "U")]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("a string", "7: expected a list of messages, found str: 'a string'"),
        (None, "7: expected a list of messages, found NoneType"),
        ({"role": "user", "content": "U"}, "7: expected a list of messages, found dict"),
        ([], "7: the chat has no messages"),
        (["hello"], "7, message 0: expected a mapping with role and content, found str: 'hello'"),
        ([USER, {"role": "user"}], "7, message 1: there is no content in"),
        ([{"content": "x"}], "7, message 0: there is no role in"),
        ([{}], "7, message 0: there is no role and no content in"),
        ([USER, {"role": "assistant", "content": None}], "1: the content is a NoneType, None"),
        (
            [{"role": "user", "content": [{"type": "text", "text": "x"}]}],
            "0: the content is a l.*pa",
        ),
        ([USER, {"role": "tool", "content": "4"}], "1: tool calls .* not supported yet.*'tool'"),
        ([USER, ANSWER | {"tool_calls": [{"id": 1}]}], "1: tool calls .* not supported yet"),
        ([USER, {"role": "assistant", "tool_calls": [{"id": 1}]}], "1: tool calls .* not supp"),
        (
            [USER, ANSWER | {"function_call": {"name": "f"}}],
            "1: tool calls .*with function_call=.'na",
        ),
        (
            [USER, ANSWER | {"reasoning_content": "So"}],
            "1: reasoning_content is kept .*'So', and.*<th",
        ),
        ([USER, ANSWER | {"reasoning": "So"}], "1: reasoning is kept beside the content"),
        ([USER, {"role": "assistant", "thinking": "So"}], "1: thinking is kept beside the content"),
        ([USER, Message("tool", "4")], "1: tool calls .* not supported yet.*'tool'"),
        ([Message("human", "x")], "0: the role is 'human'"),
        ([{"role": "human", "content": "x"}], "0: the role is 'human'; expected .*system, user"),
        ([{"role": None, "content": "x"}], "0: the role is None"),
        ([USER, SYSTEM], "7: message 1 is a system message; expected one at most, and that first"),
        ([SYSTEM, SYSTEM], "7: message 1 is a system message"),
    ],
)
def test_what_is_no_chat_is_refused(value, message):
    with pytest.raises(BadChat, match=rf"c\.jsonl:.*{message}") as error:
        Chat.of(value, "c.jsonl:7")
    assert error.value.kind == "bad chat"


def test_a_lone_surrogate_is_named_with_message_and_position():
    with pytest.raises(BadDocument, match=r"7, message 1: .*\(U\+D83D\) at character 3") as error:
        chat_of(USER, {"role": "assistant", "content": "abc\ud83d"})
    with pytest.raises(BadDocument, match=r"7, message 1: .*\(U\+D83D\) at character 3"):
        chat_of(USER, Message("assistant", "abc\ud83d"))
    assert error.value.kind == "lone surrogate"
    with pytest.raises(BadDocument, match=r"7: the group has a lone surrogate .* at character 1"):
        replace(chat_of(USER), group="x\ud83d")


def test_system_messages_by_policy():
    chat, without = chat_of(SYSTEM, USER, ANSWER), chat_of(USER, ANSWER)
    assert set(SYSTEM_POLICIES) == {"own", "merge", "drop", "error"}
    assert SYSTEM_POLICIES["own"](chat) == chat
    merged = SYSTEM_POLICIES["merge"](chat)
    assert pairs(merged) == [("user", "S\n\nU"), ("assistant", "A")]
    assert merged.name == chat.name
    grouped = replace(chat, group="en")
    assert {SYSTEM_POLICIES[name](grouped).group for name in ("own", "merge", "drop")} == {"en"}
    assert pairs(SYSTEM_POLICIES["drop"](chat)) == pairs(without)
    for policy in SYSTEM_POLICIES.values():
        assert policy(without) == without


@pytest.mark.parametrize(
    ("policy", "rows", "message"),
    [
        ("error", (SYSTEM, USER), "there is a system message, and system=error allows none"),
        ("merge", (SYSTEM, ANSWER), "not followed by the user's"),
        ("merge", (SYSTEM,), "not followed by the user's"),
        ("drop", (SYSTEM,), "nothing but a system message"),
    ],
)
def test_a_policy_that_does_not_fit_is_refused(policy, rows, message):
    with pytest.raises(BadChat, match=f"jsonl:7: .*{message}"):
        SYSTEM_POLICIES[policy](chat_of(*rows))
