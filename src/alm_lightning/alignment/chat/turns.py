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
from alm_lightning.tokenization.rewrite import INSIDE_REWRITE
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
    """The tokens of a rendered chat and their steps; `name` is what an error calls it."""
    return turns_of_fragments(view, list(fragments(view, rendering)), name)


def turns_of_fragments(
    view: TokenizerView, pieces: Sequence[Fragment], name: str, *, continued: bool = False
) -> Turns:
    """The tokens of fragments that follow each other.

    Args:
        view: The tokenizer.
        pieces: A rendered chat, or a part of one.
        name: What an error calls it.
        continued: Whether something comes before them.

    Returns:
        Tokens and their steps.
    """
    parts = []
    for number, run in enumerate(runs(pieces)):
        special_id = run[0].special_id
        if special_id is None:
            parts.append(_turns_of_text(view, run, name, continued=continued or number > 0))
        else:
            step = np.array([run[0].step])
            ids = np.array([special_id], dtype=np.int32)
            parts.append(Turns(ids, step, step, np.array([0]), step, np.zeros(1, bool), 0))
    return joined(parts)


def joined(parts: Sequence[Turns]) -> Turns:
    """Parts of a chat, one after another."""
    parts = [_NO_TURNS, *parts]
    return Turns(
        ids=np.concatenate([part.ids for part in parts]),
        steps=np.concatenate([part.steps for part in parts]),
        start_steps=np.concatenate([part.start_steps for part in parts]),
        ends=np.concatenate([part.ends for part in parts]),
        end_steps=np.concatenate([part.end_steps for part in parts]),
        unknown=np.concatenate([part.unknown for part in parts]),
        rewritten_bytes=sum(part.rewritten_bytes for part in parts),
    )


_NONE = np.zeros(0, np.int64)
# a chat may have no token at all, where a template writes nothing around contents of nothing
_NO_TURNS = Turns(_NONE.astype(np.int32), _NONE, _NONE, _NONE, _NONE, _NONE.astype(bool), 0)


def _turns_of_text(
    view: TokenizerView, run: Sequence[Fragment], name: str, *, continued: bool
) -> Turns:
    """The tokens of texts that are encoded together."""
    encoding = view.encode("".join(f.text for f in run), name=name, continued=continued)
    unknown = encoding.unknown
    if unknown is None:
        unknown = np.zeros(len(encoding.ids), bool)
    placed = _placed(run, encoding.ends)
    return Turns(encoding.ids, *placed, unknown=unknown, rewritten_bytes=encoding.rewritten_bytes)


def _placed(
    run: Sequence[Fragment], ends: Int[np.ndarray, " pos"]
) -> tuple[
    Int[np.ndarray, " pos"],
    Int[np.ndarray, " pos"],
    Int[np.ndarray, " pos"],
    Int[np.ndarray, " pos"],
]:
    """Of each token of a run `steps`, `start_steps`, `ends`, `end_steps`, from its byte ends."""
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
    for index in np.flatnonzero(is_content).tolist():
        before = run[index - 1]
        if index == 0 or before.is_content or not before.text.endswith(" "):
            continue
        space = bounds[index] - 1
        spanning = np.flatnonzero((starts == space) & (ends > bounds[index]))
        if len(spanning):
            bounds[index] = space
    return bounds
