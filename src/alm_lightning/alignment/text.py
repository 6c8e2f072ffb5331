"""One text under two tokenizers, cut into the chunks that both delimit."""

from alm_lightning.alignment.aligned import AlignedText
from alm_lightning.alignment.axis import AxisSide, align_axis
from alm_lightning.alignment.boundaries import ChunkBounds
from alm_lightning.tokenization.validation import AWKWARD
from alm_lightning.tokenization.view import TokenizerView


def align_text(
    text: str,
    *,
    student: TokenizerView,
    teacher: TokenizerView,
    alignment: ChunkBounds | None = None,
    name: str = "text",
) -> AlignedText:
    """A text under both tokenizers, cut into the chunks that both delimit.

    Args:
        text: The text. What looks like a special token in it is content like any other.
        student: The student's tokenizer.
        teacher: The teacher's tokenizer.
        alignment: Which common boundaries bound chunks; every one if None.
        name: What an error calls the text.

    Returns:
        Tokens, chunks and coverage.

    Raises:
        BadDocument: If the text is not valid Unicode.

    Example:
        >>> from alm_lightning.tokenization.load import load_tokenizer
        >>> view = load_tokenizer("bytes")
        >>> aligned = align_text("né", student=view, teacher=view)
        >>> aligned.chunks
        [(0, 1, 0, 1), (1, 2, 1, 2), (2, 3, 2, 3)]
        >>> aligned.chunk_bytes(0), aligned.coverage
        (b'n', 1.0)
    """
    # the sides first: they refuse what is not valid Unicode, by the name of the text
    student_side = AxisSide(student, student.encode(text, name=name))
    teacher_side = AxisSide(teacher, teacher.encode(text, name=name))
    return align_axis(text.encode("utf-8"), student_side, teacher_side, alignment=alignment)


def uncovered(student: TokenizerView, teacher: TokenizerView) -> list[str]:
    """The awkward texts of which a part lies in no chunk, whatever is chosen to bound chunks.

    A token that stands for no bytes, as the unknown token, takes the chunk that it is in out of the
    training.

    Args:
        student: The student's tokenizer.
        teacher: The teacher's tokenizer.

    Returns:
        A phrase for each text: what it has, and how many of its bytes are in no chunk.

    Example:
        >>> from alm_lightning.tokenization.load import load_tokenizer
        >>> uncovered(load_tokenizer("bytes"), load_tokenizer("bytes"))
        []
    """
    found = []
    for what, text in AWKWARD.items():
        aligned = align_text(text, student=student, teacher=teacher, name=what)
        lost = sum(aligned.outside_bytes.values())
        if lost:
            found.append(f"{what}: {lost} of {len(aligned.content)} bytes of {text!r}")
    return found
