"""What the student is to answer: chats without their last answer, starts of texts."""

from collections.abc import Sequence

import numpy as np

from alm_lightning.alignment.answer import Answer
from alm_lightning.alignment.chat.answers import Question
from alm_lightning.alignment.continuation import Opening
from alm_lightning.corpus.chat import Chat
from alm_lightning.corpus.document import BadDocument, Document
from alm_lightning.corpus.pieces import pieces
from alm_lightning.corpus.sources.source import AnyDocument
from alm_lightning.data.pairing import Pairing

LOOKED_AT = 1000
"""Documents of which one must give a prompt, or the corpus is said to have none."""


class Prompts:
    """Draws prompts out of documents.

    Args:
        documents: Chats or texts that are trained on.
        pairing: Tokenizers, templates and lengths.
        prompt_bytes: How much of the start of a text is given.
        max_new_tokens: For how many tokens there must be room after a prompt.

    Raises:
        ValueError: Of many documents none gives a prompt that leaves room for an answer.
    """

    def __init__(
        self,
        documents: Sequence[AnyDocument],
        *,
        pairing: Pairing,
        prompt_bytes: int,
        max_new_tokens: int,
    ):
        self.documents, self.pairing = documents, pairing
        self.prompt_bytes, self.max_new_tokens = prompt_bytes, max_new_tokens
        self._unfit: set[int] = set()
        # a corpus of which no document will do is an error now, and not one of a later step
        number = min(len(documents), LOOKED_AT)
        chosen = np.random.default_rng(0).choice(len(documents), number, replace=False)
        if not any(self._fits(place) for place in chosen.tolist()):
            raise ValueError(
                f"on_policy: of {number} documents none gives a prompt of at most {self._room} "
                "student tokens, which student_length leaves beside on_policy.max_new_tokens="
                f"{max_new_tokens}, and of the teacher one that leaves as much room in "
                f"{pairing.teacher_length} tokens (teacher_length). Raise student_length and "
                "teacher_length, lower on_policy.max_new_tokens, or take a corpus with chats that "
                f"end with an answer, or texts of more than {prompt_bytes} bytes "
                "(on_policy.prompt_bytes)."
            )

    def draw(self, generator: np.random.Generator) -> int:
        """The place of a document that gives a prompt: each that does has the same chance.

        Args:
            generator: Random numbers.

        Returns:
            Its place, for `asked`.
        """
        while True:
            place = int(generator.integers(len(self.documents)))
            if place in self._unfit:
                continue
            if self._fits(place):
                return place
            self._unfit.add(place)

    def _fits(self, place: int) -> bool:
        """Whether a document gives a prompt that leaves room for an answer on both sides."""
        try:
            asked = self.asked(place)
        except BadDocument:
            # counted where it is paired for the ordinary windows
            return False
        if len(asked.ids) > self._room:
            return False
        nothing = asked.align(Answer(asked.ids[:0], None), alignment=None)
        # an answer has as many tokens of the teacher for one of the student as its prompt has
        ratio = len(nothing.teacher_ids) / len(asked.ids)
        room = self.pairing.teacher_length - len(nothing.teacher_ids)
        return room >= self.max_new_tokens * ratio

    @property
    def _room(self) -> int:
        return self.pairing.student_length - self.max_new_tokens

    def asked(self, place: int) -> Question | Opening:
        """The prompt of a document.

        Args:
            place: Of the document.

        Returns:
            What waits for an answer.

        Raises:
            BadDocument: It has none, or can't be used.
        """
        document, pairing = self.documents[place], self.pairing
        views = {"student": pairing.student, "teacher": pairing.teacher}
        if isinstance(document, Document):
            first, *others = pieces(document, self.prompt_bytes)
            if not others:
                raise BadDocument(
                    f"{document.name}: the text is as short as a prompt of "
                    f"{self.prompt_bytes} bytes (on_policy.prompt_bytes), and nothing follows it."
                )
            return Opening(first.text, **views, name=document.name)
        messages = list(document.messages)
        while messages and messages[-1].role == "assistant":
            messages.pop()
        chat = pairing.chat
        return Question(
            Chat(tuple(messages), document.name),
            **views,
            system=chat.system,
            student_template=chat.student_template,
            teacher_template=chat.teacher_template,
        )
