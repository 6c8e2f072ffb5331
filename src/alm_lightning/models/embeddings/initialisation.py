"""Protocols of initialisations: fitted once to two vocabularies, then applied to each matrix."""

from typing import Literal, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from alm_lightning.tokenization.view import TokenizerView

Side = Literal["input", "output"]


@runtime_checkable
class NewRows(Protocol):
    """Makes the matrix of a new vocabulary out of the one of an old vocabulary."""

    def __call__(
        self, matrix: Float[Tensor, "old_vocab width"], *, side: Side
    ) -> Float[Tensor, "new_vocab width"]:
        """New rows.

        Args:
            matrix: Old rows: input embeddings, output embeddings, or the bias of the output as a
                matrix of width 1. Rows that no token has may follow; they are not looked at.
            side: Which side of the model the matrix is on; a bias is on the output side.

        Returns:
            A row for each new id, in float32: a tensor of its own.
        """
        ...


@runtime_checkable
class Initialisation(Protocol):
    """An initialisation, before it is fitted to two vocabularies."""

    def fitted(self, *, old: TokenizerView, new: TokenizerView) -> NewRows:
        """What makes the matrices of vocabulary `new` out of those of vocabulary `old`."""
        ...
