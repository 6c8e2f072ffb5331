import io
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console

from alm_lightning.alignment.text import align_text
from alm_lightning.inspection.build import report_of
from alm_lightning.inspection.terminal import GUTTER, draw


def drawn(report, *, width=100, most=99, **options):
    console = Console(file=io.StringIO(), width=width, **options)
    draw(report, console, most=most)
    return console.file.getvalue()


def of(text, student, teacher):
    aligned = align_text(text, student=student, teacher=teacher)
    return report_of(
        aligned, student=student, teacher=teacher, title="x", alignment="finest", most=9999
    )


def test_sides_are_stacked(bytes_view):
    assert drawn(of("a b\nc", bytes_view, bytes_view)).splitlines()[5:10] == [
        "student  a┃·┃b┃↵┃",
        "teacher  a┃·┃b┃↵┃",
        "#0               ",
        "student  c┃",
        "teacher  c┃",
    ]


def test_a_chat_tells_structure_training_and_reasons_without_colour(chat_report):
    lines = drawn(chat_report).splitlines()
    assert lines[5:7] == [
        "student               ┃⟦<|im_start|>⟧┃",
        "teacher  ⟦<bos>⟧      ┃⟦<turn>⟧      ┃",
    ]
    assert lines[8:10] == [
        "student  h╎i┃?┃⟦[UNK]⟧      ┃o┃k┃⟦<|im_end|>⟧┃",
        "teacher  h╎i┃?┃x            ┃o┃k┃⟦<end>⟧     ┃",
    ]
    assert lines[7].split() == ["#0", "one", "side", "only", "╌" * 14]
    assert lines[10].split() == ["#1", "╌╌╌", "╌", "unknown", "token"]
    assert lines[13].split() == ["#6", "no", "common", "end"]
    text = "\n".join(lines)
    assert "teacher's tokenizer changes one & two" in text
    assert "\x1b" not in text


@pytest.mark.parametrize("width", [24, 40, 100])
def test_rows_fit_into_the_window(bytes_view, byte_level_view, width):
    report = of("日本語 " + "a" * 90 + " 👩‍👩‍👧‍👦", bytes_view, byte_level_view)
    lines = drawn(report, width=width).splitlines()
    rows = [line for line in lines[4:] if line.startswith(("student  ", "teacher  "))]
    assert rows
    assert all(cell_len(line) <= width for line in rows[2:] if "┃" in line)


def test_what_is_left_out_is_said(bytes_view):
    text = drawn(of("abcdef", bytes_view, bytes_view), most=4)
    assert "a┃b┃c┃d┃\n" in text
    assert "2 more of 6 chunks are not drawn" in text
    assert "not drawn" not in drawn(of("abcdef", bytes_view, bytes_view), most=6)


def test_colours_in_a_terminal_and_none_by_wish(bytes_view, monkeypatch):
    report = of("ab", bytes_view, bytes_view)
    assert "\x1b[" in drawn(report, force_terminal=True, color_system="truecolor")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "48;2;" not in drawn(report, force_terminal=True, color_system="truecolor")


def test_brackets_of_a_text_are_no_markup(bytes_view):
    report = of("[bold]x[/bold]", bytes_view, bytes_view)
    assert "[┃b┃o┃l┃d┃]┃x┃[┃/" in drawn(report)


def test_a_chunk_wider_than_the_window_goes_on(bytes_view, byte_level_view):
    report = of("abcdefgh", bytes_view, bytes_view)
    whole = replace(report.groups[0], student=tuple(g.student[0] for g in report.groups))
    lines = drawn(replace(report, groups=(whole,)), width=GUTTER + 8).splitlines()
    rows = [line for line in lines[4:] if line.startswith("student  ")]
    assert rows == ["student  a╎b╎c╎d…", "student  ╎e╎f╎g…", "student  ╎h┃"]
