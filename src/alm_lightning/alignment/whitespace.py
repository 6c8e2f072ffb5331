"""Whitespace chunks: the coarser alignment that ends chunks only where whitespace follows."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool

from alm_lightning.alignment.boundaries import CommonEnds
from alm_lightning.corpus.sources.source import AnyDocument
from alm_lightning.tokenization.view import TokenizerView

WHITESPACE = np.frombuffer(b" \t\n\r", np.uint8)


class Whitespace:
    """Chunks end only where whitespace follows, or the text ends ("space" chunks).

    Fewer tokens leak what follows them there, at the price of longer chunks: the fourth, simpler
    choice of docs/method.md, section 2, that people compare debiasing and the threshold with.
    """

    def fitted(
        self, *, student: TokenizerView, teacher: TokenizerView, documents: Iterable[AnyDocument]
    ) -> "Whitespace":
        """The same for every pair."""
        del student, teacher, documents
        return self

    def select(self, ends: CommonEnds) -> Bool[np.ndarray, " boundary"]:
        """The boundaries before whitespace.

        Args:
            ends: The common boundaries.

        Returns:
            Whether the byte after each is whitespace; the last position counts as such.
        """
        is_white = np.isin(np.frombuffer(ends.content, np.uint8), WHITESPACE)
        return np.append(is_white, True)[ends.positions]
