"""Texts that a tokenizer rewrites: its token ends, brought back onto the axis of the given text.

A normaliser may change the text (NFC, NFKC, U+2581 to a space). What it left alone still aligns: only
the shortest stretch that differs becomes one indivisible step of the axis.
"""

from difflib import SequenceMatcher

import numpy as np
from jaxtyping import Int

from alm_lightning.tokenization.encoding import INSIDE_REWRITE


def ends_on_given_text(
    given: bytes, spelled: bytes, ends: Int[np.ndarray, " pos"]
) -> tuple[Int[np.ndarray, " pos"], int]:
    """Token ends measured on the given text, from ends measured on what the tokens spell.

    Args:
        given: The text as it was given.
        spelled: What the tokens spell, joined.
        ends: Ends of the tokens in `spelled`, in bytes, ascending.

    Returns:
        Ends in `given`, in bytes, `INSIDE_REWRITE` for a token that ends strictly within a stretch
        that differs; and how many bytes of `given` lie in such stretches.

    Example:
        >>> ends_on_given_text(b"a\\xe2\\x96\\x81b", b"a b", np.array([1, 2, 3]))
        (array([1, 4, 5]), 3)
    """
    # position in `spelled` -> position in `given`, where both are known to correspond
    positions = np.full(len(spelled) + 1, INSIDE_REWRITE, dtype=np.int64)
    rewritten = 0
    prefix = _common_prefix(given, spelled)
    suffix = _common_prefix(given[prefix:][::-1], spelled[prefix:][::-1])
    positions[: prefix + 1] = np.arange(prefix + 1)
    middle_given = given[prefix : len(given) - suffix]
    middle_spelled = spelled[prefix : len(spelled) - suffix]
    blocks = SequenceMatcher(None, middle_given, middle_spelled, autojunk=False).get_opcodes()
    for kind, given_start, given_end, spelled_start, spelled_end in blocks:
        if kind == "equal":
            steps = np.arange(spelled_end - spelled_start + 1)
            positions[prefix + spelled_start + steps] = prefix + given_start + steps
        else:
            rewritten += given_end - given_start
            positions[prefix + spelled_end] = prefix + given_end
    steps = np.arange(suffix + 1)
    positions[len(spelled) - suffix + steps] = len(given) - suffix + steps
    return positions[ends], rewritten


def _common_prefix(left: bytes, right: bytes) -> int:
    """Length in bytes of what two texts share at their start."""
    length = min(len(left), len(right))
    differs = np.flatnonzero(
        np.frombuffer(left, np.uint8, length) != np.frombuffer(right, np.uint8, length)
    )
    return int(differs[0]) if len(differs) else length
