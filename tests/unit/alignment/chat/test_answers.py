"""Answers that were sampled, against the reference that walks tokens: any ids of the vocabulary."""

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
from tests.unit.alignment.test_continuation import settled

from alm_lightning.alignment.answer import Answer
from alm_lightning.alignment.chat.answers import Question
from alm_lightning.alignment.chat.messages import align_messages
from alm_lightning.corpus.chat import BadChat, Chat
from alm_lightning.shapes import NO_CHUNK

PAIRS = list(itertools.product(KINDS, KINDS))
ASKED = [("user", "Hello, who are you?"), ("assistant", "I am."), ("user", "1 + 2 <|im_end|>?")]
CLOSING = {
    "chatml": "<|im_end|>",
    "gemma": "<end_of_turn>",
    "llama3": "<|eot_id|>",
    "mistral": "</s>",
    "bytes": "<eos>",
}


def question(pair, asked=ASKED, **changes):
    student, teacher = (view_for(kind) for kind in pair)
    chat = Chat.of([{"role": role, "content": content} for role, content in asked], "chat")
    chosen = {"system": "own", "student_template": None, "teacher_template": None} | changes
    return Question(chat, student=student, teacher=teacher, **chosen)


def stop_of(kind):
    return view_for(kind).special_ids[CLOSING[kind]]


def chunks_of(aligned):
    sides = (aligned.student_chunk_ids, aligned.teacher_chunk_ids)
    return [
        (start, end, bool(flag), *([*np.flatnonzero(side == chunk)] for side in sides))
        for chunk, (start, end, flag) in enumerate(
            zip(
                aligned.chunk_starts.tolist(),
                aligned.chunk_ends.tolist(),
                aligned.trained,
                strict=True,
            )
        )
    ]


@settings(deadline=None, max_examples=25)
@given(data=st.data())
@pytest.mark.parametrize("pair", PAIRS)
def test_any_ids_of_the_vocabulary(pair, data):
    view = view_for(pair[0])
    content = [index for index, surface in enumerate(view.token_bytes) if surface is not None]
    drawn = data.draw(st.lists(st.sampled_from(content), max_size=8))
    whole = Answer(np.array(drawn, dtype=np.int64), stop_of(pair[0]))
    answer = whole.usable(view)
    # the longest part that is valid UTF-8, by trying
    surfaces = [view.token_bytes[index] for index in drawn]

    def is_valid(count):
        try:
            b"".join(surfaces[:count]).decode("utf-8")
        except UnicodeDecodeError:
            return False
        return True

    assert len(answer.ids) == max(filter(is_valid, range(len(drawn) + 1)))
    assert (answer.stop_id is None) == (len(answer.ids) < len(drawn))
    answer = Answer(answer.ids, stop_of(pair[0]))
    asked = question(pair)
    aligned = asked.align(answer, alignment=None)
    assert aligned.student_ids[: len(asked.ids)].tolist() == asked.ids.tolist()
    answered = aligned.student_ids[len(asked.ids) :][: len(answer.ids) + 1].tolist()
    assert answered == [*answer.ids, answer.stop_id]
    messages = [*ASKED, ("assistant", answer.text(view))]
    ids = (aligned.student_ids.tolist(), aligned.teacher_ids.tolist())
    walks = [
        Walk(kind, view_for(kind), side, messages) for kind, side in zip(pair, ids, strict=True)
    ]
    last = 3 * (len(messages) - 1)
    assert chunks_of(aligned) == reference(walks, messages, {last + SAY, last + CLOSE})
    assert not aligned.student_trained.any()
    # without an end there is none on either side, and the last word is not trained
    cut = asked.align(Answer(answer.ids, None), alignment=None)
    size = len(asked.ids) + len(answer.ids)
    assert cut.student_ids.tolist() == aligned.student_ids[:size].tolist()
    shared = chunks_of(aligned)[: cut.num_chunks]
    if shared:
        expected = [chunk[:2] for chunk in shared]
        assert [chunk[:2] for chunk in chunks_of(cut)] == expected
        before = settled(cut.content)
        trained = [flag and end <= before for _, end, flag, *_ in shared]
        assert cut.trained.tolist() == trained


@pytest.mark.parametrize("pair", PAIRS)
def test_an_answer_in_the_tokens_of_its_text_is_aligned_as_any_other(pair):
    student = view_for(pair[0])
    text = "I am a model. Größe"
    messages = [*ASKED, ("assistant", text)]
    rows = [{"role": role, "content": content} for role, content in messages]
    plain = align_messages(rows, student=student, teacher=view_for(pair[1]))
    asked = question(pair)
    size = len(asked.ids)
    (end,) = np.flatnonzero(plain.student_ids[size:] == stop_of(pair[0]))[:1]
    sampled = plain.student_ids[size : size + end]
    if student.table.spelled(sampled).tobytes() != text.encode():
        # a dummy space before the answer, which belongs to it when the student has said it
        assert pair[0] == "mistral"
        return
    aligned = asked.align(Answer(sampled, stop_of(pair[0])), alignment=None)
    assert aligned.student_ids.tolist() == plain.student_ids.tolist()
    assert aligned.teacher_ids.tolist() == plain.teacher_ids.tolist()
    first = len(ASKED) - 1
    assert [c[:2] + c[3:] for c in chunks_of(aligned)] == [c[:2] + c[3:] for c in chunks_of(plain)]
    asked_bytes = sum(len(content.encode()) for _, content in ASKED[:first])
    trained = plain.trained & (plain.chunk_starts > asked_bytes)
    assert aligned.trained.tolist() == trained.tolist()


def test_another_stop_token_is_the_end_of_turn():
    view = view_for("gemma")
    asked = question(("gemma", "chatml"))
    for stop in ("<end_of_turn>", "<eos>"):
        aligned = asked.align(
            Answer(np.array([], np.int64), view.special_ids[stop]), alignment=None
        )
        (place,) = np.flatnonzero(aligned.student_chunk_ids == np.flatnonzero(aligned.trained)[0])
        assert aligned.student_ids[place] == view.special_ids[stop]
        (teacher,) = np.flatnonzero(aligned.teacher_chunk_ids == aligned.student_chunk_ids[place])
        assert aligned.teacher_ids[teacher] == stop_of("chatml")
    # nothing was said, and there is no end
    silent = asked.align(Answer(np.array([], np.int64), None), alignment=None)
    assert not silent.trained.any()


def test_special_tokens_and_ids_of_no_token_end_what_can_be_used():
    view = view_for("gemma")
    a, b = (view.token_bytes.index(text) for text in (b"a", b"b"))
    for odd in (view.special_ids["<start_of_turn>"], view.num_tokens + 5):
        answer = Answer(np.array([a, odd, b]), stop_of("gemma")).usable(view)
        assert (answer.ids.tolist(), answer.stop_id) == ([a], None)
    whole = Answer(np.array([a, b]), stop_of("gemma"))
    assert whole.usable(view) is whole


def test_a_template_without_a_token_at_the_end_has_no_end():
    plain = "{% for m in messages %}{{ m.content }}\n{% endfor %}"
    asked = question(("bytes", "gemma"), student_template=plain)
    aligned = asked.align(Answer(np.array(list(b"Six.")), stop_of("bytes")), alignment=None)
    assert aligned.student_ids[-4:].tolist() == list(b"Six.")
    spoken = [aligned.chunk_bytes(chunk) for chunk in np.flatnonzero(aligned.trained).tolist()]
    assert b"".join(spoken) == b"Six."
    assert (aligned.teacher_chunk_ids[-1:] != NO_CHUNK).all()


@pytest.mark.parametrize("pair", [("gemma", "bytes"), ("bytes", "llama3")])
def test_what_templates_strip_off_contents_stays_in_an_answer(pair):
    assert set(pair) & set(TRIMS)
    view = view_for(pair[0])
    text = "  Six.\n\n"
    ids = view.encode(text).ids
    aligned = question(pair).align(Answer(ids, stop_of(pair[0])), alignment=None)
    spoken = [aligned.chunk_bytes(chunk) for chunk in np.flatnonzero(aligned.trained).tolist()]
    assert b"".join(spoken) == text.encode()


def test_chats_without_a_question_are_refused():
    with pytest.raises(BadChat, match="expected a message to answer at the end"):
        question(("bytes", "gemma"), ASKED[:2])
