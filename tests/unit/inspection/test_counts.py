from alm_lightning.alignment.text import align_text
from alm_lightning.inspection.counts import counts


def test_counts_of_a_chat(chat, chat_views):
    student, teacher = chat_views
    found = counts(chat, student=student, teacher=teacher)
    assert (found.bytes, found.characters) == (8, 7)
    assert (found.chunks, found.structure_chunks, found.trained_chunks) == (6, 2, 3)
    # content chunks: "hi", "?", "o", "k"
    assert (found.mean_bytes, found.max_bytes) == (5 / 4, 2)
    assert found.one_to_one == 3 / 4
    assert found.coverage == 5 / 8
    assert found.histogram == (("1", 3), ("2", 1))
    assert (found.student.tokens, found.student.tokens_outside) == (9, 2)
    assert (found.teacher.tokens, found.teacher.tokens_outside) == (10, 3)
    assert (found.student.mean_length, found.student.max_length) == (5 / 4, 2)
    facts = dict(found.facts())
    assert facts["bytes in no chunk"] == "3 (1 unknown, 2 tail)"
    assert facts["coverage"] == "62.5 %"


def test_nothing_has_no_mean(bytes_view):
    empty = align_text("", student=bytes_view, teacher=bytes_view)
    found = counts(empty, student=bytes_view, teacher=bytes_view)
    assert (found.chunks, found.mean_bytes, found.max_bytes) == (0, None, 0)
    assert (found.one_to_one, found.histogram) == (None, ())
    assert dict(found.facts())["one token to one token"] == "–"


def test_long_chunks_share_the_last_bar(byte_level_view, bytes_view):
    text = "a" * 15
    aligned = align_text(text, student=bytes_view, teacher=bytes_view)
    for length, label in ((14, "14"), (15, "15"), (16, "16+"), (400, "16+")):
        object.__setattr__(aligned, "chunk_ends", aligned.chunk_starts + length)
        found = counts(aligned, student=bytes_view, teacher=byte_level_view).histogram
        assert found[-1] == (label, 15)
        assert sum(number for _, number in found) == 15
