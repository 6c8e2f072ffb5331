import math

import pytest
import torch

from alm_lightning.likelihood.stored import StoredDistributions

PROBS = [0.5, 0.25, 0.15, 0.1]


def stored(top, *, own=0, unused=(), size=4):
    """The token at position 1 of one row, of which some likeliest tokens are known."""
    ids = torch.tensor([[[-1] * len(top), [id_ for id_, _ in top]]])
    values = torch.tensor([[[-math.inf] * len(top), [p for _, p in top]]]).log()
    return StoredDistributions(
        top_ids=ids,
        top_logprobs=values,
        ids=torch.tensor([[3, own]]),
        logprobs_of_ids=torch.tensor([[1.0, PROBS[own]]]).log(),
        size=size,
        unused_ids=torch.tensor(unused, dtype=torch.long),
    )


def probs_of(side):
    return side.logprobs(torch.tensor([1])).exp()[0].tolist()


def test_with_all_tokens_it_is_whole():
    top = list(enumerate(PROBS))
    assert probs_of(stored(top)) == pytest.approx(PROBS)


def test_the_rest_is_spread_evenly():
    assert probs_of(stored([(0, 0.5)])) == pytest.approx([0.5, 0.5 / 3, 0.5 / 3, 0.5 / 3])


def test_the_texts_own_token_is_known_as_well():
    side = stored([(0, 0.5)], own=3)
    assert probs_of(side) == pytest.approx([0.5, 0.2, 0.2, 0.1])


def test_ids_that_no_token_has_get_nothing():
    side = stored([(0, 0.5)], unused=(1, 2))
    assert probs_of(side) == pytest.approx([0.5, 0.0, 0.0, 0.5])
    assert side.logprobs(torch.tensor([1])).isfinite().all()


def test_fewer_than_were_asked_for():
    assert probs_of(stored([(0, 0.5), (-1, 0.0)])) == pytest.approx([0.5, *[0.5 / 3] * 3])


def test_its_own_value_is_the_exact_one():
    # 0.5 was rounded to 0.4 in the list
    assert probs_of(stored([(0, 0.4), (1, 0.25)]))[0] == pytest.approx(0.5)
