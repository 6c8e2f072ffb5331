import pytest
import torch

from alm_lightning.likelihood.linear import linear_log_likelihood


@pytest.mark.parametrize("gap", [30.0, 200.0, 5000.0])
def test_tiny_boundary_mass_is_exact(gap):
    # logit 0 on the boundary's two tokens, `gap` on one other: mass 2 / (2 + e^gap + 1)
    weight = torch.tensor([[0.0], [0.0], [gap], [0.0]]).requires_grad_()
    hidden = torch.tensor([[1.0]]).requires_grad_()
    boundary_ids = torch.tensor([0, 1])
    target, boundary = linear_log_likelihood(
        hidden, weight, torch.tensor([1]), boundary_ids=boundary_ids
    )
    assert boundary.item() == pytest.approx(-gap + torch.tensor(2.0).log().item(), rel=1e-6)
    assert target.item() == pytest.approx(-gap, rel=1e-6)
    boundary.sum().backward()
    # p_B - p: a half each on the boundary, minus one on the sure token
    torch.testing.assert_close(weight.grad[:, 0], torch.tensor([0.5, 0.5, -1.0, 0.0]))


def test_sure_tokens_and_boundaries_keep_their_digits():
    weight = torch.tensor([[30.0], [16.0]], requires_grad=True)
    hidden = torch.ones(1, 1, requires_grad=True)
    target, boundary = linear_log_likelihood(
        hidden, weight, torch.tensor([0]), boundary_ids=torch.tensor([0])
    )
    exact = -torch.tensor(-14.0, dtype=torch.float64).exp().log1p().item()
    assert boundary.item() == pytest.approx(exact, rel=1e-6)
    # 30 - logsumexp would be 0 or a multiple of 2e-6
    assert target.item() == pytest.approx(exact, rel=0.1)
    boundary.sum().backward()
    assert weight.grad[0].item() == pytest.approx(-exact, rel=1e-5)
    assert hidden.grad.item() == pytest.approx(-exact * (30 - 16), rel=1e-5)
