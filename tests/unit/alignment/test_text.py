import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alm_lightning import align_text
from alm_lightning.alignment.boundaries import Whitespace
from alm_lightning.corpus.document import BadDocument

PAIRS = [("bytes", "metaspace"), ("byte_level", "metaspace"), ("metaspace", "byte_level")]
INPUTS = [
    " hello world",
    "\n  starts with newline and spaces",
    " ",
    "  ",
    "\t ",
    "a b\nc d e",
    "user name is here",
    "<bos>hello<eos> and <s>x</s>",
    "one<|endoftext|>two",
    "cafe\u0301 \u1112\u1161\u11ab",
    "👩‍👩‍👧‍👦🏽🇩🇪𠀀",
    "",
]


def brute_force(text, student, teacher):
    """Common prefixes by comparing what every prefix of tokens spells."""

    def prefixes(view):
        spelled, found = b"", {b"": 0}
        for count, index in enumerate(view.encode(text).ids.tolist(), start=1):
            spelled += view.token_bytes[index]
            found[spelled] = count
        return found

    student_prefixes, teacher_prefixes = prefixes(student), prefixes(teacher)
    common = sorted(student_prefixes.keys() & teacher_prefixes.keys(), key=len)
    points = [(student_prefixes[p], teacher_prefixes[p]) for p in common]
    return [(s0, s1, t0, t1) for (s0, t0), (s1, t1) in itertools.pairwise(points)]


@pytest.mark.parametrize(("student", "teacher"), PAIRS)
@pytest.mark.parametrize("text", INPUTS)
def test_chunks_are_all_common_prefixes(views, student, teacher, text):
    aligned = align_text(text, student=views[student], teacher=views[teacher])
    assert aligned.chunks == brute_force(text, views[student], views[teacher])
    assert aligned.coverage == 1.0
    assert b"".join(map(aligned.chunk_bytes, range(len(aligned.chunks)))) == text.encode()


@settings(deadline=None, max_examples=60)
@given(text=st.text(max_size=60))
@pytest.mark.parametrize(("student", "teacher"), PAIRS)
def test_any_text(views, student, teacher, text):
    student_view, teacher_view = views[student], views[teacher]
    aligned = align_text(text, student=student_view, teacher=teacher_view)
    assert aligned.coverage == 1.0
    if not aligned.rewritten_bytes:
        assert aligned.chunks == brute_force(text, student_view, teacher_view)
    spelled = b"".join(map(aligned.chunk_bytes, range(len(aligned.chunks))))
    assert spelled == text.encode()
    coarse = align_text(text, student=student_view, teacher=teacher_view, alignment=Whitespace())
    assert set(coarse.chunk_ends.tolist()) <= set(aligned.chunk_ends.tolist())
    assert coarse.coverage == 1.0


def test_a_rewritten_character_is_one_step_and_nothing_else_is_lost(views):
    text = "one two a\u2581b \u2581\u2581c three four"
    aligned = align_text(text, student=views["bytes"], teacher=views["metaspace"])
    assert aligned.coverage == 1.0
    assert aligned.rewritten_bytes == 9
    clean = align_text("one two ", student=views["bytes"], teacher=views["metaspace"])
    ends = set(aligned.chunk_ends.tolist())
    assert set(clean.chunk_ends.tolist()[:-1]) <= ends
    for index, (start, end, _, _) in enumerate(aligned.chunks):
        assert aligned.chunk_bytes(index) == bytes(aligned.student_ids[start:end].tolist())


def test_whitespace_chunks_end_before_whitespace(views):
    text = "Größe and 12 foxes\n\tjump"
    aligned = align_text(
        text, student=views["bytes"], teacher=views["metaspace"], alignment=Whitespace()
    )
    chunks = [aligned.chunk_bytes(i).decode() for i in range(len(aligned.chunks))]
    assert all(chunk[0].isspace() for chunk in chunks[1:])
    assert "".join(chunks) == text


def test_chunk_bytes_counts_from_the_end_too(views):
    aligned = align_text("ab c", student=views["bytes"], teacher=views["bytes"])
    assert aligned.chunk_bytes(-1) == b"c"
    with pytest.raises(IndexError):
        aligned.chunk_bytes(4)


def test_ids_have_no_structure(views):
    aligned = align_text("<bos>a", student=views["bytes"], teacher=views["metaspace"])
    assert np.array_equal(aligned.student_ids, np.frombuffer(b"<bos>a", np.uint8))
    assert not set(aligned.teacher_ids.tolist()) & set(views["metaspace"].special_ids.values())


def test_a_lone_surrogate_is_refused_by_the_name_of_the_text(views):
    with pytest.raises(BadDocument, match=r"notes.txt: lone surrogate U\+DCFF at character 1"):
        align_text("a\udcff", student=views["bytes"], teacher=views["metaspace"], name="notes.txt")
