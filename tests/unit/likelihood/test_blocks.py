"""Blocks of any size, and rows of the vocabulary that no token has, which are never visited."""

import inspect

import pytest
import torch
from tests.unit.likelihood.test_linear import (  # noqa: F401  (small_blocks is a fixture)
    BOUNDARY_IDS,
    NUM_TOKENS,
    assert_same,
    make,
    small_blocks,
)
from torch import Tensor

from alm_lightning.likelihood import blocks
from alm_lightning.likelihood.linear import linear_log_likelihood


def test_block_sizes_change_nothing(monkeypatch):
    def run() -> list[Tensor]:
        inputs = make()
        results = linear_log_likelihood(**inputs, boundary_ids=BOUNDARY_IDS, softcap=5.0)
        loss = sum(each.sum() for each in results)
        return [*results, *torch.autograd.grad(loss, (inputs["hidden"], inputs["weight"]))]

    small = run()
    monkeypatch.setitem(blocks.BLOCK_SIZES, "cpu", (1024, 2048))
    torch.testing.assert_close(run(), small, rtol=1e-5, atol=1e-5)


PADDING_IDS = torch.tensor([4, 20, 5, 6, 22, 7, 1, 36])


@pytest.mark.parametrize("boundary_ids", [None, BOUNDARY_IDS, BOUNDARY_IDS[:0]])
@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize("num_tokens", [None, NUM_TOKENS - 3])
@pytest.mark.parametrize("order", [slice(None), slice(3), slice(0)])
def test_padding_rows_among_the_tokens(boundary_ids, softcap, num_tokens, order):
    padding_ids = PADDING_IDS[order]
    padding_ids = padding_ids[padding_ids < (num_tokens or NUM_TOKENS)]
    inputs = make()
    is_padding = torch.isin(inputs["targets"], padding_ids)
    inputs["targets"] = inputs["targets"].masked_fill(is_padding, 12)
    # logits that would take all mass, and -inf * 0 in the gradient, if they were only masked
    bias = torch.linspace(-2, 2, NUM_TOKENS).index_fill(0, padding_ids, 80.0).requires_grad_()
    options = {"bias": bias, "softcap": softcap, "num_tokens": num_tokens}
    if boundary_ids is None or len(boundary_ids):
        assert_same(inputs, boundary_ids=boundary_ids, padding_ids=padding_ids, **options)
    target, boundary = linear_log_likelihood(
        **inputs, boundary_ids=boundary_ids, padding_ids=padding_ids, **options
    )
    total = (
        target.sum()
        if boundary_ids is None or not len(boundary_ids)
        else (target.sum() + boundary.sum())
    )
    for gradient in torch.autograd.grad(total, (inputs["weight"], bias)):
        assert not gradient[padding_ids].any()
        assert gradient[[12, 13, 14]].any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"padding_ids": torch.tensor([1, 37])}, "padding_ids range from 1 to 37"),
        ({"padding_ids": torch.tensor([1, 1])}, "padding_ids hold 2 ids, of which 1 differ"),
        ({"padding_ids": torch.arange(NUM_TOKENS)}, "padding_ids hold all 37 ids"),
        (
            {"padding_ids": torch.tensor([9]), "targets": torch.full((3, 5), 9)},
            "targets hold the id 9, a row of the vocabulary that no token has",
        ),
        (
            {"padding_ids": torch.tensor([36]), "boundary_ids": torch.tensor([3, 36])},
            "boundary_ids hold the id 36",
        ),
    ],
)
def test_errors_name_what_was_given_and_expected(changes, message):
    # without the annotations' own check, which tests alone have
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(linear_log_likelihood)(**make() | changes)
