"""From an aligned text to the record of what is to be drawn."""

from alm_lightning.alignment.text import AlignedText
from alm_lightning.inspection.counts import counts
from alm_lightning.inspection.groups import groups
from alm_lightning.inspection.report import Report
from alm_lightning.tokenization.view import TokenizerView


def report_of(
    aligned: AlignedText,
    *,
    student: TokenizerView,
    teacher: TokenizerView,
    title: str,
    alignment: str,
    most: int,
) -> Report:
    """The record of a text under two tokenizers.

    Args:
        aligned: The text, with its chunks.
        student: The student's tokenizer.
        teacher: The teacher's tokenizer.
        title: What the text is called.
        alignment: What the alignment is called.
        most: Largest number of chunks to keep tokens of. Counts are over all of them.

    Returns:
        The record.

    Example:
        >>> from alm_lightning.alignment.text import align_text
        >>> from alm_lightning.tokenization.load import load_tokenizer
        >>> view = load_tokenizer("bytes")
        >>> aligned = align_text("a b", student=view, teacher=view)
        >>> report = report_of(
        ...     aligned, student=view, teacher=view, title="a", alignment="finest", most=9
        ... )
        >>> [group.student[0].text for group in report.groups], report.counts.coverage
        (['a', '·', 'b'], 1.0)
    """
    return Report(
        title=title,
        student_name=student.name,
        teacher_name=teacher.name,
        alignment=alignment,
        groups=tuple(groups(aligned, student=student, teacher=teacher, most=most)),
        counts=counts(aligned, student=student, teacher=teacher),
    )
