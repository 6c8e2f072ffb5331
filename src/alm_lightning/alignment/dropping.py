"""Chunks that are left out: those that a token without text, or a mixed token, makes unusable."""

import numpy as np
from jaxtyping import Bool, Int

from alm_lightning.shapes import NO_CHUNK


def chunks_of(
    marked: Bool[np.ndarray, " pos"] | None, ids: Int[np.ndarray, " pos"]
) -> Int[np.ndarray, " marked"]:
    """The chunks of marked tokens.

    Args:
        marked: Which tokens; None for none.
        ids: The chunk of each token, or `NO_CHUNK`.

    Returns:
        Their chunks, without `NO_CHUNK`.
    """
    found = ids[:0] if marked is None else ids[marked]
    return found[found != NO_CHUNK]


def without(dropped: Int[np.ndarray, " marked"], num_chunks: int) -> Bool[np.ndarray, " chunk"]:
    """Mask of the chunks that stay.

    Args:
        dropped: Those that do not, in any order.
        num_chunks: How many there are.

    Returns:
        One flag a chunk.
    """
    keep = np.ones(num_chunks, dtype=bool)
    keep[dropped] = False
    return keep


def renumbered(
    ids: Int[np.ndarray, " pos"], keep: Bool[np.ndarray, " chunk"]
) -> Int[np.ndarray, " pos"]:
    """Chunk ids after chunks were dropped.

    Args:
        ids: The chunk of each token, or `NO_CHUNK`.
        keep: Which chunks stay.

    Returns:
        Ids counted anew; `NO_CHUNK` for tokens of dropped chunks.

    Example:
        >>> renumbered(np.array([0, 0, 1, 2, NO_CHUNK]), np.array([True, False, True]))
        array([ 0,  0, -1,  1, -1], dtype=int32)
    """
    places = np.where(keep, np.cumsum(keep) - 1, NO_CHUNK).astype(np.int32)
    # a token in no chunk looks at one more place, behind all chunks
    return np.append(places, np.int32(NO_CHUNK))[ids]
