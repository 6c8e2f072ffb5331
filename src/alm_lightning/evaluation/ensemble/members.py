"""Whether models can be combined token by token, and the ensemble of those that can."""

import logging
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from alm_lightning.evaluation.ensemble import Ensemble
from alm_lightning.evaluation.evaluated_model import EvaluatedModel
from alm_lightning.tokenization.validation import AWKWARD
from alm_lightning.tokenization.view import TokenizerView

log = logging.getLogger(__name__)

REMEDY = (
    "Members of an ensemble share one tokenizer, so that a token is the same on all sides. Bring "
    "them together first: move one to the other's tokenizer, as `python train.py "
    "experiment=gemma_to_smollm2_tokenizer tokenizer.special_tokens=replace student=<member to "
    "move> tokenizer=<the other's tokenizer>` does with Gemma 3 and SmolLM2's, or all to bytes "
    "(`experiment=gemma_to_bytes tokenizer.special_tokens=replace student=...`)."
)
"""How models come to share a tokenizer."""

SPECIALS = (
    "Students made with tokenizer.special_tokens=keep have the special tokens of the models that "
    "they were: move both with tokenizer.special_tokens=replace."
)
"""What is likely where special tokens differ."""


def check_same_tokenizer(members: Sequence[tuple[str, TokenizerView]]) -> None:
    """Refuses models of which two differ in an id, a special token, or in how they split texts."""
    (first, view), *others = members
    for other, other_view in others:
        difference = _difference(view, other_view)
        if difference:
            raise ValueError(f"{first} and {other} can't be combined: {difference}\n{REMEDY}")
        if view.start_id != other_view.start_id:
            starts = [stands_for(each, each.start_id) for each in (view, other_view)]
            log.warning(
                "texts of %s begin with %s and those of %s with %s: in the ensemble both read %s",
                first,
                starts[0],
                other,
                starts[1],
                starts[0],
            )


def ensemble_of(
    evaluated_models: Sequence[EvaluatedModel],
    combine: str,
    weights: Sequence[float | int] | None,
    name: str,
) -> EvaluatedModel:
    """An ensemble, as a model to evaluate. It stops at the stop tokens of all members.

    A ValueError says that members do not share a tokenizer, or that weights do not fit.
    """
    check_same_tokenizer([(evaluated.name, evaluated.view) for evaluated in evaluated_models])
    view = evaluated_models[0].view
    names = [evaluated.name for evaluated in evaluated_models]
    model = Ensemble(
        [evaluated.model for evaluated in evaluated_models],
        combine,
        weights,
        view=view,
        names=names,
    )
    shares = ", ".join(
        f"{member} {weight:.3f}" for member, weight in zip(names, model.weights, strict=True)
    )
    stops = [index for evaluated in evaluated_models for index in evaluated.stop_ids]
    return EvaluatedModel(
        name=name,
        model=model,
        view=view,
        described=f"{combine} of {shares}",
        stop_ids=tuple(dict.fromkeys(stops)),
    )


def _difference(first: TokenizerView, other: TokenizerView) -> str | None:
    """The first thing that two tokenizers do not share, in words."""
    if first.fingerprint == other.fingerprint:
        return None
    for index in range(min(first.num_tokens, other.num_tokens)):
        meanings = [stands_for(view, index) for view in (first, other)]
        if meanings[0] != meanings[1]:
            text = f"id {index} stands for {meanings[0]} there and for {meanings[1]} here."
            is_special = any(index in view.special_ids.values() for view in (first, other))
            return f"{text} {SPECIALS}" if is_special else text
    if first.num_tokens != other.num_tokens:
        longer = max(first, other, key=lambda view: view.num_tokens)
        index = min(first.num_tokens, other.num_tokens)
        text = (
            f"their tokenizers have {first.num_tokens:,} and {other.num_tokens:,} tokens, of which "
            f"the first {index:,} are the same; id {index} stands for {stands_for(longer, index)} "
            "in the longer one alone."
        )
        return f"{text} {SPECIALS}" if index in longer.special_ids.values() else text
    for what, text in {**AWKWARD, "the texts of all tokens": _all_texts(first)}.items():
        ids = [view.encode(text).ids for view in (first, other)]
        if not np.array_equal(*ids):
            return (
                "their tokens are the same, but the merges, the normaliser or the pre-tokenizer "
                f"differ: one splits {what} into {len(ids[0]):,} tokens, the other into "
                f"{len(ids[1]):,}, of which {_first_different(first, *ids)} are the first that "
                "differ."
            )
    log.warning(
        "tokenizers %s and %s have the same tokens and settings that differ, though they split all "
        "tested texts alike",
        first.name,
        other.name,
    )
    return None


def _all_texts(view: TokenizerView) -> str:
    """A text that needs every merge: all tokens joined, without incomplete characters."""
    return b"".join(surface for surface in view.token_bytes if surface).decode("utf-8", "ignore")


def _first_different(
    view: TokenizerView, ids: Int[np.ndarray, " pos"], others: Int[np.ndarray, " other_pos"]
) -> str:
    length = min(len(ids), len(others))
    places = np.flatnonzero(ids[:length] != others[:length])
    place = int(places[0]) if len(places) else length
    tokens = [
        stands_for(view, int(each[place])) if place < len(each) else "the end"
        for each in (ids, others)
    ]
    return " and ".join(tokens)


def stands_for(view: TokenizerView, index: int) -> str:
    """What an id stands for, in words: its bytes, a special token, or no token."""
    surface = view.token_bytes[index]
    if surface is not None:
        return repr(bytes(surface))
    texts = [text for text, special in view.special_ids.items() if special == index]
    return f"the special token {texts[0]}" if texts else "no token"
