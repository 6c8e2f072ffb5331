"""A chat in a tokenizer's template: which parts of the rendering are content, and which structure.

A template is a program, and what it writes around contents is learnt by running it: once with
placeholders for contents, which tells the structure, and once with the contents themselves, which
must give the same structure around them. What a template strips off contents is noticed; one that
edits, drops or reorders them is refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from jinja2 import TemplateError, TemplateSyntaxError

from alm_lightning.corpus.chat import BadChat, Chat, Message
from alm_lightning.corpus.document import shortened
from alm_lightning.tokenization.chat.date import DATE_STRING, with_fixed_date
from alm_lightning.tokenization.view import TokenizerView

PLACEHOLDER = "\ue000{}\ue001"
"""Stands for a content: private characters, which no template looks for or strips."""
FAILURES = (TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What a template ends with that does not know what to do with a chat: it is a program."""
STRIPPED = ("\n", None)
"""What templates strip off contents: line ends alone, or all whitespace."""
CONTEXT = 30
"""Characters of a rendering that a message shows."""


@dataclass(frozen=True)
class Rendering:
    """A chat as a template writes it.

    Attributes:
        gaps: The structure before, between and after contents: one more than there are messages.
        contents: The contents as they stand in it.
    """

    gaps: tuple[str, ...]
    contents: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class ChatTemplate:
    """A template, and the tokenizer that it writes for.

    Attributes:
        view: The tokenizer.
        jinja: The template's text.
        name: What errors call it.
    """

    view: TokenizerView
    jinja: str = field(repr=False)
    name: str

    def render(self, chat: Chat) -> Rendering:
        """A chat, divided into structure and content.

        A BadChat if the template refuses it, or does not write its contents as they are; a
        ValueError if it is not a template.
        """
        roles = tuple(message.role for message in chat.messages)
        try:
            gaps = _gaps(self, roles)
            written = self.write(chat.messages)
        except TemplateSyntaxError as error:
            raise ValueError(
                f"the chat template {self.name} is not valid Jinja: {error}. Correct it."
            ) from error
        except FAILURES as error:
            raise BadChat(
                f"{chat.name}: the chat template {self.name} refuses it: {error}. Its roles are "
                f"{', '.join(roles)}. Choose another template, system=merge or system=drop for a "
                "system message, or drop the chat."
            ) from error
        except _Unexplained as error:
            raise BadChat(f"{chat.name}: the chat template {self.name} {error}") from error
        return Rendering(gaps, self._contents(chat, gaps, written))

    def write(self, messages: tuple[Message, ...]) -> str:
        """What the template makes of messages."""
        conversation = [{"role": m.role, "content": m.content} for m in messages]
        return self.apply(conversation, add_generation_prompt=False)

    def apply(
        self,
        conversation: Sequence[dict[str, str]],
        *,
        add_generation_prompt: bool,
        continue_final_message: bool = False,
    ) -> str:
        """What the template makes of messages, by transformers' own means; today is always `DATE`.

        Args:
            conversation: Messages with ``role`` and ``content``.
            add_generation_prompt: Whether an answer is opened after them.
            continue_final_message: Whether the last one stays open.

        Returns:
            The text. An error of the template's is one of `FAILURES`.
        """
        written = self.view.hf.apply_chat_template(
            list(conversation),
            chat_template=with_fixed_date(self.jinja),
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=continue_final_message,
            date_string=DATE_STRING,
        )
        return str(written)

    def _contents(self, chat: Chat, gaps: tuple[str, ...], written: str) -> tuple[str, ...]:
        """The contents as they stand between the gaps."""
        contents = []
        place = len(gaps[0]) if written.startswith(gaps[0]) else -1
        for number, message in enumerate(chat.messages):
            raw = message.content
            variants = [
                form
                for kind in STRIPPED
                for form in (raw, raw.rstrip(kind), raw.lstrip(kind), raw.strip(kind))
            ]
            is_last = number == len(chat.messages) - 1
            found = [
                variant
                for variant in variants
                if place >= 0 and _follows(written, place, variant + gaps[number + 1], is_last)
            ]
            if not found:
                near = written[max(place - CONTEXT, 0) : max(place, 0) + CONTEXT]
                raise BadChat(
                    f"{chat.name}, message {number} ({message.role}): the chat template "
                    f"{self.name} does not write the content as it is, at character "
                    f"{max(place, 0)} of what it writes: expected "
                    f"{shortened(raw + gaps[number + 1])} there, found {near!r}. A template that "
                    "edits or drops content can't be aligned: give another one, or drop the chat."
                )
            contents.append(found[0])
            place += len(found[0]) + len(gaps[number + 1])
        return tuple(contents)


def _follows(written: str, place: int, part: str, is_last: bool) -> bool:
    return written.startswith(part, place) and (not is_last or place + len(part) == len(written))


class _Unexplained(Exception):
    """What a template does with placeholders, as the rest of a sentence."""


@lru_cache(maxsize=4096)
def _gaps(template: ChatTemplate, roles: tuple[str, ...]) -> tuple[str, ...]:
    """The structure around contents, which depends on the roles alone."""
    marks = [PLACEHOLDER.format(number) for number in range(len(roles))]
    pairs = zip(roles, marks, strict=True)
    whole = rest = template.write(tuple(Message(role, mark) for role, mark in pairs))
    gaps = []
    for number, mark in enumerate(marks):
        if rest.count(mark) != 1:
            what = "repeats or reorders" if mark in whole else "leaves out"
            raise _Unexplained(
                f"{what} message {number} ({roles[number]}) of roles {', '.join(roles)}, so its "
                "content has no place of its own. Choose another template, system=merge or "
                "system=drop for a system message, or drop the chat."
            )
        gap, _, rest = rest.partition(mark)
        gaps.append(gap)
    return (*gaps, rest)
