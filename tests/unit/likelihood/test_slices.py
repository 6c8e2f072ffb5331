"""Sums over slices: value and gradients as of the whole, however much lies behind its parts."""

from dataclasses import replace

import pytest
import torch

from alm_lightning.likelihood import slices
from alm_lightning.likelihood.distributions import Distributions
from alm_lightning.likelihood.head import OutputHead
from alm_lightning.likelihood.slices import sum_over_slices

VOCABULARY, WIDTH = 11, 4


def distributions(embedding: torch.Tensor, tied: bool) -> Distributions:
    """A model that is its embedding, with that or a matrix made of it as the output layer."""
    ids = torch.tensor([[1, 4, 2, 7, 3, 9]])
    hidden = torch.tanh(embedding[ids])
    weight = embedding if tied else 2 * embedding
    head = OutputHead(weight, None, None, VOCABULARY, None, torch.tensor([0]))
    return Distributions(hidden, embedding[ids].detach(), head)


def picked(side: Distributions, places: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """Something that depends on all that it is given."""
    return (side.logprobs(places)[:, 2] * scales.exp()).sum()


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("elements", [1, 3 * VOCABULARY, 1000])
def test_value_and_gradient_are_those_of_the_whole(tied, elements, monkeypatch):
    """With what is made of the same parameters before the sum, as part of a larger loss."""
    monkeypatch.setattr("alm_lightning.likelihood.slices.SLICE_ELEMENTS", elements)
    places = torch.tensor([1, 2, 3, 4, 5])
    found = []
    for is_sliced in (True, False):
        embedding = torch.linspace(-1, 1, VOCABULARY * WIDTH).view(VOCABULARY, WIDTH).sin()
        embedding.requires_grad_()
        side = distributions(embedding, tied)
        scales = embedding[:5].sum(dim=1) * side.hidden.sum()
        if is_sliced:
            total = sum_over_slices(picked, side, places, scales, num_tokens=VOCABULARY)
        else:
            total = picked(side, places, scales)
        loss = 3 * total + embedding.square().sum()
        (first,) = torch.autograd.grad(total, embedding, retain_graph=True)
        loss.backward()
        found.append((total.detach(), first, embedding.grad))
    for sliced, whole in zip(*found, strict=True):
        torch.testing.assert_close(sliced, whole)


def test_without_gradients_there_are_none():
    """Under no_grad, and of what is not trained."""
    embedding = torch.ones(VOCABULARY, WIDTH, requires_grad=True)
    places, scales = torch.tensor([1, 2]), torch.zeros(2)
    with torch.no_grad():
        side = distributions(embedding, tied=True)
        assert not sum_over_slices(picked, side, places, scales, num_tokens=9).requires_grad
    side = distributions(embedding.detach(), tied=True)
    assert not sum_over_slices(picked, side, places, scales, num_tokens=9).requires_grad


def test_no_rows_are_nothing():
    """A batch without a chunk of the kind."""
    side = distributions(torch.ones(VOCABULARY, WIDTH, requires_grad=True), tied=True)
    none = torch.zeros(0, dtype=torch.long)
    total = sum_over_slices(picked, side, none, none.float(), num_tokens=VOCABULARY)
    assert total == 0
    assert not total.requires_grad


def test_a_trained_tensor_that_is_not_handed_over_is_refused():
    """It would silently have no gradient: of the function's closure, and behind it."""
    embedding = torch.ones(VOCABULARY, WIDTH, requires_grad=True)
    side = distributions(embedding, tied=True)
    factor = torch.ones(3, requires_grad=True)

    def scaled(given: Distributions, places: torch.Tensor) -> torch.Tensor:
        return (given.logprobs(places)[:, 2] * factor.square().sum()).sum()

    with pytest.raises(ValueError, match=r"shape \(3,\) that it was not given"):
        sum_over_slices(scaled, side, torch.tensor([1, 2]), num_tokens=VOCABULARY)

    def outside(given: Distributions, places: torch.Tensor) -> torch.Tensor:
        return side.logprobs(places)[:, 2].sum()

    with pytest.raises(ValueError, match=r"shape \(11, 4\) that it was not given"):
        sum_over_slices(outside, side, torch.tensor([1, 2]), num_tokens=VOCABULARY)


def test_bias_gets_its_gradient():
    """Of models whose output layer has one."""
    embedding = torch.ones(VOCABULARY, WIDTH)
    bias = torch.linspace(0, 1, VOCABULARY).requires_grad_()
    side = distributions(embedding, tied=True)
    side = replace(side, head=replace(side.head, bias=bias))
    places, scales = torch.tensor([1, 2, 4]), torch.zeros(3)
    sum_over_slices(picked, side, places, scales, num_tokens=VOCABULARY).backward()
    expected = -3 * bias.detach().softmax(dim=0)
    expected[2] += 3
    torch.testing.assert_close(bias.grad, expected)


def test_scales_are_not_rounded_to_the_dtype_of_a_part():
    """0.0123 is 0.01233 in bfloat16, of which every element would have its share."""
    hidden = torch.linspace(-1, 1, 6 * 640).view(1, 6, 640).cos().bfloat16().requires_grad_()
    embedding = torch.linspace(-1, 1, VOCABULARY * 640).view(VOCABULARY, 640).sin()
    head = OutputHead(embedding, None, None, VOCABULARY, None, torch.tensor([0]))
    side = Distributions(hidden, embedding[None, :6], head)
    total = sum_over_slices(
        picked, side, torch.tensor([1, 2, 3]), torch.ones(3), num_tokens=VOCABULARY
    )
    (plain,) = torch.autograd.grad(total, hidden, retain_graph=True)
    (scaled,) = torch.autograd.grad(total * 0.0123, hidden)
    ratio = scaled.double().norm() / plain.double().norm()
    assert ratio == pytest.approx(0.0123, rel=1e-3)


def test_gradients_without_memory_of_their_own_are_added_up():
    """That of a plain sum is one number, expanded."""
    embedding = torch.ones(VOCABULARY, WIDTH, requires_grad=True)
    side = distributions(embedding, tied=True)

    def of_all(given: Distributions, places: torch.Tensor) -> torch.Tensor:
        return given.hidden.sum() * len(places)

    total = sum_over_slices(of_all, side, torch.tensor([1, 2, 3]), num_tokens=2**24)
    (found,) = torch.autograd.grad(total, embedding, retain_graph=True)
    (expected,) = torch.autograd.grad(3 * side.hidden.sum(), embedding)
    torch.testing.assert_close(found, expected)


def test_slices_of_half_precision_are_added_up_in_float32(monkeypatch):
    """In bfloat16 a sum of a thousand equal numbers ends at 256 of them."""
    monkeypatch.setattr("alm_lightning.likelihood.slices.SLICE_ELEMENTS", 1)
    weight = torch.ones(VOCABULARY, WIDTH, dtype=torch.bfloat16, requires_grad=True)
    hidden = torch.zeros(1, 4, WIDTH, dtype=torch.bfloat16)
    head = OutputHead(weight, None, None, VOCABULARY, None, torch.tensor([0]))
    side = Distributions(hidden, hidden, head)

    def of_all(given: Distributions, places: torch.Tensor) -> torch.Tensor:
        return given.head.weight.sum().float() * len(places)

    total = sum_over_slices(of_all, side, torch.ones(1000, dtype=torch.long), num_tokens=1)
    (found,) = torch.autograd.grad(total, weight)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, torch.full_like(found, 1000))


def test_the_output_matrix_is_scaled_where_somebody_asks_for_its_gradient(monkeypatch):
    """Gradients of terms are compared at a matrix before the output layer."""
    shapes = []

    def noted(gradient, scale):
        shapes.append(tuple(gradient.shape))
        return scaled(gradient, scale)

    scaled = slices._scaled
    monkeypatch.setattr(slices, "_scaled", noted)
    embedding = torch.linspace(-1, 1, VOCABULARY * WIDTH).view(VOCABULARY, WIDTH).sin()
    embedding.requires_grad_()
    weight = embedding.detach().cos().requires_grad_()
    side = distributions(embedding, tied=True)
    side = replace(side, head=replace(side.head, weight=weight))
    scales = torch.zeros(5)
    total = sum_over_slices(picked, side, torch.arange(1, 6), scales, num_tokens=VOCABULARY)
    (alone,) = torch.autograd.grad(total, embedding, retain_graph=True)
    assert shapes == [tuple(side.hidden.shape)]
    both = torch.autograd.grad(total, (embedding, weight), retain_graph=True)
    assert shapes[1:] == [tuple(side.hidden.shape), tuple(weight.shape)]
    total.backward()
    assert torch.equal(embedding.grad, alone)
    assert torch.equal(both[0], alone)
    assert torch.equal(both[1], weight.grad)
    assert weight.grad.any()
