"""One side of a chat: its tokens, and the step of the conversation that each of them is part of.

What the model was trained on is the whole rendering, tokenized at once. Here it is the same, but
for one thing: special tokens are parsed in the structure alone, never in a content. So the
rendering is cut at the special tokens of its structure, and what lies between two of them,
structure and content together, is encoded as one text.

The steps of a chat of n messages are, for each, ``opens`` (a role's header; before the first also
a BOS and default system prompts), ``says`` (the content) and ``closes`` (up to the special token
after which a model stops), and at last a rest. Any of them but the contents may have no token.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Int

from alm_lightning.tokenization.chat_template import Rendering
from alm_lightning.tokenization.encoding import INSIDE_REWRITE
from alm_lightning.tokenization.view import TokenizerView

STEPS_PER_MESSAGE = 3
OPENS, SAYS, CLOSES = range(STEPS_PER_MESSAGE)

NOWHERE = -1
"""Step of a token that spans structure and content."""


@dataclass(frozen=True)
class Turns:
    """One side's tokens of a chat.

    Attributes:
        ids: All tokens, structure included.
        steps: The step that each token is part of, or `NOWHERE`.
        start_steps: The step that each token starts in.
        ends: Bytes of its step's content before the end of a content token; 0 for one that ends
            where structure ends; `INSIDE_REWRITE` for one that ends elsewhere in structure or
            in a stretch that was rewritten.
        end_steps: The step that each token ends in.
        unknown: Tokens that stand for no text.
        rewritten_bytes: Content and structure that the normaliser changed.
    """

    ids: Int[np.ndarray, " pos"]
    steps: Int[np.ndarray, " pos"]
    start_steps: Int[np.ndarray, " pos"]
    ends: Int[np.ndarray, " pos"]
    end_steps: Int[np.ndarray, " pos"]
    unknown: Bool[np.ndarray, " pos"]
    rewritten_bytes: int


@dataclass
class _Fragment:
    """A piece of the rendering: text of one step, or a special token of it."""

    step: int
    text: str
    special_id: int | None = None

    @property
    def is_content(self) -> bool:
        return self.step % STEPS_PER_MESSAGE == SAYS and self.special_id is None


def turns_of(view: TokenizerView, rendering: Rendering, name: str) -> Turns:
    """The tokens of a rendered chat.

    Args:
        view: The tokenizer.
        rendering: The chat, told apart into structure and content.
        name: What an error calls it.

    Returns:
        Its tokens and their steps.
    """
    columns: list[list[np.ndarray]] = [[] for _ in range(6)]
    rewritten = 0
    for run in _runs(list(_fragments(view, rendering))):
        if run[0].special_id is not None:
            step = np.array([run[0].step])
            id_ = np.array([run[0].special_id], dtype=np.int32)
            part = (id_, step, step, np.array([0]), step, np.zeros(1, bool))
        else:
            is_first = not columns[0]
            encoding = view.encode("".join(f.text for f in run), name=name, continued=not is_first)
            rewritten += encoding.rewritten_bytes
            unknown = encoding.unknown
            part = (
                encoding.ids,
                *_placed(run, encoding.ends),
                np.zeros(len(encoding.ids), bool) if unknown is None else unknown,
            )
        for column, values in zip(columns, part, strict=True):
            column.append(values)
    return Turns(*(np.concatenate(column) for column in columns), rewritten_bytes=rewritten)


def _fragments(view: TokenizerView, rendering: Rendering) -> Iterator[_Fragment]:
    """The rendering in pieces, each of one step."""
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
            yield _Fragment(step - STEPS_PER_MESSAGE + CLOSES if is_closing else step, text, index)
        if number < last:
            yield _Fragment(STEPS_PER_MESSAGE * number + SAYS, rendering.contents[number])


def _runs(fragments: Sequence[_Fragment]) -> Iterator[list[_Fragment]]:
    """Fragments that are encoded together: a special token alone, texts as far as they go."""
    run: list[_Fragment] = []
    for fragment in fragments:
        if fragment.special_id is None:
            # nothing is nothing, but an empty content still has its place on the axis
            run += [fragment] if fragment.text else []
            continue
        if run:
            yield run
        yield [fragment]
        run = []
    if run:
        yield run


def _placed(
    run: Sequence[_Fragment], ends: Int[np.ndarray, " pos"]
) -> tuple[Int[np.ndarray, " pos"], ...]:
    """Steps, end and end's step of each token of a run, from its byte ends in the run's text."""
    bounds = np.cumsum([0, *(len(f.text.encode("utf-8")) for f in run)])
    steps_of = np.array([fragment.step for fragment in run])
    is_content = np.array([fragment.is_content for fragment in run])
    # inside a rewritten stretch: the token lies where the next known end is
    known = ends >= 0
    later = np.minimum.accumulate(np.where(known, ends, bounds[-1])[::-1])[::-1]
    starts = np.concatenate([[0], np.maximum.accumulate(np.where(known, ends, 0))[:-1]])
    bounds = _without_dummy_spaces(run, bounds, starts, later, is_content)
    last = np.minimum(np.searchsorted(bounds, later, side="left") - 1, len(run) - 1)
    last = np.maximum(last, 0)
    first = np.minimum(np.searchsorted(bounds, starts, side="right") - 1, last)
    # a content's own bytes; at its end the count is the whole content
    inside = np.where(is_content[last], later - bounds[last] - _dummy(run, bounds)[last], 0)
    at_end = later == bounds[last + 1]
    # a dummy space that is a token of its own spells nothing, and bounds nothing
    bounds_something = known & (ends > starts) & (is_content[last] | at_end)
    placed = np.where(bounds_something, inside, INSIDE_REWRITE)
    kinds = np.where(is_content, steps_of, -2)
    is_mixed = (first != last) & (kinds[first] != kinds[last])
    steps = np.where(is_mixed, NOWHERE, steps_of[last])
    return steps, steps_of[first], placed, steps_of[last]


def _dummy(
    run: Sequence[_Fragment], bounds: Int[np.ndarray, " fragment_plus_one"]
) -> Int[np.ndarray, " fragment"]:
    """How many bytes before its own each content was given: a dummy space."""
    lengths = np.array([len(fragment.text.encode("utf-8")) for fragment in run])
    return np.where([f.is_content for f in run], np.diff(bounds) - lengths, 0)


def _without_dummy_spaces(
    run: Sequence[_Fragment],
    bounds: Int[np.ndarray, " fragment_plus_one"],
    starts: Int[np.ndarray, " pos"],
    ends: Int[np.ndarray, " pos"],
    is_content: Bool[np.ndarray, " fragment"],
) -> Int[np.ndarray, " fragment_plus_one"]:
    """Bounds of fragments, with a space before a content given to the content.

    Where a template writes a space before a content, and a token begins with that space, it is
    the dummy space that such a tokenizer puts before a word: it stands for nothing.
    """
    bounds = bounds.copy()
    for index in np.flatnonzero(is_content):
        if index == 0 or not run[index - 1].text.endswith(" "):
            continue
        space = bounds[index] - 1
        spanning = np.flatnonzero((starts == space) & (ends > bounds[index]))
        if len(spanning):
            bounds[index] = space
    return bounds


def _cut_at_specials(view: TokenizerView, text: str) -> Iterator[tuple[str, int | None]]:
    """Structure in pieces: texts, and special tokens with their ids."""
    place = 0
    for found in _specials(view).finditer(text):
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
