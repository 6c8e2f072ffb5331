"""Sparse combinations are those of a slow reference, and what was planted is found again."""

import numpy as np
import pytest
import torch

from alm_lightning.models.embeddings.pursuit import Pursuit

TABLE = {"with a table": 2**20, "from scratch": 0}


def naive(atoms: np.ndarray, vector: np.ndarray, sparsity: int) -> np.ndarray:
    """Coefficients by the book: a loop, and numpy's least squares on the atoms as they are."""
    chosen: list[int] = []
    left = vector
    norms = np.linalg.norm(atoms, axis=1)
    solution = np.zeros(0)
    for _ in range(sparsity):
        with np.errstate(divide="ignore", invalid="ignore"):
            correlations = np.nan_to_num(np.abs(atoms @ left) / norms)
        correlations[chosen] = -1
        chosen.append(int(correlations.argmax()))
        solution, *_ = np.linalg.lstsq(atoms[chosen].T, vector, rcond=None)
        left = vector - atoms[chosen].T @ solution
    found = np.zeros(len(atoms))
    found[chosen] = solution
    return found


def dense(combination, num_atoms: int) -> torch.Tensor:
    found = torch.zeros(len(combination.atoms), num_atoms)
    return found.scatter_add_(1, combination.atoms, combination.coefficients)


@pytest.mark.parametrize("table_bytes", TABLE.values(), ids=TABLE)
@pytest.mark.parametrize("seed", range(5))
def test_combinations_are_those_of_the_reference(seed, table_bytes):
    generator = torch.Generator().manual_seed(seed)
    # lengths differ by a factor of a hundred, so that the longest atom is seldom the best
    lengths = torch.logspace(-1, 1, 40)[torch.randperm(40, generator=generator)]
    atoms = torch.randn(40, 16, generator=generator) * lengths[:, None]
    atoms[7] = 0
    vectors = torch.randn(30, 16, generator=generator)
    pursuit = Pursuit(atoms, table_bytes=table_bytes)
    found = dense(pursuit.combinations(vectors, sparsity=6), 40)
    for row, vector in zip(found, vectors, strict=True):
        expected = naive(atoms.double().numpy(), vector.double().numpy(), 6)
        np.testing.assert_allclose(row.numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("table_bytes", TABLE.values(), ids=TABLE)
def test_what_was_planted_is_found_and_nothing_else(table_bytes):
    generator = torch.Generator().manual_seed(0)
    # nearly orthogonal atoms: here the greedy choice is certain to be right
    basis, _ = torch.linalg.qr(torch.randn(64, 64, generator=generator))
    atoms = basis[:50] + 0.01 * torch.randn(50, 64, generator=generator)
    planted = torch.zeros(20, 50)
    for row, number in enumerate([1, 2, 3, 4] * 5):
        places = torch.randperm(50, generator=generator)[:number]
        planted[row, places] = torch.tensor([2.0, -1.5, 1.0, -0.7])[:number]
    found = Pursuit(atoms, table_bytes=table_bytes).combinations(planted @ atoms, sparsity=8)
    torch.testing.assert_close(dense(found, 50), planted, rtol=1e-4, atol=1e-5)
    # early stop: no atom more than was planted, though eight were allowed
    assert torch.equal((found.coefficients != 0).sum(dim=1), (planted != 0).sum(dim=1))


@pytest.mark.parametrize("table_bytes", TABLE.values(), ids=TABLE)
def test_close_atoms_do_not_blow_up(table_bytes):
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(10, 16, generator=generator)
    twins = first + 1e-5 * torch.randn(10, 16, generator=generator)
    atoms = torch.cat([first, twins, first])
    vectors = torch.randn(25, 16, generator=generator)
    found = Pursuit(atoms, table_bytes=table_bytes).combinations(vectors, sparsity=16)
    assert found.coefficients.isfinite().all()
    # ten directions, so ten atoms at most, and coefficients as large as the ten alone need
    assert (found.coefficients != 0).sum(dim=1).max() <= 10
    expected = torch.linalg.lstsq(first.T.double(), vectors.T.double()).solution.abs().max()
    assert found.coefficients.abs().max() <= 1.001 * expected
    torch.testing.assert_close(
        found.of(atoms),
        (vectors.double() @ torch.linalg.pinv(first.double()) @ first.double()).float(),
        atol=1e-3,
        rtol=1e-3,
    )


def test_padding_is_no_atom_and_no_vector_is_no_combination():
    atoms = torch.zeros(6, 4)
    atoms[2, 0], atoms[4, 1] = 3.0, 1e-9
    pursuit = Pursuit(atoms, table_bytes=2**20)
    assert pursuit.num_atoms == 1
    found = pursuit.combinations(torch.tensor([[1.5, 1.0, 0, 0], [0, 0, 0, 0]]), sparsity=4)
    assert found.atoms.tolist() == [[2], [0]]
    assert found.coefficients.tolist() == [[0.5], [0.0]]


def test_a_combination_goes_over_to_other_rows():
    generator = torch.Generator().manual_seed(0)
    atoms, others = torch.randn(30, 8, generator=generator), torch.randn(30, 5, generator=generator)
    found = Pursuit(atoms, table_bytes=2**20).combinations(
        torch.randn(9, 8, generator=generator), sparsity=3
    )
    torch.testing.assert_close(found.of(others), dense(found, 30) @ others)
