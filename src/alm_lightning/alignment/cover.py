"""What a pair of tokenizers can't cover with chunks, tried when it is loaded."""

from alm_lightning.alignment.text import align_text
from alm_lightning.tokenization.bytes.validation import AWKWARD
from alm_lightning.tokenization.view import TokenizerView


def uncovered(student: TokenizerView, teacher: TokenizerView) -> list[str]:
    """The awkward texts of which a part lies in no chunk, whatever is chosen to bound chunks.

    A token that stands for no bytes, as the unknown token, takes the chunk that it is in out of the
    training.

    Args:
        student: The student's tokenizer.
        teacher: The teacher's tokenizer.

    Returns:
        A phrase a text: what it has, how many of its bytes are in no chunk, and of how many.

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
