"""Whitespace chunks: the coarser alignment that ends chunks only where whitespace follows."""

import numpy as np
from jaxtyping import Bool

WHITESPACE = b" \t\n\r"


class Whitespace:
    """Chunks end only where whitespace follows, or the text ends ("space" chunks).

    Fewer tokens leak what follows them there, at the price of longer chunks: the fourth, simpler
    device of method.md, section 2, that people compare outcome debiasing and the threshold with.
    """

    def select(
        self, boundaries: Bool[np.ndarray, " byte"], content: bytes
    ) -> Bool[np.ndarray, " byte"]:
        """The boundaries that bound chunks.

        Args:
            boundaries: From `common_boundaries`.
            content: The text's bytes.

        Returns:
            The common boundaries at which the next byte is whitespace, and the last position.

        Example:
            >>> from alm_lightning.alignment.boundaries import common_boundaries
            >>> boundaries = common_boundaries(np.array([1, 3, 4, 5]), np.array([1, 3, 5]), 5)
            >>> np.flatnonzero(Whitespace().select(boundaries, b"abc d"))
            array([3, 5])
        """
        next_bytes = np.frombuffer(content, np.uint8)
        opens = np.append(np.isin(next_bytes, np.frombuffer(WHITESPACE, np.uint8)), True)
        return boundaries & opens
