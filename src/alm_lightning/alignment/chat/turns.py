"""One side of a chat: its tokens, and the step of the conversation that each of them is part of.

What the model was trained on is the whole rendering, tokenized at once. Here it is the same, but
for one thing: special tokens are parsed in the structure alone, never in a content. So the
rendering is cut at the special tokens of its structure, and what lies between two of them,
structure and content together, is encoded as one text.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from alm_lightning.alignment.chat.fragments import Fragment, fragments, runs
from alm_lightning.tokenization.chat.template import Rendering
from alm_lightning.tokenization.encoding import INSIDE_REWRITE
from alm_lightning.tokenization.view import TokenizerView

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


def turns_of(view: TokenizerView, rendering: Rendering, name: str) -> Turns:
    """The tokens of a rendered chat.

    Args:
        view: The tokenizer.
        rendering: The chat, told apart into structure and content.
        name: What an error calls it.

    Returns:
        Its tokens and their steps.
    """
    # a chat may have no token at all, where a template writes nothing around contents of nothing
    dtypes = (np.int32, *[np.int64] * 4, np.bool_)
    columns = [[np.zeros(0, dtype)] for dtype in dtypes]
    rewritten = 0
    for number, run in enumerate(runs(list(fragments(view, rendering)))):
        if run[0].special_id is not None:
            step = np.array([run[0].step])
            id_ = np.array([run[0].special_id], dtype=np.int32)
            part = (id_, step, step, np.array([0]), step, np.zeros(1, bool))
        else:
            text = "".join(fragment.text for fragment in run)
            encoding = view.encode(text, name=name, continued=number > 0)
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


def _placed(
    run: Sequence[Fragment], ends: Int[np.ndarray, " pos"]
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
    contents_before = np.cumsum([0, *is_content])
    is_mixed = (first != last) & (contents_before[last + 1] > contents_before[first])
    steps = np.where(is_mixed, NOWHERE, steps_of[last])
    return steps, steps_of[first], placed, steps_of[last]


def _dummy(
    run: Sequence[Fragment], bounds: Int[np.ndarray, " fragment_plus_one"]
) -> Int[np.ndarray, " fragment"]:
    """How many bytes before its own each content was given: a dummy space."""
    lengths = np.array([len(fragment.text.encode("utf-8")) for fragment in run])
    return np.where([f.is_content for f in run], np.diff(bounds) - lengths, 0)


def _without_dummy_spaces(
    run: Sequence[Fragment],
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
        before = run[index - 1]
        if index == 0 or before.is_content or not before.text.endswith(" "):
            continue
        space = bounds[index] - 1
        spanning = np.flatnonzero((starts == space) & (ends > bounds[index]))
        if len(spanning):
            bounds[index] = space
    return bounds
