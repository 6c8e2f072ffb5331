"""Orthogonal matching pursuit: vectors as sparse combinations of given atoms, many at once.

Greedy: in each round a vector takes the atom that correlates most with what is left of it, and its
coefficients on all its atoms are fitted again by least squares. What is left is then orthogonal to
the atoms taken, so none is taken twice. Correlations are those with atoms of length 1.

The rounds are those of Batch-OMP (Rubinstein, Zibulevsky and Elad, 2008): correlations follow from
products of atoms, a Cholesky factor grows by a row a round. Choosing is done in float32; the few
numbers that coefficients come from are in float64, since close atoms make them a matter of small
differences.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import embedding_bag

SMALLEST_NORM = 1e-6
"""Rows shorter than this part of the longest one are padding, and no atoms."""
RESIDUAL = 1e-4
"""A vector of which no larger part is left is finished: choosing in float32 sees nothing below."""
INDEPENDENCE = 1e-3
"""An atom of which no larger part is independent of those taken ends a vector: its coefficients
would be large ones that cancel out, and only in the space that they were fitted in."""


@dataclass(frozen=True)
class Combination:
    """Sparse combinations of atoms, one a vector.

    Attributes:
        atoms: Indices of atoms. Where a vector has fewer, any atom with coefficient 0.
        coefficients: Of the atoms as they were given, not of normalised ones.
    """

    atoms: Int[Tensor, "token sparsity"]
    coefficients: Float[Tensor, "token sparsity"]

    def of(self, rows: Float[Tensor, "atom width"]) -> Float[Tensor, "token width"]:
        """The same combinations of other rows, one for each atom."""
        return embedding_bag(
            self.atoms, rows, per_sample_weights=self.coefficients.to(rows.dtype), mode="sum"
        )


class Pursuit:
    """Finds combinations of atoms, of which all but padding may be taken.

    Args:
        atoms: Rows in float32. Those of (almost) no length are never taken.
        table_bytes: Memory for the products of all atoms with all, 4 bytes each. If they do
            not fit, correlations are computed from scratch in each round: three times as slow.
    """

    def __init__(self, atoms: Float[Tensor, "atom width"], *, table_bytes: int):
        norms = atoms.norm(dim=1)
        is_atom = norms > SMALLEST_NORM * norms.max()
        self._norms = torch.where(is_atom, norms, 1.0)
        # an atom of zeros correlates with nothing
        self._atoms = torch.where(is_atom[:, None], atoms / self._norms[:, None], 0.0)
        self._products = None
        if 4 * len(atoms) ** 2 <= table_bytes:
            self._products = _Products(self._atoms)
        self.num_atoms = int(is_atom.sum())

    def combinations(self, vectors: Float[Tensor, "token width"], *, sparsity: int) -> Combination:
        """The combinations of some vectors (rows in float32) in at most `sparsity` atoms each."""
        rounds = _Rounds(vectors, min(sparsity, self.num_atoms))
        first = vectors @ self._atoms.T
        left = first.clone()
        for number in range(rounds.most):
            if number:
                left = self._left(first, vectors, rounds, number)
            best = left.abs_().scatter_(1, rounds.chosen[:, :number], -1.0).argmax(dim=1)
            rounds.take(number, best, self._atoms[best].double())
            if not rounds.is_active.any():
                break
        scales = self._norms[rounds.chosen]
        return Combination(rounds.chosen, (rounds.solution / scales).float())

    def _left(
        self,
        first: Float[Tensor, "token atom"],
        vectors: Float[Tensor, "token width"],
        rounds: "_Rounds",
        number: int,
    ) -> Float[Tensor, "token atom"]:
        """Products of all atoms with what is left of each vector, up to their signs."""
        chosen, solution = rounds.chosen[:, :number], rounds.solution[:, :number].float()
        if self._products is None:
            fitted = embedding_bag(chosen, self._atoms, per_sample_weights=solution, mode="sum")
            return fitted.sub_(vectors) @ self._atoms.T
        table = self._products.of(chosen)
        return embedding_bag(chosen, table, per_sample_weights=solution, mode="sum").sub_(first)


class _Products:
    """Products of atoms with all atoms, each computed when it is first asked for."""

    def __init__(self, atoms: Float[Tensor, "atom width"]):
        self._atoms = atoms
        # memory is taken only where something is written
        self._table = atoms.new_empty((len(atoms), len(atoms)))
        self._is_known = torch.zeros(len(atoms), dtype=torch.bool, device=atoms.device)

    def of(self, atoms: Int[Tensor, "token sparsity"]) -> Float[Tensor, "atom other_atom"]:
        """A table in which at least the rows of these atoms are right."""
        wanted = atoms.unique()
        new = wanted[~self._is_known[wanted]]
        self._table[new] = self._atoms[new] @ self._atoms.T
        self._is_known[new] = True
        return self._table


class _Rounds:
    """What is known of some vectors between two rounds, in float64."""

    def __init__(self, vectors: Float[Tensor, "token width"], most: int):
        count, width = vectors.shape
        self.most = most
        self.chosen = torch.zeros((count, most), dtype=torch.int64, device=vectors.device)
        self._vectors = vectors.double()
        self.solution = self._vectors.new_zeros((count, most))
        self._taken = self._vectors.new_zeros((count, most, width))
        # of the products of the atoms taken; a round that takes none leaves the identity in place
        self._factor = torch.eye(most, dtype=torch.float64, device=vectors.device).repeat(
            count, 1, 1
        )
        self._projected = self._vectors.new_zeros((count, most))
        self._left = self._vectors.square().sum(dim=1)
        self._enough = RESIDUAL**2 * self._left
        self.is_active: Bool[Tensor, " token"] = self._left > 0

    def take(
        self, number: int, best: Int[Tensor, " token"], atoms: Float[Tensor, "token width"]
    ) -> None:
        """Adds the best atom of each active vector, and solves its least squares again."""
        before, upto = slice(number), slice(number + 1)
        products = torch.einsum("tkw,tw->tk", self._taken[:, before], atoms)
        shadow = torch.linalg.solve_triangular(
            self._factor[:, before, before], products[..., None], upper=False
        )[..., 0]
        height = atoms.square().sum(dim=1) - shadow.square().sum(dim=1)
        self.is_active &= height > INDEPENDENCE**2
        shadow = torch.where(self.is_active[:, None], shadow, 0.0)
        height = torch.where(self.is_active, height, 1.0).sqrt()
        onto = (atoms * self._vectors).sum(dim=1) - (shadow * self._projected[:, before]).sum(dim=1)
        onto = torch.where(self.is_active, onto / height, 0.0)
        self.chosen[:, number] = best
        self._taken[:, number] = atoms
        self._factor[:, number, before] = shadow
        self._factor[:, number, number] = height
        self._projected[:, number] = onto
        self._left -= onto.square()
        self.is_active &= self._left > self._enough
        self.solution[:, upto] = torch.linalg.solve_triangular(
            self._factor[:, upto, upto].mT, self._projected[:, upto, None], upper=True
        )[..., 0]
