import numpy as np
import pytest
from tests.conftest import SENTENCES

from alm_lightning.alignment.text import align_text
from alm_lightning.inspection.groups import groups


def texts(tokens):
    return [token.text for token in tokens]


def test_every_token_of_a_chat_is_in_one_group_with_its_reason(chat, chat_views):
    student, teacher = chat_views
    found = list(groups(chat, student=student, teacher=teacher, most=99))
    assert [(texts(g.student), texts(g.teacher), g.reasons) for g in found] == [
        ([], ["<bos>"], ("lone",)),
        (["<|im_start|>"], ["<turn>"], ()),
        (["h", "i"], ["h", "i"], ()),
        (["?"], ["?"], ()),
        (["[UNK]"], ["x"], ("unknown",)),
        (["o"], ["o"], ()),
        (["k"], ["k"], ()),
        (["<|im_end|>"], ["<end>"], ()),
        (["\\xc3"], ["\\xa9"], ("tail",)),
    ]
    assert [g.number for g in found] == [0, 0, 1, 2, 3, 3, 4, 5, 6]
    assert [(g.start, g.end) for g in found] == [
        *((0, 0), (0, 0), (0, 2), (2, 3), (3, 4), (4, 5), (5, 6), (6, 6), (6, 8)),
    ]
    assert [g.is_structure for g in found] == [True, True, *[False] * 5, True, False]
    assert [g.is_trained for g in found] == [False] * 5 + [True] * 3 + [False]
    assert found[0].teacher[0].is_special
    assert not found[2].teacher[0].is_special


@pytest.mark.parametrize("student_name", ["byte_level", "metaspace", "bytes"])
@pytest.mark.parametrize("teacher_name", ["byte_level", "metaspace", "bytes"])
def test_groups_hold_all_tokens_and_all_bytes_in_order(views, student_name, teacher_name):
    student, teacher = views[student_name], views[teacher_name]
    aligned = align_text("\n".join(SENTENCES), student=student, teacher=teacher)
    found = list(groups(aligned, student=student, teacher=teacher, most=10_000))
    assert [t.id for g in found for t in g.student] == aligned.student_ids.tolist()
    assert [t.id for g in found for t in g.teacher] == aligned.teacher_ids.tolist()
    assert b"".join(g.content for g in found) == aligned.content
    assert [g.end for g in found[:-1]] == [g.start for g in found[1:]]
    assert not any(g.respelled for g in found)


def test_only_the_first_chunks_are_walked(bytes_view):
    aligned = align_text("abcdef", student=bytes_view, teacher=bytes_view)
    found = list(groups(aligned, student=bytes_view, teacher=bytes_view, most=2))
    assert [g.content for g in found] == [b"a", b"b"]


def test_bytes_without_a_token_are_a_group(bytes_view):
    aligned = align_text("ab", student=bytes_view, teacher=bytes_view)
    object.__setattr__(aligned, "content", b"ab ")
    aligned.outside_bytes["tail"] = 1
    *_, last = groups(aligned, student=bytes_view, teacher=bytes_view, most=9)
    assert (last.content, last.student, last.reasons) == (b" ", (), ("tail",))


def test_other_bytes_than_the_text_has_are_told(bytes_view):
    aligned = align_text("ab", student=bytes_view, teacher=bytes_view)
    object.__setattr__(aligned, "teacher_ids", np.array([97, 99], dtype=np.int32))
    found = list(groups(aligned, student=bytes_view, teacher=bytes_view, most=9))
    assert [g.respelled for g in found] == [(), ("teacher",)]
