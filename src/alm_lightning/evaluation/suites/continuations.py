"""A text and what follows it, as tokens: which of them are scored as what follows."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from alm_lightning.alignment.chat.fragments import SAYS, STEPS_PER_MESSAGE
from alm_lightning.alignment.chat.turns import turns_of
from alm_lightning.tokenization.chat.template import Rendering
from alm_lightning.tokenization.view import TokenizerView


@dataclass(frozen=True, eq=False)
class Continuation:
    """Tokens of a context and of what follows it.

    Attributes:
        ids: All of them, up to the last one of what follows.
        first: The first one of what follows, at least 1; as many as there are ids if it is nothing.
        crosses: Whether that token, or the last one, spells bytes of what is around it as well.
    """

    ids: Int[np.ndarray, " pos"]
    first: int
    crosses: bool = False


def text_continuation(
    view: TokenizerView, context: str, continuation: str, name: str, *, always_start: bool
) -> Continuation:
    """What follows a text, both tokenized as one.

    A token that spells the end of the context and the beginning of what follows is one of what
    follows: every byte of that is in exactly one scored token.

    Args:
        view: The tokenizer.
        context: What is read; may be empty.
        continuation: What is scored.
        name: What an error calls them.
        always_start: Whether a start token goes first in any case; else where the tokenizer
            prepends one, and before a context that is empty.

    Returns:
        The tokens.
    """
    whole = context + continuation
    encoding = view.encode(whole, name=name) if whole else None
    ids = np.zeros(0, np.int64) if encoding is None else encoding.ids
    border = len(context.encode("utf-8"))
    # the end of a token in a rewritten stretch is not known; such ones after the last known end
    # before the border may be of what follows
    ends = np.zeros(0, np.int64) if encoding is None else encoding.ends
    before = np.flatnonzero((ends >= 0) & (ends <= border))
    first = int(before[-1]) + 1 if len(before) and border else 0
    crosses = first < len(ids) and (int(ends[first - 1]) if first else 0) != border
    if always_start or view.prepends_bos or first == 0:
        ids, first = np.concatenate([[view.start_id], ids]), first + 1
    return Continuation(ids, first, crosses)


def last_content(view: TokenizerView, rendering: Rendering, name: str) -> Continuation:
    """The content of a chat's last message, after all before it and without what ends it."""
    turns = turns_of(view, rendering, name)
    step = STEPS_PER_MESSAGE * (len(rendering.contents) - 1) + SAYS
    starts, ends = turns.start_steps == step, turns.end_steps == step
    own = np.flatnonzero(starts | ends)
    if not len(own):
        return Continuation(turns.ids, len(turns.ids))
    ids, first = turns.ids[: own[-1] + 1], int(own[0])
    crosses = bool((starts != ends)[own].any())
    if first == 0:
        ids, first = np.concatenate([[view.start_id], ids]), 1
    return Continuation(ids, first, crosses)
