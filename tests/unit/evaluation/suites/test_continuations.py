"""Which tokens are those of a continuation."""

from dataclasses import replace

import pytest

from alm_lightning.corpus.chat import Chat
from alm_lightning.evaluation.suites.continuations import last_content, text_continuation
from alm_lightning.tokenization.chat.choice import template_of

PAIRS = [
    ("The quick brown", " fox jumps over"),
    ("The quick br", "own fox"),
    ("In 2024 it cost 1,2", "99.00"),
    ("Größ", "e, café"),
    ("", "The quick"),
    ("The quick", ""),
]


def spelled(view, ids):
    return b"".join(view.token_bytes[index] or b"" for index in ids.tolist())


@pytest.mark.parametrize("name", ["byte_level", "metaspace", "bytes"])
@pytest.mark.parametrize(("context", "continuation"), PAIRS)
def test_every_byte_of_a_continuation_is_in_one_scored_token(views, name, context, continuation):
    view = views[name]
    found = text_continuation(view, context, continuation, "pair", always_start=True)
    assert found.ids[0] == view.start_id
    whole = (context + continuation).encode()
    assert spelled(view, found.ids) == whole
    before, after = spelled(view, found.ids[: found.first]), spelled(view, found.ids[found.first :])
    assert context.encode().startswith(before)
    assert after.endswith(continuation.encode())
    # the token that crosses is the only one with bytes of both
    first = spelled(view, found.ids[found.first :][:1])
    assert len(after) - len(continuation.encode()) < max(len(first), 1)
    assert found.crosses == (before != context.encode())
    assert (name == "bytes") <= (not found.crosses)


def test_a_token_may_cross(metaspace_view):
    # no word boundary keeps the pieces of this vocabulary apart
    found = text_continuation(metaspace_view, "The quick brown f", "ox", "pair", always_start=True)
    assert found.crosses
    first = spelled(metaspace_view, found.ids[found.first :][:1])
    before = spelled(metaspace_view, found.ids[: found.first])
    whole = spelled(metaspace_view, found.ids)
    assert whole == b"The quick brown fox"
    # the token that spells the last bytes of the context is the first that is scored
    assert len(before) < len(b"The quick brown f") < len(before + first)


@pytest.mark.parametrize(
    ("prepends", "context", "always", "starts"),
    [
        (True, "The", False, True),
        (False, "The", False, False),
        (False, "The", True, True),
        (False, "", False, True),
    ],
)
def test_a_start_token_where_the_tokenizer_has_one_or_nothing_else_is_there(
    byte_level_view, prepends, context, always, starts
):
    view = replace(byte_level_view, prepends_bos=prepends)
    found = text_continuation(view, context, " quick", "pair", always_start=always)
    assert (found.ids[0] == view.start_id) == starts
    assert spelled(view, found.ids[found.first :]) == b" quick"


def test_the_content_of_the_last_message_alone(metaspace_view):
    messages = [
        {"role": "user", "content": "The quick?"},
        {"role": "assistant", "content": "The lazy dog."},
    ]
    rendering = template_of(metaspace_view, None).render(Chat.of(messages, "chat"))
    found = last_content(metaspace_view, rendering, "chat")
    after = spelled(metaspace_view, found.ids[found.first :])
    assert after.strip() == b"The lazy dog."
    assert found.crosses == (after != b"The lazy dog.")
    special = metaspace_view.special_ids
    assert special["<end_of_turn>"] not in found.ids[found.first :]
    assert (found.ids[: found.first] == special["<start_of_turn>"]).sum() == 2
