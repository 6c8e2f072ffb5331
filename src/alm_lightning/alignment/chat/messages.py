"""One chat under two tokenizers, each in its own template, with the chunks that both delimit."""

import logging
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Int

from alm_lightning.alignment.aligned import AlignedText
from alm_lightning.alignment.axis import AxisSide, ChatLayout, SideStructure, align_axis
from alm_lightning.alignment.boundaries import ChunkBounds
from alm_lightning.alignment.chat.fragments import CLOSES, SAYS, STEPS_PER_MESSAGE
from alm_lightning.alignment.chat.turns import NOWHERE, Turns, turns_of
from alm_lightning.corpus.chat import SYSTEM_POLICIES, BadChat, Chat, Message
from alm_lightning.tokenization.chat.choice import template_of
from alm_lightning.tokenization.chat.template import ChatTemplate, Rendering
from alm_lightning.tokenization.rewrite import INSIDE_REWRITE
from alm_lightning.tokenization.view import Encoding, TokenizerView

log = logging.getLogger(__name__)

TRAINED = ("all", "assistant")


def align_messages(
    messages: Chat | Sequence[Message | Mapping[str, object]],
    *,
    student: TokenizerView,
    teacher: TokenizerView,
    alignment: ChunkBounds | None = None,
    trained: str = "assistant",
    system: str = "own",
    student_template: str | None = None,
    teacher_template: str | None = None,
    name: str = "chat",
) -> AlignedText:
    """A chat under both tokenizers, cut into the chunks that both delimit.

    Contents are the same bytes on both sides. A structure that both sides have (a role's header, an
    end of turn) is one chunk, other tokens on each side; one that only one side has is in none.

    Args:
        messages: A chat, or a list of mappings with ``role`` and ``content``.
        student: The student's tokenizer.
        teacher: The teacher's tokenizer.
        alignment: Which common boundaries bound chunks; every one if None.
        trained: ``assistant``: its contents and the ends of its turns; ``all``: everything but the
            start, which nothing comes before.
        system: What becomes of a system message: ``own``, ``merge``, ``drop`` or ``error``.
        student_template: The student's template: a name, or Jinja; None for the tokenizer's own.
        teacher_template: The teacher's template, likewise.
        name: What an error calls the chat.

    Returns:
        Tokens, structure included, and chunks, with `trained` for each.

    Raises:
        BadChat: A message can't be used, or a template refuses or changes it.
        ValueError: A setting is none of those above, or there is no template.

    Example:
        >>> from alm_lightning.tokenization.load import load_tokenizer
        >>> view = load_tokenizer("bytes")
        >>> chat = [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "2"}]
        >>> aligned = align_messages(chat, student=view, teacher=view)
        >>> [aligned.chunk_bytes(chunk) for chunk in range(aligned.num_chunks)]
        [b'', b'1', b'+', b'1', b'?', b'', b'', b'2', b'']
        >>> aligned.trained.tolist()[-3:], aligned.is_structure.tolist()[-3:], aligned.coverage
        ([False, True, True], [True, False, True], 1.0)
    """
    if trained not in TRAINED:
        raise ValueError(f"trained is {trained!r}; expected one of {', '.join(TRAINED)}.")
    if system not in SYSTEM_POLICIES:
        raise ValueError(f"system is {system!r}; expected one of {', '.join(SYSTEM_POLICIES)}.")
    chat = messages if isinstance(messages, Chat) else Chat.of(messages, name)
    chat = SYSTEM_POLICIES[system](chat)
    templates = template_of(student, student_template), template_of(teacher, teacher_template)
    chat, renderings = rendered(chat, templates)
    student_turns = turns_of(student, renderings[0], chat.name)
    teacher_turns = turns_of(teacher, renderings[1], chat.name)
    return align_turns(
        [message.content.encode("utf-8") for message in chat.messages],
        (student, student_turns),
        (teacher, teacher_turns),
        is_trained=_trained_steps(chat, trained),
        alignment=alignment,
    )


def align_turns(
    contents: Sequence[bytes],
    student: tuple[TokenizerView, Turns],
    teacher: tuple[TokenizerView, Turns],
    *,
    is_trained: Bool[np.ndarray, " step"],
    alignment: ChunkBounds | None,
) -> AlignedText:
    """The chunks of a chat whose tokens are known on both sides.

    Args:
        contents: The bytes of each message.
        student: The student's tokenizer and tokens.
        teacher: The same of the teacher.
        is_trained: Whether each step is trained on.
        alignment: Which common boundaries bound chunks; every one if None.

    Returns:
        As `align_messages`.
    """
    sides = (student[1], teacher[1])
    steps = _Steps(contents, *sides)
    layout = ChatLayout(
        pairs=steps.starts[steps.is_paired],
        seams=steps.starts,
        trained=_trained_positions(steps, is_trained, sides),
        student_trained=_trained_tokens(student[1], is_trained),
    )
    return align_axis(
        b"".join(contents),
        steps.side(*student),
        steps.side(*teacher),
        alignment=alignment,
        chat=layout,
    )


def rendered(
    chat: Chat, templates: tuple[ChatTemplate, ChatTemplate]
) -> tuple[Chat, list[Rendering]]:
    """The chat with contents that both templates write as they are, and what they write."""
    # a template may strip one end, the other template the other one
    for _ in range(3):
        renderings = [template.render(chat) for template in templates]
        contents = tuple(
            min(pair, key=len) for pair in zip(*(r.contents for r in renderings), strict=True)
        )
        if contents == tuple(message.content for message in chat.messages):
            return chat, renderings
        for template, rendering in zip(templates, renderings, strict=True):
            if rendering.contents != tuple(message.content for message in chat.messages):
                _say_stripping(template)
        pairs = zip(chat.messages, contents, strict=True)
        chat = Chat(tuple(Message(old.role, content) for old, content in pairs), chat.name)
    raise BadChat(
        f"{chat.name}: the chat templates {templates[0].name} and {templates[1].name} strip its "
        "contents differently each time they are written. Choose other templates, or drop the chat."
    )


@lru_cache(maxsize=64)
def _say_stripping(template: ChatTemplate) -> None:
    log.warning(
        "the chat template %s strips whitespace off contents for tokenizer %s: both sides get them "
        "without it",
        template.name,
        template.view.name,
    )


def _trained_steps(chat: Chat, trained: str) -> Bool[np.ndarray, " step"]:
    flags = np.full(STEPS_PER_MESSAGE * len(chat.messages) + 1, trained == "all")
    for number, message in enumerate(chat.messages):
        if message.role == "assistant":
            flags[STEPS_PER_MESSAGE * number + SAYS] = True
            flags[STEPS_PER_MESSAGE * number + CLOSES] = True
    return flags


class _Steps:
    """The steps of a chat on the axis: contents by their bytes, structural pairs one each."""

    def __init__(self, contents: Sequence[bytes], student: Turns, teacher: Turns):
        num_steps = STEPS_PER_MESSAGE * len(contents) + 1
        self.is_content = np.arange(num_steps) % STEPS_PER_MESSAGE == SAYS
        self.is_paired = ~self.is_content
        for turns in (student, teacher):
            whole = turns.steps[turns.start_steps == turns.end_steps]
            self.is_paired &= np.bincount(whole, minlength=num_steps) > 0
        self.widths: Int[np.ndarray, " step"] = self.is_paired.astype(np.int64)
        self.widths[self.is_content] = [len(content) for content in contents]
        self.starts: Int[np.ndarray, " step"] = np.cumsum(self.widths) - self.widths

    def side(self, view: TokenizerView, turns: Turns) -> AxisSide:
        """One side's tokens on the axis."""
        is_mixed = turns.steps == NOWHERE
        is_content = self.is_content[turns.end_steps]
        paired = self.is_paired[turns.end_steps]
        # of a structure's tokens the last one ends it, unless the next one spans its end
        is_last = np.append(turns.steps[:-1] != turns.start_steps[1:], True)
        places = self.starts[turns.end_steps] + np.where(is_content, turns.ends, paired)
        bounds = (turns.ends >= 0) & (is_content | (paired & is_last & ~is_mixed))
        loose = ~is_content & ~paired & ~is_mixed & ~self.is_paired[turns.start_steps]
        # reaches into structure of this side alone, which has no width: what was before is over
        bounds |= (turns.start_steps != turns.end_steps) & ~is_content & ~paired & ~loose
        tokens = Encoding(
            ids=turns.ids,
            ends=np.where(bounds, places, INSIDE_REWRITE),
            rewritten_bytes=turns.rewritten_bytes,
            unknown=turns.unknown,
        )
        return AxisSide(view, tokens, SideStructure(loose, is_mixed))


def _trained_tokens(
    turns: Turns, is_trained: Bool[np.ndarray, " step"]
) -> Bool[np.ndarray, " pos"]:
    trained: Bool[np.ndarray, " pos"] = is_trained[turns.end_steps] & (turns.steps != NOWHERE)
    # nothing comes before the first token
    trained[:1] = False
    return trained


def _trained_positions(
    steps: _Steps, is_trained: Bool[np.ndarray, " step"], sides: Sequence[Turns]
) -> Bool[np.ndarray, " position"]:
    """Whether each position of the axis is trained on."""
    positions = np.repeat(is_trained, steps.widths)
    # nothing predicts the first token of a sequence: the chunk that holds it has no likelihood
    for side in sides:
        # none at all, where a template writes nothing around contents of nothing
        for first in side.end_steps[:1]:
            positions[steps.starts[first] : steps.starts[first] + 1] &= steps.widths[first] == 0
    return positions
