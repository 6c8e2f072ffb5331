"""A rendered chat in fragments: texts and special tokens, each of one step of the conversation.

The steps of a chat of n messages are, for each, ``opens`` (a role's header; before the first also
a BOS and default system prompts), ``says`` (the content) and ``closes`` (up to the special token
after which a model stops), and at last a rest. Any of them but the contents may have no token.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from alm_lightning.tokenization.chat.template import Rendering
from alm_lightning.tokenization.view import TokenizerView

STEPS_PER_MESSAGE = 3
OPENS, SAYS, CLOSES = range(STEPS_PER_MESSAGE)


@dataclass(frozen=True)
class Fragment:
    """A piece of the rendering: text of one step, or a special token of it.

    Attributes:
        step: The step.
        text: Its text.
        special_id: The special token that it is, if it is one.
    """

    step: int
    text: str
    special_id: int | None = None

    @property
    def is_content(self) -> bool:
        """Whether it is a message's content."""
        return self.step % STEPS_PER_MESSAGE == SAYS and self.special_id is None


def fragments(view: TokenizerView, rendering: Rendering) -> Iterator[Fragment]:
    """The rendering in pieces, in order, each of one step."""
    last = len(rendering.contents)
    for number, gap in enumerate(rendering.gaps):
        pieces = list(_cut_at_specials(view, gap))
        step = STEPS_PER_MESSAGE * number + OPENS
        specials = [place for place, (_, index) in enumerate(pieces) if index is not None]
        # the gap after a content closes its turn up to the first special token; without one, what
        # follows the last content closes it, and what follows another opens the next
        num_closing = 0
        if number > 0:
            num_closing = specials[0] + 1 if specials else len(pieces) * (number == last)
        for place, (text, index) in enumerate(pieces):
            is_closing = place < num_closing
            yield Fragment(step - STEPS_PER_MESSAGE + CLOSES if is_closing else step, text, index)
        if number < last:
            yield Fragment(STEPS_PER_MESSAGE * number + SAYS, rendering.contents[number])


def runs(pieces: Sequence[Fragment]) -> Iterator[list[Fragment]]:
    """Fragments that are encoded together: a special token alone, texts up to the next one.

    An empty text is in no run.
    """
    run: list[Fragment] = []
    for fragment in pieces:
        if fragment.special_id is None:
            run += [fragment] if fragment.text else []
            continue
        if run:
            yield run
        yield [fragment]
        run = []
    if run:
        yield run


def _cut_at_specials(view: TokenizerView, text: str) -> Iterator[tuple[str, int | None]]:
    """Structure in pieces: texts, and special tokens with their ids."""
    place = 0
    # without special tokens the pattern would match the empty text
    for found in _specials(view).finditer(text) if view.special_ids else ():
        if found.start() > place:
            yield text[place : found.start()], None
        content = found["special"]
        yield content, view.special_ids[content]
        place = found.end()
    if place < len(text):
        yield text[place:], None


@lru_cache(maxsize=16)
def _specials(view: TokenizerView) -> re.Pattern[str]:
    """Matches a special token, the longest first, with the whitespace that it swallows."""
    added = view.hf.backend_tokenizer.get_added_tokens_decoder()
    contents = sorted(view.special_ids, key=len, reverse=True)
    flags = {token.content: token for token in added.values()}
    left = [re.escape(c) for c in contents if c in flags and flags[c].lstrip]
    right = [re.escape(c) for c in contents if c in flags and flags[c].rstrip]
    any_of = "|".join(map(re.escape, contents))
    before = rf"(?:\s*(?={'|'.join(left)}))?" if left else ""
    behind = "|".join(f"(?<={content})" for content in right)
    after = rf"(?:(?:{behind})\s*)?" if right else ""
    return re.compile(rf"{before}(?P<special>{any_of}){after}")
