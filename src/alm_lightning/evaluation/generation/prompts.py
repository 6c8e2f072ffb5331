"""Prompts: a text or a chat, as the ids that a model continues."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from alm_lightning.alignment.chat.turns import turns_of
from alm_lightning.corpus.chat import BadChat, Chat
from alm_lightning.corpus.document import CorpusError, decode, shortened
from alm_lightning.corpus.sources.compression import opened
from alm_lightning.evaluation.evaluated_model import EvaluatedModel
from alm_lightning.tokenization.chat.choice import template_of
from alm_lightning.tokenization.chat.template import FAILURES, ChatTemplate

Prompt = str | Sequence[Mapping[str, str]]
"""A text to continue, or the messages of a chat to answer."""


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
        asking = template.view.hf.apply_chat_template(
            conversation, chat_template=template.jinja, tokenize=False, add_generation_prompt=True
        )
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
    """The prompts of a file.

    Args:
        path: A file with one JSON object a line: ``{"prompt": "..."}`` or ``{"messages": [...]}``.
        chat: Whether a text is what a user says in a chat.

    Returns:
        The prompts, in order; blank lines are skipped.

    Raises:
        CorpusError: There is no such file, or one of its lines is not a prompt.
    """
    if not path.is_file():
        raise CorpusError(
            f"prompts={path} (harness.generate.prompts): there is no such file. Expected one JSON "
            'object a line: {"prompt": "..."} or {"messages": [...]}.'
        )
    prompts: list[Prompt] = []
    # lines of bytes end at a line end alone: str.splitlines would cut texts at U+2028, too
    with opened(path) as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                name = f"{path}:{number}"
                prompts.append(_of_line(decode(line, name), name, chat=chat))
    if not prompts:
        raise CorpusError(f"{path} holds no prompts. Expected one JSON object a line.")
    return prompts


def _of_line(line: str, name: str, *, chat: bool) -> Prompt:
    expected = 'expected {"prompt": "..."} or {"messages": [...]}'
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise CorpusError(f"{name}: not JSON ({error}): {expected}.") from error
    if not isinstance(value, dict) or len({"prompt", "messages"} & set(value)) != 1:
        raise CorpusError(f"{name}: found {shortened(value)}; {expected}.")
    if "messages" in value:
        # checked here, before the first prompt is answered
        return [
            {"role": message.role, "content": message.content}
            for message in Chat.of(value["messages"], name).messages
        ]
    if not isinstance(value["prompt"], str):
        raise CorpusError(f"{name}: the prompt is {shortened(value['prompt'])}; expected a text.")
    return as_user(value["prompt"]) if chat else value["prompt"]


def as_user(text: str) -> Prompt:
    """A text as the only message of a chat."""
    return [{"role": "user", "content": text}]
