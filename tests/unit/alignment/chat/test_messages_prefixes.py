"""Chunks of chats against brute force: every pair of token prefixes, whatever the contents are."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.alignment.chat.chat_sides import SPECIALS, TRIMS, view_for
from tests.unit.alignment.chat.prefixes import SAY, brute_force, tokens_of

from alm_lightning.alignment.chat.messages import align_messages
from alm_lightning.corpus.chat import Chat, Message
from alm_lightning.tokenization.chat.choice import template_of

LINES = "{% for m in messages %}### {{ m.role }}:\n{{ m.content }}\n\n{% endfor %}"
BARE = "{% for m in messages %}{{ m.content }}{% endfor %}"
# tokenizer, whether it has GPT-2's pattern, template
SIDES = {
    "bytes": ("bytes", True, None),
    "chatml": ("chatml", True, None),
    "chatml, no pattern": ("chatml", False, None),
    "lines": ("chatml", False, LINES),
    "bare": ("llama3", False, BARE),
    "gemma": ("gemma", True, None),
    "llama3": ("llama3", False, None),
    "mistral": ("mistral", True, None),
}
ANY_ROLES = [
    ("chatml", "bytes"),
    ("chatml, no pattern", "llama3"),
    ("lines", "bytes"),
    ("bytes", "lines"),
    ("lines", "bare"),
    ("bare", "chatml, no pattern"),
    ("bare", "bytes"),
]
TAKING_TURNS = [
    ("chatml", "gemma"),
    ("gemma", "chatml, no pattern"),
    ("chatml, no pattern", "mistral"),
    ("mistral", "bytes"),
    ("bytes", "gemma"),
    ("gemma", "mistral"),
    ("mistral", "llama3"),
    ("bare", "gemma"),
    ("mistral", "lines"),
]


def check(pair, messages, trained):
    chosen = [SIDES[name] for name in pair]
    student, teacher = (view_for(kind, regex=regex) for kind, regex, _ in chosen)
    templates = [template for *_, template in chosen]
    aligned = align_messages(
        messages,
        student=student,
        teacher=teacher,
        trained=trained,
        student_template=templates[0],
        teacher_template=templates[1],
    )
    trims = {kind for kind, _, template in chosen if kind in TRIMS and template is None}
    messages = [
        # Gemma's format strips turns, and not the system message
        message
        if not trims or (trims == {"gemma"} and message.role == "system")
        else Message(message.role, message.content.strip())
        for message in messages
    ]
    chat = Chat(tuple(messages), "chat")
    contents = [message.content.encode() for message in messages]
    assert aligned.content == b"".join(contents)
    sides = []
    for view, template, ids in zip(
        (student, teacher), templates, (aligned.student_ids, aligned.teacher_ids), strict=True
    ):
        rendering = template_of(view, template).render(chat)
        assert list(rendering.contents) == [message.content for message in messages]
        sides.append(tokens_of(view, ids, rendering))
    steps = set(range(3 * len(messages) + 1))
    if trained == "assistant":
        own = [number for number, message in enumerate(messages) if message.role == "assistant"]
        steps = {3 * number + step for number in own for step in (SAY, 2)}
    chunk_ids = (aligned.student_chunk_ids.tolist(), aligned.teacher_chunk_ids.tolist())
    found = [
        (
            int(aligned.chunk_starts[chunk]),
            int(aligned.chunk_ends[chunk]),
            bool(aligned.trained[chunk]),
            *([t for t, own in enumerate(ids) if own == chunk] for ids in chunk_ids),
        )
        for chunk in range(aligned.num_chunks)
    ]
    assert found == brute_force(sides, steps)
    # contents tile: in order, no byte twice, and what is in no chunk is counted
    assert all(a[1] <= b[0] for a, b in pairwise(found))
    outside = sum(aligned.outside_bytes.values())
    assert sum(end - start for start, end, *_ in found) + outside == len(aligned.content)
    for chunk in (aligned.chunk_starts < aligned.chunk_ends).nonzero()[0].tolist():
        for view, ids, own in zip(
            (student, teacher), (aligned.student_ids, aligned.teacher_ids), chunk_ids, strict=True
        ):
            spelled = [
                view.token_bytes[i] for i, c in zip(ids.tolist(), own, strict=True) if c == chunk
            ]
            assert b"".join(spelled).removeprefix(b" ") == aligned.chunk_bytes(chunk).removeprefix(
                b" "
            )
    return aligned


# U+2581 is another's test: what rewrites it spells other bytes than were given
ANY_TEXT = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\u2581"), max_size=12
)
WORDS = [
    "\n",
    "\n\n",
    " ",
    "  ",
    "user",
    "assistant\n",
    "model",
    "Hello there.",
    "I am",
    ".",
    "###",
]
MARKS = sorted({token for tokens in SPECIALS.values() for token in tokens})
LIKE_STRUCTURE = st.sampled_from([*WORDS, *MARKS, "### user:\n", "\ue0000\ue001"])
CONTENT = st.lists(ANY_TEXT | LIKE_STRUCTURE, max_size=5).map("".join)
TRAINED = st.sampled_from(["all", "assistant"])
SYSTEM = st.lists(CONTENT.map(lambda content: Message("system", content)), max_size=1)


@settings(deadline=None, max_examples=25)
@given(
    system=SYSTEM,
    turns=st.lists(st.tuples(st.sampled_from(["user", "assistant"]), CONTENT), max_size=4),
    trained=TRAINED,
)
@pytest.mark.parametrize("pair", ANY_ROLES)
def test_any_roles_and_contents(pair, system, turns, trained):
    messages = system + [Message(*turn) for turn in turns]
    if messages:
        check(pair, messages, trained)


@settings(deadline=None, max_examples=25)
@given(system=SYSTEM, contents=st.lists(CONTENT, min_size=1, max_size=4), trained=TRAINED)
@pytest.mark.parametrize("pair", TAKING_TURNS)
def test_any_contents_of_those_who_take_turns(pair, system, contents, trained):
    turns = [Message(("user", "assistant")[n % 2], c) for n, c in enumerate(contents)]
    check(pair, system + turns, trained)
