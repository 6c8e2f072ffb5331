"""A report in the terminal: student over teacher, chunk by chunk, in rows as wide as the window."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.table import Table
from rich.text import Text

from alm_lightning.inspection.build import Report
from alm_lightning.show.chunks import EXPLANATIONS, WORDS, Group, Token, in_lines

STYLES = {
    # both colours are said, so that a row reads the same in light and in dark windows
    "even": "#16202b on #bfdcf7",
    "odd": "#2b1f0c on #f7ddb0",
    "even pale": "#4a5058 on #e4edf5",
    "odd pale": "#565048 on #f6efe1",
    "structure": "italic #3d1f75 on #e2d6f7",
    "structure pale": "italic #5a4f70 on #efeaf7",
    "loose": "dim strike",
    "gutter": "dim",
}
GUTTER = 9
CHUNK_BORDER, TOKEN_BORDER, CONTINUED = "┃", "╎", "…"
OPEN, CLOSE = "⟦", "⟧"
UNTRAINED, RESPELLED = "╌", "≠"


@dataclass(frozen=True)
class Cell:
    """A group as the terminal shows it, or the part of it that fits into a row."""

    student: str
    teacher: str
    note: str
    style: str
    number: int
    border: str = CHUNK_BORDER

    @property
    def width(self) -> int:
        """Columns that it takes, its border left out."""
        return max(cell_len(self.student), cell_len(self.teacher), cell_len(self.note))


def draw(report: Report, console: Console, *, most: int) -> None:
    """Draws the first chunks of a report; the console's width decides how much is in a row."""
    shown = report.first(most)
    console.print(Text(report.title, style="bold"), soft_wrap=True)
    for side in ("student", "teacher"):
        name = report.student_name if side == "student" else report.teacher_name
        console.print(Text(f"{side:{GUTTER}}{name}"), soft_wrap=True)
    console.print(Text(f"{'chunks':{GUTTER}}{report.alignment} alignment\n"))
    for row in rows(shown, width=max(console.width - GUTTER, 8)):
        for line in _lines(row):
            console.print(line, soft_wrap=True, highlight=False)
    if report.counts.chunks > most:
        left = report.counts.chunks - most
        console.print(
            f"… {left:,} more of {report.counts.chunks:,} chunks are not drawn: --max-chunks draws "
            "more, --html a page. The counts are of the whole text.\n",
            soft_wrap=True,
        )
    console.print(legend(shown), soft_wrap=True)
    _print_counts(report, console)


def rows(groups: Sequence[Group], *, width: int) -> Iterator[list[Cell]]:
    """Cells side by side, as many as fit; a new row where the text has a new line."""
    for line in in_lines(groups):
        row: list[Cell] = []
        used = 0
        for cell in (cell for group in line for cell in _cells(group, width - 1)):
            if row and used + cell.width + 1 > width:
                yield row
                row, used = [], 0
            row.append(cell)
            used += cell.width + 1
        yield row


def _cells(group: Group, width: int) -> Iterator[Cell]:
    """A group in one cell, or in several that are as wide as the window."""
    students, teachers = (
        _wrapped(tokens, width, is_structure=group.is_structure)
        for tokens in (group.student, group.teacher)
    )
    num_lines = max(len(students), len(teachers))
    for line in range(num_lines):
        cell = Cell(
            student=students[line] if line < len(students) else "",
            teacher=teachers[line] if line < len(teachers) else "",
            note=set_cell_size(group.why, min(cell_len(group.why), width)),
            style=group.kind,
            number=group.number,
            border=CHUNK_BORDER if line == num_lines - 1 else CONTINUED,
        )
        yield replace(cell, note=_line_note(group, cell.width)) if group.is_chunk else cell


def _line_note(group: Group, width: int) -> str:
    note = "" if group.is_trained else UNTRAINED * width
    return RESPELLED + note[1:] if group.respelled else note


def _wrapped(tokens: Sequence[Token], width: int, *, is_structure: bool) -> list[str]:
    """Tokens with their borders, in lines of at most a width."""
    texts = [
        f"{OPEN}{token.text}{CLOSE}" if token.is_special and not is_structure else token.text
        for token in tokens
    ]
    if is_structure and texts:
        texts[0] = OPEN + texts[0]
        texts[-1] += CLOSE
    lines = [""]
    for text in texts:
        bordered = text if not lines[-1] else TOKEN_BORDER + text
        if lines[-1] and cell_len(lines[-1] + bordered) > width:
            lines.append(TOKEN_BORDER)
            bordered = text
        # a token that is wider than the window continues in the next line
        for character in bordered:
            if cell_len(lines[-1] + character) > width:
                lines.append("")
            lines[-1] += character
    return lines


def _lines(row: Sequence[Cell]) -> Iterator[Text]:
    gutters = ("student", "teacher", f"#{row[0].number}")
    for gutter, field in zip(gutters, ("student", "teacher", "note"), strict=True):
        line = Text(f"{gutter:{GUTTER}}", style="")
        line.stylize(STYLES["gutter"])
        for cell in row:
            text = {"student": cell.student, "teacher": cell.teacher, "note": cell.note}[field]
            if field == "note":
                line.append(set_cell_size(text, cell.width) + " ")
                continue
            line.append(text, style=STYLES[cell.style])
            filler = " " * (cell.width - cell_len(text))
            line.append(filler, style=STYLES[cell.style] if cell.style != "loose" else "")
            line.append(cell.border, style=STYLES["gutter"])
        yield line


def legend(groups: Sequence[Group]) -> Text:
    """What the signs mean, of those that are in sight."""
    lines = [
        f"{CHUNK_BORDER} ends a chunk, {TOKEN_BORDER} is between its tokens, # is the number "
        "of a row's first chunk; · space, ↵ newline, → tab, \\xNN a byte of a cut character."
    ]
    if any(group.is_structure or group.has_special for group in groups):
        lines.append(f"{OPEN} {CLOSE} structure, which stands for no text.")
    if any(group.is_chunk and not group.is_trained for group in groups):
        lines.append(f"{UNTRAINED} below: not trained on.")
    if any(group.respelled for group in groups):
        lines.append(
            f"{RESPELLED} below: a tokenizer spells it with other bytes than the text has."
        )
    for reason in dict.fromkeys(reason for group in groups for reason in group.reasons):
        lines.append(f"{WORDS[reason]}: in no chunk, {EXPLANATIONS[reason]}.")
    return Text("\n".join(lines) + "\n", style="dim")


def _print_counts(report: Report, console: Console) -> None:
    sides = Table("", "student", "teacher", box=None, header_style="bold", pad_edge=False)
    for row in report.counts.sides():
        sides.add_row(*row)
    facts = Table(show_header=False, box=None, pad_edge=False)
    for fact in report.counts.facts():
        facts.add_row(*fact)
    bars = Table("bytes a chunk", "chunks", "", box=None, header_style="bold", pad_edge=False)
    most = max((chunks for _, chunks in report.counts.histogram), default=0)
    for label, chunks in report.counts.histogram:
        bars.add_row(label, f"{chunks:,}", "█" * -(-chunks * 40 // most))
    for table in (sides, facts, bars):
        console.print(table)
        console.print()
    for name, side in (("student", report.counts.student), ("teacher", report.counts.teacher)):
        for loss in side.losses:
            console.print(Text(f"{name}'s tokenizer changes {loss}"), soft_wrap=True)
