"""A chat on its way to a batch: windows bring its own start, and train its ends of turns."""

import numpy as np
import pytest
from tests.unit.alignment.chat.chat_sides import view_for

from alm_lightning.alignment.chat.messages import align_messages
from alm_lightning.data.collator import Collator
from alm_lightning.data.windows import DATA_REASONS, windows
from alm_lightning.shapes import NO_CHUNK

CHAT = [
    {"role": "user", "content": "What is 2+2? Say why, please."},
    {"role": "assistant", "content": "It is 4, since 2 and 2 are four."},
    {"role": "user", "content": "And 3+3?"},
    {"role": "assistant", "content": "Six."},
]
ANSWERS = "It is 4, since 2 and 2 are four.Six."
CONTENT = "".join(message["content"] for message in CHAT)
PAIRS = [("chatml", "gemma"), ("bytes", "chatml"), ("mistral", "llama3"), ("gemma", "bytes")]
STOPS = {"chatml": "<|im_end|>", "bytes": "<eos>", "mistral": "</s>", "gemma": "<end_of_turn>"}


def aligned_of(pair, **settings):
    student, teacher = map(view_for, pair)
    return align_messages(CHAT, student=student, teacher=teacher, **settings)


def spelled(view, ids):
    """Content and marks of some tokens."""
    names = {index: name.encode() for name, index in view.special_ids.items()}
    return b"".join(names.get(i, view.token_bytes[i]) for i in ids.tolist())


@pytest.mark.parametrize("pair", PAIRS)
def test_a_chat_in_one_window(pair):
    aligned = aligned_of(pair)
    (window,) = windows(aligned, student_length=999, teacher_length=999, name="c")
    # its own start and its own end
    assert (window.opens, window.ends_document) == (False, False)
    assert window.student.ids.tolist() == aligned.student_ids.tolist()
    assert window.num_bytes == len(ANSWERS)
    outside = dict(zip(DATA_REASONS, window.outside_bytes.tolist(), strict=True))
    expected = dict.fromkeys(DATA_REASONS, 0) | {"untrained": len(CONTENT) - len(ANSWERS)}
    assert outside == expected
    # what the next-token loss predicts: answers, each with its end of turn
    stop = STOPS[pair[0]]
    student = view_for(pair[0])
    assert spelled(student, window.student.ids[window.student_targets]) == (
        ANSWERS.replace(".Six.", f".{stop}Six.{stop}").encode()
        if pair[0] != "mistral"
        else f" {ANSWERS}".replace(".Six.", f".{stop} Six.{stop}").encode()
    )
    # no chunk but theirs has ids
    for side, view in zip(("student", "teacher"), map(view_for, pair), strict=True):
        ids, chunks = getattr(window, side).ids, getattr(window, side).chunk_ids
        # NO_CHUNK is -1, the last place
        content = np.append(~window.chunk_is_structure, False)[chunks]
        assert spelled(view, ids[content]).replace(b" Six", b"Six").strip() == ANSWERS.encode()
        assert sorted(set(chunks.tolist()) - {NO_CHUNK}) == list(range(window.num_chunks))
    assert window.chunk_is_structure.sum() == 2
    # a question comes between the two answers, and nothing after the last
    assert (
        np.flatnonzero(window.chunk_ends_run).tolist()
        == np.flatnonzero(window.chunk_is_structure).tolist()
    )


@pytest.mark.parametrize("trained", ["all", "assistant"])
@pytest.mark.parametrize("length", [60, 24, 12])
@pytest.mark.parametrize("pair", PAIRS)
def test_every_byte_of_a_chat_in_windows_is_accounted_for(pair, length, trained):
    aligned = aligned_of(pair, trained=trained)
    found = list(windows(aligned, student_length=length, teacher_length=length, name="c"))
    assert len(found) > (length < 60)
    assert sum(w.num_bytes + int(w.outside_bytes.sum()) for w in found) == len(CONTENT)
    assert all(max(len(w.student.ids), len(w.teacher.ids)) <= length for w in found)
    # only a window that begins where the chat does has its start
    for window in found:
        own = aligned.student_ids[: len(window.student.ids)].tolist()
        assert window.opens or window.student.ids.tolist() == own
        assert not window.ends_document
    assert all(window.opens for window in found[1:])
    assert sum(window.num_chunks for window in found) <= aligned.trained.sum()


def test_a_collated_chat_is_as_it_was_written():
    pair = ("chatml", "gemma")
    student, teacher = map(view_for, pair)
    collator = Collator(student=student, teacher=teacher, micro_batch_size=4)
    chats = [
        window
        for rows in (CHAT, CHAT[:2])
        for window in windows(
            align_messages(rows, student=student, teacher=teacher),
            student_length=999,
            teacher_length=999,
            name="c",
        )
    ]
    batch = collator.batch(chats)
    for row, window in enumerate(chats):
        length = len(window.student.ids)
        assert int(batch.student.mask[row].sum()) == length
        assert batch.student.ids[row, :length].tolist() == window.student.ids.tolist()
        assert batch.student.chunk_ids[row, :length].tolist() == window.student.chunk_ids.tolist()
        assert batch.student_targets[row, :length].tolist() == window.student_targets.tolist()
        # the end of turn is padding as well here, and a target all the same
        assert student.id_of("pad") == student.special_ids["<|im_end|>"]
        is_stop = batch.student.ids[row] == student.id_of("pad")
        assert int((is_stop & batch.student_targets[row]).sum()) == (2, 1)[row]
        assert not batch.student_targets[row, length:].any()
    assert batch.chunk_mask.sum(dim=1).tolist() == [window.num_chunks for window in chats]
