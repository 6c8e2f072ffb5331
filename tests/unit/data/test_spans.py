"""Windows against a loop over chunks: documents of arbitrary chunks, gaps and structure."""

import logging
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alm_lightning.alignment.aligned import REASONS, AlignedText
from alm_lightning.data import windows as windows_file
from alm_lightning.data.windows import DATA_REASONS, windows
from alm_lightning.shapes import NO_CHUNK


@dataclass(frozen=True)
class Part:
    """A chunk, or tokens between chunks: how many on each side, and how many bytes."""

    student: int
    teacher: int
    num_bytes: int
    is_chunk: bool = True
    trained: bool = True


def chunk(student, teacher, num_bytes, trained=True):
    return Part(student, teacher, num_bytes, True, trained)


def gap(student, teacher, num_bytes, trained=True):
    return Part(student, teacher, num_bytes, False, trained)


def aligned_text(parts, *, is_chat=False, reason="unknown", rewritten_bytes=0):
    """A document of such parts; ids count up, so that a token tells its place."""
    sides = {"student": [], "teacher": []}
    starts, ends, trained, student_trained = [], [], [], []
    byte = outside = 0
    for part in parts:
        for side, ids in sides.items():
            ids += [len(starts) if part.is_chunk else NO_CHUNK] * getattr(part, side)
        student_trained += [part.trained] * part.student
        if part.is_chunk:
            starts.append(byte)
            ends.append(byte + part.num_bytes)
            trained.append(part.trained)
        else:
            outside += part.num_bytes
        byte += part.num_bytes
    chunk_ids = {f"{s}_chunk_ids": np.array(ids, np.int32) for s, ids in sides.items()}
    return AlignedText(
        content=bytes(index % 256 for index in range(byte)),
        student_ids=np.arange(len(sides["student"]), dtype=np.int32),
        teacher_ids=np.arange(len(sides["teacher"]), dtype=np.int32),
        **chunk_ids,
        student_trained=np.array(student_trained, bool),
        chunk_starts=np.array(starts, np.int32),
        chunk_ends=np.array(ends, np.int32),
        trained=np.array(trained, bool),
        rewritten_bytes=rewritten_bytes,
        outside_bytes=dict.fromkeys(REASONS, 0) | {reason: outside},
        is_chat=is_chat,
    )


def loop(parts, student_length, teacher_length):
    """The chunks of each window and the tokens before them, one part at a time."""
    found, too_long = [], []
    members, used, before = [], [0, 0], [0, 0]
    index = -1
    for part in parts:
        if not part.is_chunk:
            before = [before[0] + part.student, before[1] + part.teacher]
            continue
        index += 1
        own = (part.student, part.teacher)
        limits = (student_length, teacher_length)
        if all(u + b + o <= m for u, b, o, m in zip(used, before, own, limits, strict=True)):
            members.append(index)
            used = [u + b + o for u, b, o in zip(used, before, own, strict=True)]
            before = [0, 0]
            continue
        if members:
            found.append(members)
        members, used = [], [0, 0]
        if all(b + o <= m for b, o, m in zip(before, own, limits, strict=True)):
            members, used = [index], [b + o for b, o in zip(before, own, strict=True)]
        elif all(o <= m for o, m in zip(own, limits, strict=True)):
            members, used = [index], list(own)
        else:
            too_long.append(index)
        before = [0, 0]
    if members:
        found.append(members)
    return found, too_long


CHUNKS = st.builds(
    chunk,
    st.integers(1, 6),
    st.integers(1, 6),
    st.integers(0, 9),
    st.sampled_from([True] * 3 + [False]),
)
GAPS = st.builds(gap, st.integers(0, 5), st.integers(0, 5), st.integers(0, 9))
PARTS = st.lists(st.one_of(CHUNKS, CHUNKS, CHUNKS, GAPS), max_size=25)


@settings(max_examples=300, deadline=None)
@given(
    parts=PARTS,
    student_length=st.integers(1, 12),
    teacher_length=st.integers(1, 12),
    is_chat=st.booleans(),
    reason=st.sampled_from(REASONS),
    rewritten_bytes=st.integers(0, 30),
)
def test_windows_of_arbitrary_documents(
    parts, student_length, teacher_length, is_chat, reason, rewritten_bytes
):
    aligned = aligned_text(parts, is_chat=is_chat, reason=reason, rewritten_bytes=rewritten_bytes)
    limits = {"student_length": student_length, "teacher_length": teacher_length}
    found = list(windows(aligned, **limits, name="doc"))
    expected, too_long = loop(parts, student_length, teacher_length)
    trained = aligned.trained.copy()
    # a chat's first window has no token before its first: what holds that has no likelihood
    leading = parts[: [part.is_chunk for part in parts].index(True) + 1] if expected else []
    begins = (
        sum(part.student for part in leading) <= student_length
        and sum(part.teacher for part in leading) <= teacher_length
    )
    if is_chat and expected and begins:
        trained[(aligned.student_starts == 0) | (aligned.teacher_starts == 0)] = False
    kept = [[c for c in members if trained[c]] for members in expected]
    kept = [members for members in kept if members]
    assert [w.num_chunks for w in found] == [len(members) for members in kept]
    for window, members in zip(found, kept, strict=True):
        assert len(window.student.ids) <= student_length
        assert len(window.teacher.ids) <= teacher_length
        assert window.chunk_is_structure.tolist() == [
            aligned.chunk_starts[c] == aligned.chunk_ends[c] for c in members
        ]
        for side in ("student", "teacher"):
            # ids count up from the start of the document
            places = getattr(window, side).ids
            assert (np.diff(places) == 1).all()
            chunk_ids = getattr(aligned, f"{side}_chunk_ids")[places]
            local = [members.index(c) if c in members else NO_CHUNK for c in chunk_ids]
            assert getattr(window, side).chunk_ids.tolist() == local
        assert (window.student_targets == aligned.student_trained[window.student.ids]).all()
        next_ones = [*members[1:], None]
        for c, following, ends_run in zip(members, next_ones, window.chunk_ends_run, strict=True):
            touches = following is not None and (
                aligned.student_ends[c] == aligned.student_starts[following]
                and aligned.teacher_ends[c] == aligned.teacher_starts[following]
            )
            assert ends_run != touches
    if found:
        # every byte is counted once, with its reason
        outside = sum(window.outside_bytes for window in found)
        counts = dict(zip(DATA_REASONS, outside.tolist(), strict=True))
        lengths = aligned.chunk_ends - aligned.chunk_starts
        assert counts["too_long"] == lengths[too_long].sum()
        left = [c for c in range(aligned.num_chunks) if not trained[c] and c not in too_long]
        assert counts["untrained"] == lengths[left].sum()
        assert counts[reason] == aligned.outside_bytes[reason]
        assert sum(w.num_bytes for w in found) + outside.sum() == len(aligned.content)
        assert sum(w.rewritten_bytes for w in found) == (rewritten_bytes if aligned.content else 0)
        assert all(not window.ends_document for window in found[:-1])
        last = found[-1]
        at_end = (
            last.student.ids[-1] == len(aligned.student_ids) - 1
            and last.teacher.ids[-1] == len(aligned.teacher_ids) - 1
        )
        assert last.ends_document == (at_end and not is_chat)


def test_tokens_after_the_last_chunk_stay_where_they_fit():
    parts = [chunk(3, 2, 5), gap(2, 1, 4)]
    (window,) = windows(aligned_text(parts), student_length=5, teacher_length=3, name="doc")
    assert len(window.student.ids) == 5
    assert window.ends_document
    for lengths in ((4, 3), (5, 2)):
        (window,) = windows(
            aligned_text(parts), student_length=lengths[0], teacher_length=lengths[1], name="doc"
        )
        # cut on both sides, or on none
        assert (len(window.student.ids), len(window.teacher.ids)) == (3, 2)
        assert not window.ends_document


def test_a_chat_cut_in_its_first_turn():
    """Nothing is trained before the first answer; a window without any trained chunk is none."""
    turn = [chunk(2, 1, 0, False), *[chunk(1, 1, 3, False)] * 6, chunk(1, 2, 0, False)]
    answer = [chunk(2, 3, 0, False), *[chunk(1, 1, 4)] * 2, chunk(1, 1, 0)]
    aligned = aligned_text([*turn, *answer], is_chat=True)
    for length in range(1, 20):
        found = list(windows(aligned, student_length=length, teacher_length=length, name="chat"))
        assert sum(w.num_bytes for w in found) == 8
        assert all(w.opens == (w.student.ids[0] > 0) for w in found)
        assert not any(w.ends_document for w in found)
        assert sum(w.outside_bytes.sum() for w in found) == 18
    only = aligned_text(turn, is_chat=True)
    assert list(windows(only, student_length=9, teacher_length=9, name="chat")) == []


def test_the_first_token_of_a_chat_is_not_trained():
    parts = [chunk(2, 1, 0), chunk(1, 1, 3), chunk(1, 1, 3)]
    (window,) = windows(
        aligned_text(parts, is_chat=True), student_length=9, teacher_length=9, name="chat"
    )
    assert window.student.chunk_ids.tolist() == [NO_CHUNK, NO_CHUNK, 0, 1]
    assert not window.opens
    (window,) = windows(aligned_text(parts), student_length=9, teacher_length=9, name="text")
    assert window.student.chunk_ids.tolist() == [0, 0, 1, 2]
    assert window.opens


def test_a_chunk_that_is_too_long_is_told_once(caplog, monkeypatch):
    monkeypatch.setattr(windows_file, "_TOLD", set())
    aligned = aligned_text([chunk(1, 1, 1), chunk(9, 1, 7), chunk(1, 1, 2)])
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            first, second = windows(aligned, student_length=4, teacher_length=4, name="book.txt:7")
    assert (first.num_bytes, second.num_bytes) == (1, 2)
    (record,) = caplog.records
    assert "book.txt:7: chunk 1 " in record.getMessage()
    assert "takes 9 student and 1 teacher tokens" in record.getMessage()
    assert "Raise budget.student_length" in record.getMessage()


def test_documents_that_leave_nothing_are_told_once(caplog, monkeypatch):
    monkeypatch.setattr(windows_file, "_TOLD", set())
    with caplog.at_level(logging.WARNING):
        for name in ("chats.jsonl:3", "chats.jsonl:4"):
            aligned = aligned_text([gap(3, 3, 9)])
            assert list(windows(aligned, student_length=4, teacher_length=4, name=name)) == []
    (record,) = caplog.records
    assert record.getMessage().startswith("chats.jsonl:3: nothing in it is trained on")


@pytest.mark.parametrize("parts", [[], [gap(3, 3, 9)], [chunk(9, 9, 9)]])
def test_a_document_of_which_nothing_is_left(parts):
    assert list(windows(aligned_text(parts), student_length=4, teacher_length=4, name="d")) == []
