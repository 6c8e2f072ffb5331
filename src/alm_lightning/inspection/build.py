"""From an aligned text to the record of what is drawn."""

from dataclasses import dataclass

from alm_lightning.alignment.aligned import AlignedText
from alm_lightning.inspection.counts import Counts, counts
from alm_lightning.inspection.groups import groups
from alm_lightning.show.chunks import Group
from alm_lightning.tokenization.view import TokenizerView


@dataclass(frozen=True)
class Report:
    """A text under two tokenizers, ready to be drawn.

    Attributes:
        title: What the text is called.
        student_name: What the student's tokenizer is called.
        teacher_name: What the teacher's tokenizer is called.
        alignment: What the alignment is called.
        groups: Chunks and the tokens between them, from the start of the text.
        counts: Counts over the whole text.
    """

    title: str
    student_name: str
    teacher_name: str
    alignment: str
    groups: tuple[Group, ...]
    counts: Counts

    def first(self, most: int) -> tuple[Group, ...]:
        """The groups up to a number of chunks, and what follows the last one if it is the last."""
        is_whole = self.counts.chunks <= most
        return tuple(group for group in self.groups if is_whole or group.number < most)


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
