"""A text that a student has continued, under both tokenizers: the student's tokens as sampled."""

import re
from dataclasses import replace

import numpy as np
from jaxtyping import Int

from alm_lightning.alignment.aligned import AlignedText
from alm_lightning.alignment.answer import Answer
from alm_lightning.alignment.axis import AxisSide, align_axis
from alm_lightning.alignment.boundaries import ChunkSelection
from alm_lightning.tokenization.view import Encoding, TokenizerView

LAST_WORD = re.compile(rb"[ \t\n\r]+[^ \t\n\r]*\Z")
"""A word at the end with the whitespace before it, which is part of its first token as a rule."""

MOST_UNSETTLED = 32
"""Bytes at the end of a cut answer that count as one word where no whitespace is among them."""


def align_continuation(
    prompt: str,
    answer: Answer,
    *,
    student: TokenizerView,
    teacher: TokenizerView,
    alignment: ChunkSelection | None = None,
    name: str = "continuation",
) -> AlignedText:
    """A prompt and its continuation; chunks of the continuation alone are trained.

    A chunk that begins in the prompt is not trained, nor are those in the last word of a
    continuation without an end: what its last tokens would have become is not known.

    Args:
        prompt: The text that was continued, not empty.
        answer: What was sampled, as `Answer.usable` gives it.
        student: The student's tokenizer.
        teacher: The teacher's tokenizer, which reads prompt and continuation as one text.
        alignment: Which common boundaries bound chunks; every one if None.
        name: What an error calls it.

    Returns:
        Tokens and chunks; no token is a target of the next-token loss.
    """
    given = student.encode(prompt, name=name)
    start = len(prompt.encode("utf-8"))
    tokens = Encoding(
        ids=np.concatenate([given.ids, answer.ids.astype(given.ids.dtype)]),
        ends=np.concatenate([given.ends, start + student.byte_lengths[answer.ids].cumsum()]),
        rewritten_bytes=given.rewritten_bytes,
        unknown=None
        if given.unknown is None
        else np.append(given.unknown, np.zeros(len(answer.ids), bool)),
    )
    text = prompt + answer.text(student)
    aligned = align_axis(
        text.encode("utf-8"),
        AxisSide(student, tokens),
        AxisSide(teacher, teacher.encode(text, name=name)),
        alignment=alignment,
    )
    trained = aligned.chunk_starts >= start
    return untargeted(replace(aligned, trained=trained), answer)


def untargeted(aligned: AlignedText, answer: Answer) -> AlignedText:
    """Without targets for the next-token loss, and without the last word of an endless answer.

    A tokenizer cuts half a word into other tokens than the whole one: chunks in it need not be
    those that a longer answer would have had.

    Args:
        aligned: A prompt with an answer, at its end.
        answer: The answer.

    Returns:
        The same but for `trained` and `student_trained`.
    """
    trained = aligned.trained.copy()
    if answer.stop_id is None:
        trained[aligned.chunk_ends > _settled(aligned.content)] = False
    return replace(
        aligned, trained=trained, student_trained=np.zeros(len(aligned.student_ids), bool)
    )


def _settled(content: bytes) -> int:
    """How many bytes more text can not cut in another way: those before the last word."""
    found = LAST_WORD.search(content)
    return max(found.start() if found else 0, len(content) - MOST_UNSETTLED)


class Opening:
    """A text that waits to be continued.

    Args:
        text: What is continued, not empty.
        student: The student's tokenizer.
        teacher: The teacher's tokenizer.
        name: What an error calls it.
    """

    def __init__(self, text: str, *, student: TokenizerView, teacher: TokenizerView, name: str):
        self.text, self.student, self.teacher, self.name = text, student, teacher, name
        self._ids = student.encode(text, name=name).ids

    @property
    def ids(self) -> Int[np.ndarray, " pos"]:
        """What the student reads before it goes on: a start token, and the text."""
        return np.concatenate([[self.student.start_id], self._ids])

    @property
    def window_ids(self) -> Int[np.ndarray, " pos"]:
        """The first tokens of an aligned continuation."""
        return self._ids

    def ends_with(self, answer: Answer) -> bool:
        """Whether an EOS follows the answer."""
        return answer.stop_id == self.student.roles.get("eos", -1)

    def align(self, answer: Answer, *, alignment: ChunkSelection | None) -> AlignedText:
        """The text with a continuation: `align_continuation`."""
        return align_continuation(
            self.text,
            answer,
            student=self.student,
            teacher=self.teacher,
            alignment=alignment,
            name=self.name,
        )
