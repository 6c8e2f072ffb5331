"""Chunks on an axis with structure, from sides made by hand."""

import numpy as np
from tests.unit.alignment.chat.chat_sides import view_for

from alm_lightning.alignment.axis import AxisSide, ChatLayout, SideStructure, align_axis
from alm_lightning.tokenization.rewrite import INSIDE_REWRITE
from alm_lightning.tokenization.view import Encoding


def side(ends, *, loose=(), mixed=(), unknown=()):
    loose, mixed, unknown = (np.isin(np.arange(len(ends)), p) for p in (loose, mixed, unknown))
    ids = np.arange(len(ends), dtype=np.int32)
    tokens = Encoding(ids, np.array(ends), unknown=unknown)
    return AxisSide(view_for("bytes"), tokens, SideStructure(loose, mixed))


def aligned_of(student, teacher, content=b"ab", structure=(), seams=(), alignment=None):
    chat = ChatLayout(
        pairs=np.array(structure, dtype=np.int64),
        seams=np.array(seams, dtype=np.int64),
        trained=np.ones(len(content) + len(structure), dtype=bool),
        student_trained=np.ones(len(student.tokens.ids), dtype=bool),
    )
    return align_axis(content, student, teacher, alignment=alignment, chat=chat)


def test_a_structural_pair_is_one_step_between_contents():
    aligned = aligned_of(side([1, INSIDE_REWRITE, 2, 3]), side([1, 2, 3]), structure=[1])
    assert aligned.chunks == [(0, 1, 0, 1), (1, 3, 1, 2), (3, 4, 2, 3)]
    assert aligned.is_structure.tolist() == [False, True, False]
    assert [aligned.chunk_bytes(chunk) for chunk in range(3)] == [b"a", b"", b"b"]


def test_structure_of_one_side_is_in_no_chunk():
    aligned = aligned_of(side([1, INSIDE_REWRITE, 2], loose=[1]), side([1, 2]))
    assert aligned.student_chunk_ids.tolist() == [0, -1, 1]
    assert aligned.teacher_chunk_ids.tolist() == [0, 1]


def test_structure_of_one_side_in_the_middle_of_a_chunk_tears_it():
    aligned = aligned_of(side([1, INSIDE_REWRITE, 2], loose=[1]), side([2]))
    assert aligned.num_chunks == 0
    assert aligned.outside_bytes == {"unknown": 0, "structure": 2, "tail": 0}


def test_what_mixes_content_and_structure_is_dropped_and_counted():
    # the teacher has no end between the first content and the structure
    aligned = aligned_of(side([1, 2, 3]), side([2, 3]), structure=[1])
    assert aligned.chunks == [(2, 3, 1, 2)]
    assert aligned.outside_bytes == {"unknown": 0, "structure": 1, "tail": 0}
    aligned = aligned_of(side([1, 2, 3]), side([1, 2, 3], mixed=[0]), structure=[1])
    assert aligned.chunks == [(1, 2, 1, 2), (2, 3, 2, 3)]
    assert aligned.outside_bytes == {"unknown": 0, "structure": 1, "tail": 0}


def test_unknown_tokens_and_tails_are_counted_apart():
    aligned = aligned_of(side([1, 2], unknown=[0]), side([1, 2]), content=b"abc")
    assert aligned.chunks == [(1, 2, 1, 2)]
    assert aligned.outside_bytes == {"unknown": 1, "structure": 0, "tail": 1}


class Nothing:
    """An alignment that selects no boundary at all."""

    def fitted(self, *, student, teacher, documents):
        return self

    def select(self, ends):
        return np.zeros(len(ends.positions), dtype=bool)


def test_seams_bound_chunks_whatever_is_selected():
    sides = side([1, 2, 3, 4, 5]), side([1, 2, 3, 4, 5])
    chosen = {"content": b"abcde", "alignment": Nothing()}
    assert aligned_of(*sides, **chosen).chunks == [(0, 5, 0, 5)]
    assert aligned_of(*sides, **chosen, seams=[0, 2, 3]).chunks == [
        (0, 2, 0, 2),
        (2, 3, 2, 3),
        (3, 5, 3, 5),
    ]
