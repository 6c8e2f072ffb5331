"""A report as one self-contained HTML page: no network, no foreign scripts, everything escaped."""

import base64
import hashlib
from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files
from string import Template

from alm_lightning.inspection.counts import number, share
from alm_lightning.inspection.report import EXPLANATIONS, WORDS, Group, Report, Token, in_lines
from alm_lightning.show.visible import Piece

ROOM = files("alm_lightning.inspection")


def page(report: Report, *, most: int) -> str:
    """The page of a report.

    Args:
        report: The report.
        most: Largest number of chunks to draw: about 400 bytes of HTML each.

    Returns:
        HTML. What the browser may load is limited to what stands in it.
    """
    shown = report.first(most)
    style = ROOM.joinpath("page.css").read_text("utf-8")
    script = ROOM.joinpath("page.js").read_text("utf-8")
    template = Template(ROOM.joinpath("page.html").read_text("utf-8"))
    html = template.substitute(
        style_hash=_hash(style),
        script_hash=_hash(script),
        style=style,
        title=escape(report.title),
        student=escape(report.student_name),
        teacher=escape(report.teacher_name),
        alignment=escape(report.alignment),
        figures="".join(
            f"<li><b>{value}</b><span>{label}</span></li>" for label, value in _figures(report)
        ),
        legend="".join(_legend(shown)),
        lines="".join(
            f'<div class="line">{"".join(map(_box, line))}</div>\n' for line in in_lines(shown)
        ),
        left_out=_left_out(report, most),
        sides="".join(map(_table_row, report.counts.sides())),
        facts="".join(map(_table_row, report.counts.facts())),
        bars="".join(_bars(report.counts.histogram)),
        losses="".join(_losses(report)),
    )
    return html.replace("</body>", f"<script>{script}</script>\n</body>")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode()


def _figures(report: Report) -> Iterator[tuple[str, str]]:
    counts = report.counts
    yield "chunks", f"{counts.chunks:,}"
    yield "coverage", share(counts.coverage)
    yield "one-to-one chunks", share(counts.one_to_one)
    yield "student tokens a chunk", number(counts.student.mean_length)
    yield "teacher tokens a chunk", number(counts.teacher.mean_length)


def _losses(report: Report) -> Iterator[str]:
    """Where the tokenizers do not give texts back, of this text or of any other."""
    sides = (("student", report.counts.student), ("teacher", report.counts.teacher))
    for name, side in sides:
        if side.losses:
            items = "".join(f"<li>{escape(loss)}</li>" for loss in side.losses)
            yield f"<h3>What the {name}'s tokenizer changes in texts</h3>"
            yield f'<ul class="losses">{items}</ul>'


def _left_out(report: Report, most: int) -> str:
    left = report.counts.chunks - most
    if left <= 0:
        return ""
    return (
        f'<p class="left">{left:,} more of {report.counts.chunks:,} chunks are not drawn. '
        "The counts are of the whole text.</p>"
    )


def _box(group: Group) -> str:
    notes = list(_notes(group))
    ids = [" ".join(str(token.id) for token in side) for side in (group.student, group.teacher)]
    name = f"{group.number}" if group.is_chunk else "none"
    data = {
        "n": name + (", structure" if group.is_structure else ""),
        "r": f"{group.start}–{group.end} ({len(group.content)})",
        "x": group.content.hex(" "),
        "s": ids[0] or "none",
        "t": ids[1] or "none",
        "w": "; ".join(notes),
    }
    label = (
        f"{'chunk ' + name if group.is_chunk else 'no chunk'}: student {_spoken(group.student)}, "
        f"teacher {_spoken(group.teacher)}" + "".join(f"; {note}" for note in notes)
    )
    attributes = " ".join(f'data-{key}="{escape(value)}"' for key, value in data.items() if value)
    tail = f'<span class="why">{escape(_caption(group))}</span>' if _caption(group) else ""
    return (
        f'<span class="g {_classes(group)}" role="group" aria-label="{escape(label)}" {attributes}>'
        f"{_row(group.student)}{_row(group.teacher)}{tail}</span>"
    )


def _spoken(tokens: Sequence[Token]) -> str:
    return " | ".join(token.text for token in tokens) or "no token"


def _notes(group: Group) -> Iterator[str]:
    for reason in group.reasons:
        yield f"in no chunk: {EXPLANATIONS[reason]}"
    if group.is_chunk and not group.is_trained:
        yield "not trained on"
    for side in group.respelled:
        yield f"the {side}'s tokens spell it with other bytes"


def _caption(group: Group) -> str:
    return group.why or ("≠ respelled" if group.respelled else "")


def _classes(group: Group) -> str:
    if not group.is_chunk:
        return "loose"
    kind = "structure" if group.is_structure else ("even", "odd")[group.number % 2]
    return kind if group.is_trained else f"{kind} pale"


def _row(tokens: Sequence[Token]) -> str:
    inner = "".join(map(_token, tokens)) or '<span class="none" title="no token">–</span>'
    return f'<span class="r">{inner}</span>'


def _token(token: Token) -> str:
    inner = "".join(
        f"<i>{escape(piece.text)}</i>" if piece.is_mark else escape(piece.text)
        for piece in token.pieces
    )
    kind = ' class="special"' if token.is_special else ""
    return f'<bdi dir="auto"{kind}>{inner}</bdi>'


def _table_row(cells: Sequence[str]) -> str:
    label, *values = cells
    return (
        f'<tr><th scope="row">{escape(label)}</th>'
        + "".join(f"<td>{escape(value)}</td>" for value in values)
        + "</tr>"
    )


def _bars(histogram: Sequence[tuple[str, int]]) -> Iterator[str]:
    most = max((chunks for _, chunks in histogram), default=0)
    for label, chunks in histogram:
        width = f"{100 * chunks / most:.2f}%"
        yield (
            f'<tr><th scope="row">{label}</th><td>{chunks:,}</td><td><svg aria-hidden="true">'
            f'<rect width="{width}" height="100%" rx="2"/></svg></td></tr>'
        )


def _legend(groups: Sequence[Group]) -> Iterator[str]:
    """What the looks of boxes mean, of those that are in sight."""
    two = _sample("even", ["ab"], ["a", "b"]) + _sample("odd", ["c"], ["c"])
    yield f"<li>{two} chunks, their colours in turn</li>"
    tokens = [token for group in groups for token in group.student + group.teacher]
    if any(group.is_structure for group in groups) or any(token.is_special for token in tokens):
        sample = _sample("structure", ["role"], ["role"])
        yield f"<li>{sample} structure, which stands for no text</li>"
    if any(group.is_chunk and not group.is_trained for group in groups):
        yield f"<li>{_sample('even pale', ['ab'], ['ab'])} dotted: not trained on</li>"
    if any(group.respelled for group in groups):
        yield f"<li>{_sign('≠')} a tokenizer spells it with other bytes than the text has</li>"
    for reason in dict.fromkeys(reason for group in groups for reason in group.reasons):
        sample = _sample("loose", ["ab"], ["a"])
        yield f"<li>{sample} {WORDS[reason]}: in no chunk, {EXPLANATIONS[reason]}</li>"
    signs = {"·": "space", "↵": "newline", "→": "tab", "\\xNN": "a byte of a cut character"}
    yield from (f"<li>{_sign(sign)} {meaning}</li>" for sign, meaning in signs.items())
    if any(piece.text.startswith("◌") for token in tokens for piece in token.pieces):
        yield f"<li>{_sign('◌')} where a letter was cut off from its mark</li>"


def _sign(sign: str) -> str:
    return f'<span class="sign">{sign}</span>'


def _sample(kind: str, student: Sequence[str], teacher: Sequence[str]) -> str:
    rows = (
        _row([Token(0, (Piece(text, is_mark=False),), is_special=False) for text in side])
        for side in (student, teacher)
    )
    box = f'<span class="g {kind}">{"".join(rows)}</span>'
    return f'<span class="sample" aria-hidden="true">{box}</span>'
