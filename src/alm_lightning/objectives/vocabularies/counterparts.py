"""For each token of one vocabulary a token of another: the same bytes, or a beginning of them."""

import numpy as np
from jaxtyping import Int

from alm_lightning.counterparts import (
    NONE,
    Prefixes,
    ids_by_bytes,
    is_same_vocabulary,
    same_bytes,
)
from alm_lightning.objectives.vocabularies.pair_facts import Vocabulary
from alm_lightning.objectives.vocabularies.shared import special_pairs, token_ids


def same_tokens(source: Vocabulary, target: Vocabulary) -> Int[np.ndarray, " vocab"]:
    """For each id of the source the id of the target with the same bytes or the same role.

    `alm_lightning.counterparts` has the rule where several have the same bytes, and `special_pairs`
    that for special tokens. A token without a counterpart has `NONE`. Of one vocabulary on both
    sides every token is its own.
    """
    if is_same_vocabulary(source, target):
        counterparts = np.full(len(source.token_bytes), NONE, dtype=np.int64)
        tokens = token_ids(source)
        counterparts[tokens] = tokens
        return counterparts
    counterparts = same_bytes(source, target)
    for index, counterpart in special_pairs(source, target).items():
        counterparts[index] = counterpart
    return counterparts


def longest_prefixes(source: Vocabulary, target: Vocabulary) -> Int[np.ndarray, " vocab"]:
    """For each id of the source the longest token of the target that its bytes begin with.

    `NONE` where there is none; special tokens have the counterparts of `same_tokens`.
    """
    counterparts = same_tokens(source, target)
    prefixes = Prefixes(ids_by_bytes(target))
    for id_, surface in enumerate(source.token_bytes):
        if surface and counterparts[id_] == NONE:
            counterparts[id_] = prefixes.longest(surface, 0)[0]
    return counterparts
