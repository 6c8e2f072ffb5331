"""Which rows of a donor belong to the ids of a new vocabulary, and which of them are anchors."""

import numpy as np
from jaxtyping import Int

from alm_lightning.counterparts import NONE, same_bytes
from alm_lightning.tokenization.view import TokenizerView

NAMED = 5
"""Tokens that an error names."""


def donor_ids(
    donor: TokenizerView, new: TokenizerView, num_rows: int
) -> Int[np.ndarray, " new_vocab"]:
    """The donor's id for each id of a new vocabulary, or `NONE`.

    Ids themselves may differ, for a new tokenizer may have other special tokens than the donor's.
    Ordinary tokens are identified by their bytes, special tokens by their texts; those that the
    donor lacks, and ids that no token has, get `NONE`. A ValueError says that an ordinary token is
    not among the donor's, or lies beyond the `num_rows` rows of its matrices.
    """
    found = same_bytes(new, donor)
    lacking = np.flatnonzero(new.table.is_content & (found == NONE))
    if len(lacking):
        raise ValueError(
            f"{donor.name}: its tokenizer has no token for {len(lacking):,} of the "
            f"{int(new.table.is_content.sum()):,} tokens of {new.name!r}, such as "
            f"{_named(new, lacking)}. The donor has to be a model of the new tokenizer: give its "
            "source, or choose another initialisation, such as FastVocabularyTransfer "
            "(embeddings=fvt)."
        )
    for text, index in new.special_ids.items():
        found[index] = donor.special_ids.get(text, NONE)
    beyond = np.flatnonzero(found >= num_rows)
    if len(beyond):
        raise ValueError(
            f"{donor.name}: {len(beyond):,} tokens of {new.name!r} lie beyond the {num_rows:,} "
            f"rows of its embeddings, such as id {found[beyond[0]]:,} "
            f"({_named(new, beyond)}). Take tokenizer and weights from one revision, or a donor "
            "that was trained with these tokens."
        )
    return found


def anchors(old: TokenizerView, new: TokenizerView) -> Int[np.ndarray, " atom"]:
    """The ordinary tokens of a new vocabulary that an old one has, as ascending new ids.

    Each old token is there once. Where a new byte fallback and a new ordinary token have one and
    the same counterpart, the one of its kind is the anchor: the fallback for a byte that has a
    token of its own is hardly trained, and says nothing of the old token. A ValueError says that
    there are none.
    """
    counterpart = same_bytes(new, old)
    ids = np.flatnonzero(counterpart != NONE)
    if len(ids) == 0:
        raise ValueError(
            f"tokenizers {old.name!r} and {new.name!r} share no token, so there is nothing to "
            "write new tokens in. Choose another initialisation, such as FastVocabularyTransfer "
            "(embeddings=fvt)."
        )
    is_other_kind = np.array(
        [
            (new_id in new.fallback_ids) != (old_id in old.fallback_ids)
            for new_id, old_id in zip(ids.tolist(), counterpart[ids].tolist(), strict=True)
        ]
    )
    in_order = ids[np.argsort(is_other_kind, kind="stable")]
    _, first = np.unique(counterpart[in_order], return_index=True)
    return np.sort(in_order[first])


def _named(view: TokenizerView, ids: Int[np.ndarray, " subset"]) -> str:
    texts = {index: text for text, index in view.special_ids.items()}
    named = [texts.get(index, view.token_bytes[index]) for index in ids[:NAMED].tolist()]
    return ", ".join(map(repr, named))
