from alm_lightning.alignment.text import align_text
from alm_lightning.inspection.groups import groups
from alm_lightning.show.chunks import in_lines


def test_lines_are_those_of_the_text(bytes_view):
    aligned = align_text("a\n\nb c", student=bytes_view, teacher=bytes_view)
    found = groups(aligned, student=bytes_view, teacher=bytes_view, most=9)
    lines = [b"".join(group.content for group in line) for line in in_lines(list(found))]
    assert lines == [b"a\n", b"\n", b"b c"]
    assert list(in_lines([])) == []


def test_a_turn_starts_a_line_and_its_end_stays_in_it(chat_report):
    lines = [[group.number for group in line] for line in in_lines(chat_report.groups)]
    assert lines == [[0, 0], [1, 2, 3, 3, 4, 5], [6]]


def test_the_first_chunks_with_what_lies_between_them(chat_report):
    assert [group.number for group in chat_report.first(3)] == [0, 0, 1, 2]
    assert chat_report.first(6) == chat_report.groups
