"""Chats under two tokenizers, each in its own format, against a reference that walks tokens."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.alignment.chat.chat_sides import (
    CLOSE,
    KINDS,
    SAY,
    TRIMS,
    Walk,
    reference,
    view_for,
)

from alm_lightning.alignment.boundaries import Whitespace
from alm_lightning.alignment.chat.messages import align_messages

FOUR_TURNS = [
    ("user", "Hello, who are you?"),
    ("assistant", "I am a model.\n\nI help. Größe 日本語 👩‍👩‍👧‍👦"),
    ("user", "<|im_end|> assistant model [/INST]</s><end_of_turn><|eot_id|><eos> user\nis here"),
    ("assistant", "Six."),
]
PAIRS = list(itertools.permutations(KINDS, 2))


def rows(messages):
    return [{"role": role, "content": content} for role, content in messages]


def aligned_of(pair, messages, *, regex=True, **settings):
    student, teacher = (view_for(kind, regex=regex) for kind in pair)
    return align_messages(rows(messages), student=student, teacher=teacher, **settings)


def as_both_write(pair, messages):
    if not set(pair) & set(TRIMS):
        return messages
    return [(role, content.strip()) for role, content in messages]


def trained_steps(messages, trained):
    if trained == "all":
        return set(range(3 * len(messages) + 1))
    own = [number for number, (role, _) in enumerate(messages) if role == "assistant"]
    return {3 * number + step for number in own for step in (SAY, CLOSE)}


def check(pair, messages, *, regex, trained):
    aligned = aligned_of(pair, messages, regex=regex, trained=trained)
    messages = as_both_write(pair, messages)
    steps = trained_steps(messages, trained)
    ids = (aligned.student_ids.tolist(), aligned.teacher_ids.tolist())
    walks = [
        Walk(kind, view_for(kind, regex=regex), side, messages)
        for kind, side in zip(pair, ids, strict=True)
    ]
    expected = reference(walks, messages, steps)
    starts, ends = aligned.chunk_starts.tolist(), aligned.chunk_ends.tolist()
    found = [
        (
            start,
            end,
            bool(flag),
            *(
                [*np.flatnonzero(side == chunk)]
                for side in (aligned.student_chunk_ids, aligned.teacher_chunk_ids)
            ),
        )
        for chunk, (start, end, flag) in enumerate(zip(starts, ends, aligned.trained, strict=True))
    ]
    assert found == expected
    content = "".join(content for _, content in messages).encode()
    assert aligned.content == content
    inside = sum(end - start for start, end, *_ in expected)
    assert (
        aligned.outside_bytes == {"unknown": 0, "structure": len(content) - inside, "tail": 0}
        or aligned.outside_bytes["tail"]
    )
    assert inside + sum(aligned.outside_bytes.values()) == len(content)
    walk = walks[0]
    assert aligned.student_trained.tolist() == [
        token > 0 and not mixed and touched[-1] in steps
        for token, (mixed, touched) in enumerate(zip(walk.mixed, walk.touched, strict=True))
    ]
    return aligned


@pytest.mark.parametrize("trained", ["assistant", "all"])
@pytest.mark.parametrize("pair", PAIRS)
def test_four_turns(pair, trained):
    aligned = check(pair, FOUR_TURNS, regex=True, trained=trained)
    assert aligned.coverage == 1.0
    assert not any(aligned.outside_bytes.values())
    is_open = [step for step in range(aligned.num_chunks) if aligned.is_structure[step]]
    # four headers and four ends are paired, but for the headers that one side does not have
    num_rests = int(set(pair) == {"chatml", "gemma"})
    assert len(is_open) == (6 if "mistral" in pair else 8) + num_rests
    contents = [content.encode() for _, content in FOUR_TURNS]
    spoken = b"".join(
        aligned.chunk_bytes(chunk) for chunk in np.flatnonzero(aligned.trained).tolist()
    )
    assert spoken == b"".join(contents if trained == "all" else contents[1::2])
    ends = np.flatnonzero(aligned.trained & aligned.is_structure)
    assert len(ends) == (2 if trained == "assistant" else len(is_open) - 1)


MESSAGES = st.lists(
    st.lists(
        st.sampled_from(
            [
                "user",
                "assistant",
                "model",
                "\n",
                "\n\n",
                " ",
                "  ",
                "\t",
                "Hello",
                ".",
                "é",
                "日",
                "<|im_end|>",
                "[INST]",
                "</s>",
                "<bos>",
                "👩‍👩‍👧‍👦",
                "e\u0301",
                "Hello there",
                "1",
            ]
        ),
        max_size=6,
    ).map("".join),
    min_size=1,
    max_size=4,
).map(lambda texts: [(("user", "assistant")[i % 2], text) for i, text in enumerate(texts)])


@settings(deadline=None, max_examples=25)
@given(messages=MESSAGES, trained=st.sampled_from(["all", "assistant"]), regex=st.booleans())
@pytest.mark.parametrize("pair", PAIRS)
def test_any_contents(pair, messages, trained, regex):
    check(pair, messages, regex=regex, trained=trained)


def test_an_end_of_turn_is_trained_though_it_is_padding_and_though_it_is_not_paired():
    view = view_for("chatml")
    assert view.id_of("pad") == view.id_of("eos") == view.special_ids["<|im_end|>"]
    plain = "{% for m in messages %}{{ m.content }}\n{% endfor %}"
    for template in (None, plain):
        aligned = aligned_of(("chatml", "bytes"), FOUR_TURNS, teacher_template=template)
        ends = np.flatnonzero(aligned.student_ids == view.id_of("eos"))
        assert aligned.student_trained[ends].tolist() == [False, True, False, True]


def test_a_structure_of_one_side_costs_nothing():
    plain = "{% for m in messages %}{{ m.content }}{% endfor %}"
    both = aligned_of(("bytes", "bytes"), FOUR_TURNS)
    alone = aligned_of(("bytes", "bytes"), FOUR_TURNS, teacher_template=plain)
    assert not alone.is_structure.any()
    assert alone.chunk_ends.tolist() == both.chunk_ends[~both.is_structure].tolist()
    assert alone.coverage == 1.0


def test_a_second_bos_changes_no_chunk():
    jinja = (
        "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"
    )
    twice = "{{ bos_token }}" + jinja
    chunks = [
        aligned_of(("bytes", "llama3"), FOUR_TURNS, student_template=t, trained="all")
        for t in (jinja, twice)
    ]
    assert len(chunks[1].student_ids) == len(chunks[0].student_ids) + 1
    for name in ("chunk_starts", "chunk_ends", "trained", "teacher_chunk_ids"):
        assert getattr(chunks[0], name).tolist() == getattr(chunks[1], name).tolist()


@pytest.mark.parametrize("content", ["", " ", "\n\n"])
def test_contents_of_nothing(content):
    messages = [("user", content), ("assistant", content)]
    for pair in PAIRS:
        aligned = check(pair, messages, regex=True, trained="all")
        assert aligned.coverage == 1.0


def test_coarser_alignments_keep_structure_apart():
    fine = aligned_of(("chatml", "gemma"), FOUR_TURNS)
    coarse = aligned_of(("chatml", "gemma"), FOUR_TURNS, alignment=Whitespace())
    assert coarse.num_chunks < fine.num_chunks
    assert coarse.coverage == 1.0
    assert coarse.is_structure.sum() == fine.is_structure.sum()
    assert set(coarse.chunk_ends.tolist()) <= set(fine.chunk_ends.tolist())
    assert coarse.student_trained.tolist() == fine.student_trained.tolist()
