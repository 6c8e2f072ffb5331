"""For each token of one vocabulary a token of another: the same bytes, or a beginning of them."""

import numpy as np
from jaxtyping import Int

from alm_lightning.counterparts import NONE, Prefixes, ids_by_bytes, same_bytes
from alm_lightning.objectives.vocabularies.pair_facts import Vocabulary
from alm_lightning.objectives.vocabularies.shared import special_pairs


def same_tokens(source: Vocabulary, target: Vocabulary) -> Int[np.ndarray, " vocab"]:
    """The token of another vocabulary that stands for the same, for each token of one.

    Args:
        source: The vocabulary whose ids are asked about.
        target: The vocabulary to look in.

    Returns:
        For each id of the source the id of the target with the same bytes
        (`alm_lightning.counterparts` has the rule where there are several); of a special token, its
        counterpart (`special_pairs`); else `NONE`.
    """
    found = same_bytes(source, target)
    for index, counterpart in special_pairs(source, target).items():
        found[index] = counterpart
    return found


def longest_prefixes(source: Vocabulary, target: Vocabulary) -> Int[np.ndarray, " vocab"]:
    """The longest token of another vocabulary that the bytes of each token of one begin with.

    Args:
        source: The vocabulary whose ids are asked about.
        target: The vocabulary to look in.

    Returns:
        For each id of the source an id of the target, or `NONE`; special tokens as `same_tokens`.
    """
    found = same_tokens(source, target)
    prefixes = Prefixes(ids_by_bytes(target))
    for id_, surface in enumerate(source.token_bytes):
        if surface and found[id_] == NONE:
            found[id_] = prefixes.longest(surface, 0)[0]
    return found
