"""A chat that a student has answered, under both tokenizers: the student's tokens as sampled."""

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Int

from alm_lightning.alignment.aligned import AlignedText
from alm_lightning.alignment.answer import Answer
from alm_lightning.alignment.boundaries import ChunkSelection
from alm_lightning.alignment.chat.fragments import (
    CLOSES,
    SAYS,
    STEPS_PER_MESSAGE,
    Fragment,
    fragments,
)
from alm_lightning.alignment.chat.messages import align_turns, rendered
from alm_lightning.alignment.chat.turns import Turns, joined, turns_of, turns_of_fragments
from alm_lightning.alignment.continuation import untargeted
from alm_lightning.corpus.chat import SYSTEM_POLICIES, BadChat, Chat, Message
from alm_lightning.tokenization.chat.choice import template_of
from alm_lightning.tokenization.chat.template import Rendering
from alm_lightning.tokenization.view import TokenizerView

STANDS_FOR = "?"
"""Stands for an answer while the structure around it is learnt."""


class Question:
    """A chat that waits for an answer, in both templates.

    Args:
        chat: The messages before the answer, at least one.
        student: The student's tokenizer.
        teacher: The teacher's tokenizer.
        system: What becomes of a system message: ``own``, ``merge``, ``drop`` or ``error``.
        student_template: The student's template: a name, or Jinja; None for the tokenizer's own.
        teacher_template: The teacher's template, likewise.

    Raises:
        BadChat: There is no message, the last one is the assistant's own, or a template refuses it.
        ValueError: There is no template.
    """

    def __init__(
        self,
        chat: Chat,
        *,
        student: TokenizerView,
        teacher: TokenizerView,
        system: str,
        student_template: str | None,
        teacher_template: str | None,
    ):
        if not chat.messages or chat.messages[-1].role == "assistant":
            raise BadChat(f"{chat.name}: expected a message to answer at the end, found none.")
        self.student, self.teacher, self.name = student, teacher, chat.name
        asked = Chat((*chat.messages, Message("assistant", STANDS_FOR)), chat.name)
        templates = template_of(student, student_template), template_of(teacher, teacher_template)
        whole, renderings = rendered(SYSTEM_POLICIES[system](asked), templates)
        self._contents = [message.content for message in whole.messages[:-1]]
        self._teacher = renderings[1]
        pieces = list(fragments(student, renderings[0]))
        self._says = STEPS_PER_MESSAGE * len(self._contents) + SAYS
        place = next(i for i, p in enumerate(pieces) if p.step == self._says and p.is_content)
        self._before = turns_of_fragments(student, pieces[:place], self.name)
        self._after = pieces[place + 1 :]

    @property
    def ids(self) -> Int[np.ndarray, " pos"]:
        """What the student reads before it answers: all up to where its answer begins."""
        return self._before.ids

    @property
    def window_ids(self) -> Int[np.ndarray, " pos"]:
        """The first tokens of the aligned chat."""
        return self._before.ids

    def ends_with(self, answer: Answer) -> bool:
        """Whether an EOS follows the answer: never, since templates write what ends a turn."""
        return False

    def align(self, answer: Answer, *, alignment: ChunkSelection | None) -> AlignedText:
        """The chat with an answer, of which the answer alone, and its end, is trained.

        The end of turn of each side is one chunk, whichever stop token the student took. An answer
        that was cut at its length has no end on either side, and its last word is not trained.

        Args:
            answer: What was sampled, as `Answer.usable` gives it.
            alignment: Which common boundaries bound chunks; every one if None.

        Returns:
            Tokens and chunks; no token is a target of the next-token loss.
        """
        text = answer.text(self.student)
        after = self._after_answer(answer)
        gaps = self._teacher.gaps if after else (*self._teacher.gaps[:-1], "")
        contents = [*self._contents, text]
        turns = joined(
            [
                self._before,
                _sampled(self.student, answer, self._says),
                turns_of_fragments(self.student, after, self.name, continued=True),
            ]
        )
        aligned = align_turns(
            [content.encode("utf-8") for content in contents],
            (self.student, turns),
            (self.teacher, turns_of(self.teacher, Rendering(gaps, tuple(contents)), self.name)),
            is_trained=self._trained(has_end=bool(after)),
            alignment=alignment,
        )
        return untargeted(aligned, answer)

    def _after_answer(self, answer: Answer) -> list[Fragment]:
        """What follows the answer: its stop token, and structure after it."""
        closes = self._says - SAYS + CLOSES
        specials = [
            place
            for place, piece in enumerate(self._after)
            if piece.step == closes and piece.special_id is not None
        ]
        if answer.stop_id is None or not specials:
            # a template without a special token there does not say where an answer stops
            return []
        stop = replace(self._after[specials[0]], special_id=answer.stop_id)
        return [stop, *self._after[specials[0] + 1 :]]

    def _trained(self, *, has_end: bool) -> Bool[np.ndarray, " step"]:
        flags = np.zeros(STEPS_PER_MESSAGE * (len(self._contents) + 1) + 1, dtype=bool)
        flags[self._says] = True
        flags[self._says - SAYS + CLOSES] = has_end
        return flags


def _sampled(view: TokenizerView, answer: Answer, step: int) -> Turns:
    """Sampled tokens as the content of a step."""
    steps = np.full(len(answer.ids), step)
    return Turns(
        ids=answer.ids.astype(np.int32),
        steps=steps,
        start_steps=steps,
        ends=view.byte_lengths[answer.ids].cumsum(),
        end_steps=steps,
        unknown=np.zeros(len(steps), bool),
        rewritten_bytes=0,
    )
