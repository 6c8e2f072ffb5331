"""Fitted weights, against a search over all of them."""

import math

import pytest
import torch

from alm_lightning.evaluation.ensemble import weights as ensemble_weights
from alm_lightning.evaluation.ensemble.weights import fitted_weights


def logprobs_of(members, tokens=400, seed=0):
    """Members that know some tokens better than others do."""
    generator = torch.Generator().manual_seed(seed)
    spread = torch.randn(members, tokens, generator=generator, dtype=torch.float64)
    return -torch.exp(spread + torch.linspace(0, 0.6, members, dtype=torch.float64)[:, None])


def likelihood(weights, logprobs):
    return (weights.log()[:, None] + logprobs).logsumexp(0).mean()


def test_two_weights_are_those_of_a_grid_search():
    for seed in range(2):
        logprobs = logprobs_of(2, seed=seed)
        first = torch.linspace(1e-6, 1 - 1e-6, 20_001, dtype=torch.float64)
        grid = torch.stack([first, 1 - first])
        values = (grid.T @ logprobs.exp()).log().mean(1)
        best = float(first[values.argmax()])
        found = fitted_weights(logprobs)
        assert 0.02 < best < 0.98
        assert math.isclose(float(found[0]), best, abs_tol=5e-5)
        assert math.isclose(float(found.sum()), 1, abs_tol=1e-12)


def test_no_small_change_of_three_weights_is_better():
    logprobs = logprobs_of(3)
    found = fitted_weights(logprobs)
    best = likelihood(found, logprobs)
    for source in range(3):
        for target in range(3):
            moved = found.clone()
            moved[source] -= 1e-4
            moved[target] += 1e-4
            if source != target:
                assert likelihood(moved, logprobs) < best
    assert best > likelihood(torch.full((3,), 1 / 3, dtype=torch.float64), logprobs)


def test_a_member_that_is_always_worse_gets_nothing():
    logprobs = logprobs_of(2)
    worse = logprobs[:1] - 2
    found = fitted_weights(torch.cat([logprobs, worse]))
    assert float(found[2]) < 1e-6
    torch.testing.assert_close(found[:2], fitted_weights(logprobs), atol=1e-5, rtol=0)


def test_equal_members_share_and_unlikely_tokens_do_no_harm():
    logprobs = logprobs_of(1).expand(2, -1)
    assert fitted_weights(logprobs).tolist() == [0.5, 0.5]
    # exp(-2000) is 0 in any type
    found = fitted_weights(torch.tensor([[-2000.0, -1.0, -1.0], [-2001.0, -1.0, -3.0]]))
    assert found.isfinite().all()
    assert float(found[0]) > 0.99


def test_it_says_when_weights_did_not_settle(monkeypatch, caplog):
    monkeypatch.setattr(ensemble_weights, "MAX_STEPS", 3)
    fitted_weights(logprobs_of(2))
    assert "did not settle within 3 steps" in caplog.text


def test_what_weights_cannot_be_fitted_to():
    logprobs = logprobs_of(2).clone()
    with pytest.raises(ValueError, match="for combine=mean_prob alone, not for mean_logprob"):
        fitted_weights(logprobs, "mean_logprob")
    with pytest.raises(ValueError, match="no tokens"):
        fitted_weights(logprobs[:, :0])
    logprobs[1, 3] = torch.nan
    with pytest.raises(ValueError, match="member 1 gives a log-probability that is NaN"):
        fitted_weights(logprobs)
