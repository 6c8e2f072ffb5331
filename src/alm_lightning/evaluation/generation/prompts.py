"""Prompts: a text or a chat, as the ids that a model continues."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from alm_lightning.alignment.chat.turns import turns_of
from alm_lightning.corpus.chat import BadChat, Chat
from alm_lightning.corpus.document import CorpusError, shortened
from alm_lightning.evaluation.evaluated_model import EvaluatedModel
from alm_lightning.evaluation.texts import json_lines
from alm_lightning.tokenization.chat.choice import template_of
from alm_lightning.tokenization.chat.template import FAILURES, ChatTemplate

Prompt = str | Sequence[Mapping[str, str]]
"""A text to continue, or the messages of a chat to answer."""

EXPECTED = '{"prompt": "..."} or {"messages": [...]} (prompts: harness.generate.prompts)'


def prompt_ids(evaluated: EvaluatedModel, prompt: Prompt, *, name: str = "prompt") -> list[int]:
    """The token ids of a prompt.

    A text begins with the token that every document begins with. A chat is written by the
    tokenizer's template (a tokenizer without one, with the special tokens of one known format, gets
    that format's), up to where the assistant's answer begins, and tokenized as in training: what
    looks like a special token is one in the template's own text alone. A ValueError says that no
    template is known for the tokenizer, or that it refuses the chat; it calls the prompt `name`.
    """
    view = evaluated.view
    if isinstance(prompt, str):
        encoded = view.encode(prompt, name=name).ids.tolist() if prompt else []
        return [view.start_id, *encoded]
    template = template_of(view, None)
    chat = Chat.of(prompt, name)
    rendering = template.render(chat)
    gaps = (*rendering.gaps[:-1], rendering.gaps[-1] + _opening(template, chat))
    return turns_of(view, replace(rendering, gaps=gaps), name).ids.tolist()


def _opening(template: ChatTemplate, chat: Chat) -> str:
    """What a template writes before an answer, after the last message."""
    conversation = [{"role": m.role, "content": m.content} for m in chat.messages]
    try:
        asking = template.apply(conversation, add_generation_prompt=True)
    except FAILURES as error:
        raise BadChat(
            f"{chat.name}: the chat template {template.name} does not open an answer: {error}."
        ) from error
    written = template.write(chat.messages)
    if not asking.startswith(written):
        raise BadChat(
            f"{chat.name}: the chat template {template.name} writes the chat in another way when "
            "an answer is to follow. Give the whole prompt as text instead."
        )
    return asking[len(written) :]


def read_prompts(path: Path, *, chat: bool) -> list[Prompt]:
    """The prompts of a file of JSON lines; with `chat`, a text is what a user says.

    Of a chat that ends with an answer, that is left out: it is asked for another one.

    A CorpusError says that there is no such file, or that one of its lines is not a prompt.
    """
    prompts = [_of_row(row, name, chat=chat) for name, row in json_lines(path, EXPECTED)]
    if not prompts:
        raise CorpusError(f"{path} holds no prompts. Expected one JSON object a line.")
    return prompts


def _of_row(row: Mapping[str, object], name: str, *, chat: bool) -> Prompt:
    if len({"prompt", "messages"} & set(row)) != 1:
        raise CorpusError(f"{name}: found {shortened(dict(row))}; expected {EXPECTED}.")
    if "messages" in row:
        # checked here, before the first prompt is answered
        return unanswered(Chat.of(row["messages"], name))
    if not isinstance(row["prompt"], str):
        raise CorpusError(f"{name}: the prompt is {shortened(row['prompt'])}; expected a text.")
    return as_user(row["prompt"]) if chat else row["prompt"]


def unanswered(chat: Chat) -> list[dict[str, str]]:
    """The messages of a chat without the answer at its end, which a model is to give.

    Args:
        chat: The chat.

    Returns:
        Its messages, at least one.

    Raises:
        CorpusError: There is nothing but answers.
    """
    messages = list(chat.messages)
    while messages and messages[-1].role == "assistant":
        messages.pop()
    if not messages:
        raise CorpusError(f"{chat.name}: the chat has nothing but answers, so nothing is asked.")
    return [{"role": each.role, "content": each.content} for each in messages]


def as_user(text: str) -> Prompt:
    """A text as the only message of a chat."""
    return [{"role": "user", "content": text}]
