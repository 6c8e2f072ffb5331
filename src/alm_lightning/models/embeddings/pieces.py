"""What an old tokenizer makes of the bytes of new tokens."""

import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from alm_lightning.counterparts import Prefixes, ids_by_bytes
from alm_lightning.tokenization.view import TokenizerView

STRETCHES = re.compile("[\udc80-\udcff]+|[^\udc80-\udcff]+")
"""Runs of bytes that are no valid UTF-8, as Python's ``surrogateescape`` has them; or of text."""


def pieces(
    old: TokenizerView, surfaces: Sequence[bytes]
) -> tuple[Int[np.ndarray, " piece"], Int[np.ndarray, " token"]]:
    """The old tokens that the bytes of new tokens are split into, and how many each new token has.

    A byte-level vocabulary has tokens that end within a character. The stretches of a token that
    are valid UTF-8 are split by the old tokenizer, each as if it stood within a longer text. What
    is between them is no text for a tokenizer: it is split from the left into the longest old
    tokens that fit (an ordinary one before a byte fallback), down to single bytes. Bytes that have
    no old token are left out, and so are unknown tokens. A new token may have none; the order is
    that of its bytes.
    """
    texts: list[str] = []
    text_stretches: list[int] = []
    odd: list[tuple[int, list[int]]] = []
    owners: list[int] = []
    longest = Prefixes(ids_by_bytes(old))
    for token, surface in enumerate(surfaces):
        for stretch in STRETCHES.findall(surface.decode("utf-8", "surrogateescape")):
            place = len(owners)
            owners.append(token)
            if "\udc80" <= stretch[0] <= "\udcff":
                odd.append((place, list(longest.cut(stretch.encode("utf-8", "surrogateescape")))))
            else:
                texts.append(stretch)
                text_stretches.append(place)
    ids, counts = old.encoder.ids_of_many(texts)
    places = np.repeat(np.array(text_stretches, dtype=np.int64), counts)
    is_kept = old.table.is_content[ids]
    odd_ids = np.array([index for _, found in odd for index in found], dtype=np.int64)
    odd_places = np.repeat(
        np.array([place for place, _ in odd], dtype=np.int64), [len(found) for _, found in odd]
    )
    all_places = np.concatenate([places[is_kept], odd_places])
    in_order = np.argsort(all_places, kind="stable")
    all_ids = np.concatenate([ids[is_kept].astype(np.int64), odd_ids])[in_order]
    tokens = np.array(owners, dtype=np.int64)[all_places]
    return all_ids, np.bincount(tokens, minlength=len(surfaces))
