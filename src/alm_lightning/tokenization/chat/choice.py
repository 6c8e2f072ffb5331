"""Which template a tokenizer's chats are written in: its own, a named or a given one."""

import logging
from functools import lru_cache

from alm_lightning.tokenization.chat.formats import FORMATS, fitting
from alm_lightning.tokenization.chat.template import ChatTemplate
from alm_lightning.tokenization.view import TokenizerView

log = logging.getLogger(__name__)

WHERE = (
    "The template is chosen by student_template and teacher_template (of chat; null for the "
    "tokenizer's own), or for a student that keeps its tokenizer by chat_template "
    "(tokenizer.chat_template). With "
    "special_tokens='keep' (tokenizer.special_tokens) a student with a new tokenizer has the "
    "special tokens and the template of its old one."
)
"""How a template is chosen."""


@lru_cache(maxsize=64)
def template_of(view: TokenizerView, choice: str | None) -> ChatTemplate:
    """The template to write chats for a tokenizer with.

    The choice is a name of `FORMATS`, a template in Jinja, or None for the tokenizer's own. A
    tokenizer that has none, and has the special tokens of one format, gets that one, and the log
    says so. A ValueError if there is no such format, the tokenizer lacks special tokens that it
    needs, or there is nothing to choose by.
    """
    if choice is None:
        return _own(view)
    if choice in FORMATS:
        missing = [t for t in FORMATS[choice].special_tokens if t not in view.special_ids]
        missing += [f"{role}_token" for role in _roles_of(choice) if role not in view.roles]
        if missing:
            raise ValueError(
                f"the chat format '{choice}' needs the special tokens {', '.join(missing)}, which "
                f"tokenizer {view.name!r} does not have. Take another format, the tokenizer's own "
                f"template, or add the tokens to it. {WHERE}"
            )
        return ChatTemplate(view, FORMATS[choice].jinja, f"'{choice}'")
    if "{{" not in choice and "{%" not in choice:
        raise ValueError(
            f"there is no chat format {choice!r}. Take one of {', '.join(FORMATS)}, a template in "
            "Jinja, or none, for the tokenizer's own."
        )
    return ChatTemplate(view, choice, "that was given")


def _roles_of(choice: str) -> list[str]:
    return [role for role in ("bos", "eos") if f"{role}_token" in FORMATS[choice].jinja]


def _own(view: TokenizerView) -> ChatTemplate:
    own = view.hf.chat_template
    if isinstance(own, dict):
        # several templates of one tokenizer: for tools, for retrieval
        own = own.get("default")
    if own is not None:
        return ChatTemplate(view, own, f"of tokenizer {view.name!r}")
    names = fitting(view.special_ids)
    if len(names) != 1:
        raise ValueError(
            f"tokenizer {view.name!r} has no chat template, and its special tokens fit "
            f"{' and '.join(names) or 'no format that is known here'}. Choose one for its side "
            f"(student_template, teacher_template): {', '.join(FORMATS)}, or a template in Jinja. "
            f"{WHERE}"
        )
    log.warning(
        "tokenizer %s has no chat template of its own: taking the format '%s', whose special "
        "tokens it has",
        view.name,
        names[0],
    )
    return template_of(view, names[0])
