"""A report as one self-contained HTML page."""

from alm_lightning.inspection.build import Report
from alm_lightning.show.chunks import EXPLANATIONS, WORDS, in_lines
from alm_lightning.show.numbers import fixed, share
from alm_lightning.show.page import render_page


def html_page(report: Report, *, most: int) -> str:
    """The page of a report, with at most so many chunks: about 400 bytes of HTML each."""
    shown = report.first(most)
    counts = report.counts
    signs = {"·": "space", "↵": "newline", "→": "tab", "\\xNN": "a byte of a cut character"}
    if any(group.respelled for group in shown):
        signs = {"≠": "a tokenizer spells it with other bytes than the text has", **signs}
    tokens = (token for group in shown for token in group.student + group.teacher)
    if any(piece.text.startswith("◌") for token in tokens for piece in token.pieces):
        signs["◌"] = "where a letter was cut off from its mark"
    reasons = dict.fromkeys(reason for group in shown for reason in group.reasons)
    return render_page(
        "inspection",
        title=report.title,
        names={
            "student": report.student_name,
            "teacher": report.teacher_name,
            "alignment": report.alignment,
        },
        figures={
            "chunks": f"{counts.chunks:,}",
            "coverage": share(counts.coverage),
            "one-to-one chunks": share(counts.one_to_one),
            "student tokens a chunk": fixed(counts.student.mean_length, 2),
            "teacher tokens a chunk": fixed(counts.teacher.mean_length, 2),
        },
        has={
            "structure": any(group.is_structure or group.has_special for group in shown),
            "untrained": any(group.is_chunk and not group.is_trained for group in shown),
        },
        reasons={WORDS[reason]: EXPLANATIONS[reason] for reason in reasons},
        signs=signs,
        lines=list(in_lines(shown)),
        left_out=counts.chunks - most,
        counts=counts,
    )
