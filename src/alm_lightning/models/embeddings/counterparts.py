"""Which tokens of two vocabularies stand for the same bytes."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Int

from alm_lightning.tokenization.view import TokenizerView

NONE = -1
"""Old id of a new id that has no counterpart."""


def same_bytes(old: TokenizerView, new: TokenizerView) -> Int[np.ndarray, " new_vocab"]:
    """For each id of a new vocabulary the old token that stands for the same bytes.

    Several tokens may stand for the same bytes: Gemma spells ``A`` by that letter's token, and has
    a byte-fallback token ``<0x41>`` that it never needs. An ordinary token is an ordinary one's
    counterpart then, and a fallback a fallback's; where the other vocabulary has only the other
    kind, that one. Among equals the lowest id.

    Args:
        old: The tokenizer that a model was trained with.
        new: The tokenizer that it gets.

    Returns:
        Old ids; `NONE` for special tokens, for ids that no token has, and for tokens without a
        counterpart.
    """
    ordinary, fallback = ids_of_bytes(old)
    in_order = (ordinary, fallback), (fallback, ordinary)
    found = np.full(new.num_tokens, NONE, dtype=np.int64)
    for index, surface in enumerate(new.token_bytes):
        if surface is not None:
            first, second = in_order[index in new.fallback_ids]
            found[index] = first.get(surface, second.get(surface, NONE))
    return found


def ids_of_bytes(view: TokenizerView) -> tuple[Mapping[bytes, int], Mapping[bytes, int]]:
    """The tokens of a vocabulary by what they stand for.

    Args:
        view: The tokenizer.

    Returns:
        From bytes to the lowest id, of ordinary tokens and of byte-fallback tokens.
    """
    ordinary: dict[bytes, int] = {}
    fallback: dict[bytes, int] = {}
    for index, surface in enumerate(view.token_bytes):
        if surface is not None:
            (fallback if index in view.fallback_ids else ordinary).setdefault(surface, index)
    return ordinary, fallback
