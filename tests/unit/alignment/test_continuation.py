"""Texts that a student has continued, against a reference that walks bytes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alm_lightning.alignment.answer import Answer
from alm_lightning.alignment.continuation import (
    MOST_UNSETTLED,
    Opening,
    align_continuation,
)
from alm_lightning.alignment.text import align_text
from alm_lightning.shapes import NO_CHUNK

PAIRS = [("byte_level", "metaspace"), ("bytes", "byte_level"), ("metaspace", "bytes")]
PROMPT = "Größe: the quick "


def settled(content):
    """Bytes of whole words, or those that lie far from the end."""
    white, last = b" \t\n\r", len(content)
    while last and content[last - 1] not in white:
        last -= 1
    while last and content[last - 1] in white:
        last -= 1
    return max(last, len(content) - MOST_UNSETTLED)


@settings(deadline=None, max_examples=60)
@given(data=st.data())
@pytest.mark.parametrize("pair", PAIRS)
def test_any_ids_of_the_vocabulary(views, pair, data):
    student, teacher = (views[name] for name in pair)
    content = [index for index, surface in enumerate(student.token_bytes) if surface]
    drawn = data.draw(st.lists(st.sampled_from(content), max_size=8))
    stop = data.draw(st.sampled_from([None, student.id_of("eos")]))
    answer = Answer(np.array(drawn, dtype=np.int64), stop).usable(student)
    opening = Opening(PROMPT, student=student, teacher=teacher, name="text")
    aligned = opening.align(answer, alignment=None)
    given_ids = student.encode(PROMPT).ids.tolist()
    assert opening.ids.tolist() == [student.start_id, *given_ids]
    assert aligned.student_ids.tolist() == [*given_ids, *answer.ids.tolist()]
    text = PROMPT + b"".join(student.token_bytes[i] for i in answer.ids).decode()
    assert aligned.content == text.encode()
    theirs = teacher.encode(text)
    assert aligned.teacher_ids.tolist() == theirs.ids.tolist()
    # ends of tokens on both sides, byte by byte
    start = len(PROMPT.encode())
    sizes = [len(student.token_bytes[index]) for index in answer.ids]
    ends = {
        *student.encode(PROMPT).ends.tolist(),
        *(start + sum(sizes[: n + 1]) for n in range(len(sizes))),
    }
    common = sorted(ends & {*theirs.ends.tolist()} - {NO_CHUNK, 0})
    assert aligned.chunk_ends.tolist() == common
    begins = [0, *common[:-1]]
    trained = [begin >= start for begin in begins]
    if answer.stop_id is None:
        before = settled(text.encode())
        trained = [t and end <= before for t, end in zip(trained, common, strict=True)]
    assert aligned.trained.tolist() == trained
    assert not aligned.student_trained.any()
    assert opening.ends_with(answer) == (answer.stop_id is not None)


@pytest.mark.parametrize("pair", PAIRS[:2])
def test_the_text_in_its_own_tokens_is_aligned_as_any_other(views, pair):
    student, teacher = (views[name] for name in pair)
    prompt, rest = "The quick brown fox", " jumps over the lazy dog."
    ids = student.encode(prompt + rest).ids
    size = len(student.encode(prompt).ids)
    assert student.encode(prompt).ids.tolist() == ids[:size].tolist()
    answer = Answer(ids[size:], student.id_of("eos"))
    found = align_continuation(prompt, answer, student=student, teacher=teacher)
    plain = align_text(prompt + rest, student=student, teacher=teacher)
    assert found.chunks == plain.chunks
    spoken = [found.chunk_bytes(chunk) for chunk in np.flatnonzero(found.trained).tolist()]
    # a teacher's token that begins in the prompt takes the chunk that it is in along
    assert b"".join(spoken) in (rest.encode(), rest.encode().lstrip())


def test_half_a_word_is_not_learned_from(views):
    """The teacher cuts it as no whole word is; ends before it are those of a longer text."""
    student, teacher = views["bytes"], views["byte_level"]
    text = "The quick brown fox jumps over the lazy dog; the foxes jumped quickly."
    whole = {*teacher.encode("Say: " + text).ends.tolist()}
    cut, wrong = 0, 0
    for length in range(8, len(text)):
        answer = Answer(np.frombuffer(text[:length].encode(), np.uint8).astype(np.int64), None)
        aligned = Opening("Say: ", student=student, teacher=teacher, name="text").align(
            answer, alignment=None
        )
        ends = aligned.chunk_ends[aligned.trained].tolist()
        wrong += len({*ends} - whole)
        # what would have been learned from without its last chunk alone
        cut += len({*aligned.chunk_ends[:-1].tolist()} - whole)
        assert len(ends) > 0 or length < 12
    assert cut > 5
    assert wrong == 0
