"""The rows of a byte vocabulary: the old token that each byte starts as, or the mean of all."""

import logging
from collections.abc import Collection, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from alm_lightning.models.embeddings.start import mean_row

log = logging.getLogger(__name__)

NUM_BYTES = 256


def single_byte_tokens(
    token_bytes: Sequence[bytes | None], fallback_ids: Collection[int] = ()
) -> list[int | None]:
    """The old token for each of the 256 bytes, in order; None where there is none.

    SmolLM2's vocabulary, for one, lacks 21 bytes, most of which no UTF-8 text has. An ordinary
    token for a byte is preferred to those of `fallback_ids` (``<0x61>``); among equals the lowest
    id. A ValueError says that no byte has a token.
    """
    fallbacks = frozenset(fallback_ids)
    found: dict[bytes, int] = {}
    for wanted in (False, True):
        for token_id, surface in enumerate(token_bytes):
            if surface is not None and len(surface) == 1 and (token_id in fallbacks) == wanted:
                found.setdefault(surface, token_id)
    if not found:
        raise ValueError(
            f"none of the old vocabulary's {len(token_bytes):,} tokens stands for a single byte, "
            "so there is nothing that bytes could start from. Choose a tokenizer with byte "
            "fallback, a byte-level alphabet, or letters."
        )
    return [found.get(bytes([byte])) for byte in range(NUM_BYTES)]


def warn_of_missing(byte_rows: Sequence[int | None], specials: Sequence[str]) -> None:
    """Names the bytes, and the special tokens, that no old token stands for."""
    missing = [f"0x{byte:02X}" for byte, old_id in enumerate(byte_rows) if old_id is None]
    if missing:
        log.warning(
            "the old vocabulary has no token for %d of the 256 bytes (%s): each starts as the mean "
            "of all ordinary tokens, and knows nothing until it is trained",
            len(missing),
            ", ".join(missing),
        )
    if specials:
        log.warning(
            "the old vocabulary has nothing like the special tokens %s: each starts as the mean of "
            "all ordinary tokens, and knows nothing until it is trained",
            ", ".join(specials),
        )


def new_rows(
    matrix: Float[Tensor, "old_vocab width"],
    old_rows: Sequence[int | None],
    ordinary: Int[np.ndarray, " subset"],
    dtype: torch.dtype,
) -> Float[Tensor, "new_vocab width"]:
    """Copies of old rows, and the mean of the ordinary ones where `old_rows` has None."""
    known = torch.tensor([old_id is not None for old_id in old_rows], device=matrix.device)
    copied = matrix[[old_id for old_id in old_rows if old_id is not None]]
    if known.all():
        return copied.to(dtype)
    made = matrix.new_empty((len(old_rows), matrix.shape[1]), dtype=dtype)
    made[known] = copied.to(dtype)
    made[~known] = mean_row(matrix, ordinary).to(dtype)
    return made
