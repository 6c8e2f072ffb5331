"""Which special token of an old tokenizer does what one of a new tokenizer does."""

import json
import logging
from collections.abc import Sequence

from tokenizers import models

from alm_lightning.tokenization.chat.formats import END, MARKS, START, fitting
from alm_lightning.tokenization.view import TokenizerView

log = logging.getLogger(__name__)

KEEP, REPLACE = "keep", "replace"
"""Whose special tokens a new tokenizer has: those of the old one, or its own."""

ROLES = ("eos", "bos", "pad")
"""Roles of a view; a token that has several is taken for the first of them."""


def old_special_ids(old: TokenizerView, new: TokenizerView) -> dict[int, int]:
    """For special tokens of a new tokenizer, those of an old one that do the same.

    A token is recognised by its text; else by its role (where the old tokenizer has no BOS or no
    pad token, its EOS plays that role); else as the unknown token; else by what it marks in a chat.
    A BOS that the new tokenizer never prepends, and that begins turns, is a mark first.

    Args:
        old: The tokenizer that a model was trained with.
        new: The one that it gets.

    Returns:
        Ids of `new`, with ids of `old`. Special tokens without a counterpart are absent.

    Example:
        >>> from alm_lightning.tokenization.bytes.view import byte_view
        >>> chatml = byte_view(other_specials=["<|im_start|>", "<|im_end|>"])
        >>> gemma = byte_view(other_specials=["<end_of_turn>", "<start_of_turn>", "<mask>"])
        >>> old_special_ids(chatml, gemma)
        {256: 256, 257: 257, 258: 258, 259: 260, 260: 259}
    """
    marked = _marked(old)
    meanings = _meanings(new)
    unknowns = {unknown_id(new): unknown_id(old)}
    found = {}
    for text, index in new.special_ids.items():
        candidates = (
            old.special_ids.get(text),
            marked.get(meanings.get(text, "")) if _only_marks(new, index) else None,
            _by_role(old, new, index),
            unknowns.get(index),
            marked.get(meanings.get(text, "")),
        )
        known = [candidate for candidate in candidates if candidate is not None]
        if known:
            found[index] = known[0]
    return found


def stop_ids(old: TokenizerView, new: TokenizerView, stop_tokens: Sequence[str]) -> list[int]:
    """Where generation with a new tokenizer stops, given special tokens where the old one did.

    Ids of `new`, in the order of `stop_tokens`: the token of the same text, else all that do what
    the old one did. A stop token without a counterpart is left out, with a warning.
    """
    check_known(old, stop_tokens, "stop_tokens (student.stop_tokens)")
    fillers = {index for role, index in new.roles.items() if role != "eos"}
    fillers -= {new.roles.get("eos")}
    counterparts = old_special_ids(old, new)
    found: list[int] = []
    for text in stop_tokens:
        same = new.special_ids.get(text)
        like = [
            index
            for index, known in counterparts.items()
            # a pad token may be known as an EOS that padded: it ends nothing
            if known == old.special_ids[text] and index not in fillers
        ]
        ids = like if same is None else [same]
        if not ids:
            log.warning(
                "tokenizer %s has no special token for the stop token %s of %s: generation with "
                "it can't stop there. Keep the token (special_tokens, or student.special_tokens), "
                "or train with chats whose end of a turn it has.",
                new.name,
                text,
                old.name,
            )
        found += ids
    return list(dict.fromkeys(found))


def check_known(old: TokenizerView, texts: Sequence[str], setting: str) -> None:
    """Refuses special tokens that a tokenizer does not have; `setting` is what named them."""
    missing = [text for text in texts if text not in old.special_ids]
    if missing:
        raise ValueError(
            f"tokenizer {old.name!r} has no special tokens {missing}, which {setting} asks for. "
            "Leave them out, or check their spelling."
        )


def check_choice(special_tokens: str) -> None:
    """Refuses what is neither `KEEP` nor `REPLACE`."""
    if special_tokens not in (KEEP, REPLACE):
        raise ValueError(
            f"special_tokens is {special_tokens!r}: expected {KEEP!r}, for the special tokens of "
            f"the old tokenizer, or {REPLACE!r}, for those of the new one "
            "(tokenizer.special_tokens)."
        )


def unknown_id(view: TokenizerView) -> int | None:
    """The id that a tokenizer gives to what it can't spell; None where its model has none."""
    backend = view.hf.backend_tokenizer
    if isinstance(backend.model, models.Unigram):
        index: int | None = json.loads(backend.to_str())["model"]["unk_id"]
        return index
    content = backend.model.unk_token
    return None if content is None else backend.token_to_id(content)


def _by_role(old: TokenizerView, new: TokenizerView, index: int) -> int | None:
    for role in ROLES:
        if new.roles.get(role) == index:
            return old.roles.get(role, old.roles.get("eos"))
    return None


def _only_marks(view: TokenizerView, index: int) -> bool:
    """Whether a token has the role of BOS in name alone, as SmolLM2's."""
    roles = {role for role, known in view.roles.items() if known == index}
    return roles == {"bos"} and not view.prepends_bos


def _meanings(view: TokenizerView) -> dict[str, str]:
    """What the special tokens of a tokenizer mark in a chat."""
    formats = fitting(view.special_ids)
    return {text: meaning for name in formats for text, meaning in MARKS[name].items()}


def _marked(view: TokenizerView) -> dict[str, int]:
    """By what they mark in a chat, the special tokens of a tokenizer."""
    marked: dict[str, int] = {}
    for text, meaning in _meanings(view).items():
        marked.setdefault(meaning, view.special_ids[text])
    if START in marked and END not in marked and "eos" in view.roles:
        marked[END] = view.roles["eos"]
    return marked
