"""Whole distributions: the products of a graphics card, made on the CPU, forward and backward."""

from dataclasses import replace

import pytest
import torch
from tests.unit.likelihood.test_linear import (  # noqa: F401  (small_blocks is a fixture)
    NUM_TOKENS,
    make,
    small_blocks,
)
from tests.unit.likelihood.test_products import (  # noqa: F401  (as_on_cuda is a fixture)
    BF16,
    F32,
    F64,
    FP16,
    Walk,
    as_on_cuda,
)

from alm_lightning.likelihood.distributions import Distributions
from alm_lightning.likelihood.head import OutputHead
from alm_lightning.likelihood.slices import slice_rows, sum_over_slices

PLACES = torch.arange(1, 13)


def distributions(hidden, weight, bias=None, softcap=None, padding_ids=None):
    head = OutputHead(weight, bias, softcap, NUM_TOKENS - 2, padding_ids, torch.tensor([0]))
    return Distributions(hidden[None], hidden[None].detach(), head)


def naive(hidden, weight, bias, softcap, padding_ids):
    logits = hidden[:-1] @ weight.T + bias
    if softcap is not None:
        logits = softcap * (logits / softcap).tanh()
    if padding_ids is not None:
        logits = logits.index_fill(1, padding_ids, -1e30)
    return logits[:, : NUM_TOKENS - 2].log_softmax(1)


@pytest.mark.parametrize("loss_scale", [1.0, 1e-7])
@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize(
    ("hidden_dtype", "weight_dtype", "half"),
    [
        (F32, F32, None),
        (F64, F32, None),
        (BF16, BF16, BF16),
        (F32, F32, BF16),
        (BF16, F32, BF16),
        (FP16, FP16, FP16),
        (F32, F32, FP16),
    ],
)
def test_off_by_the_rounding_of_operands_alone(
    hidden_dtype,
    weight_dtype,
    half,
    softcap,
    loss_scale,
    as_on_cuda,  # noqa: F811
):
    as_on_cuda(half)
    given = make((13,))
    hidden = given["hidden"].detach().to(hidden_dtype).requires_grad_()
    weight = given["weight"].detach().to(weight_dtype).requires_grad_()
    bias = torch.linspace(-2, 2, NUM_TOKENS).requires_grad_()
    padding_ids = torch.tensor([4, 20])
    inputs = (hidden, weight, bias)
    doubles = [
        each.detach().to(half if half and each is not bias else each.dtype).double()
        for each in inputs
    ]
    doubles = [each.requires_grad_() for each in doubles]
    found = distributions(*inputs, softcap, padding_ids).logprobs(PLACES)
    expected = naive(*doubles, softcap, padding_ids)
    assert found.dtype == (F64 if hidden_dtype == F64 else F32)
    is_token = torch.ones(NUM_TOKENS - 2).index_fill(0, padding_ids, 0).bool()
    torch.testing.assert_close(
        found.double()[:, is_token], expected[:, is_token], rtol=1e-5, atol=1e-5
    )
    factors = torch.linspace(-1, 2, found.numel()).view(found.shape).masked_fill(~is_token, 0)
    factors *= loss_scale
    gradients = torch.autograd.grad((factors * found).sum(), inputs)
    references = torch.autograd.grad((factors * expected).sum(), doubles)
    for given, gradient, reference in zip(inputs, gradients, references, strict=True):
        assert gradient.dtype == given.dtype
        off = (gradient.double() - reference).norm() / reference.norm()
        if given is bias or half is None:
            # no product rounds it
            assert off < 1e-6
        # fp16 cannot hold 1e-9
        elif gradient.dtype != FP16 or loss_scale == 1:
            assert torch.finfo(half).eps / 100 < off < torch.finfo(half).eps
    assert not gradients[1][-2:].any()
    assert not gradients[1][padding_ids].any()


@pytest.mark.parametrize("half", [BF16, FP16])
def test_nothing_waits_for_the_device_and_weights_are_cast_block_by_block(half, as_on_cuda):  # noqa: F811
    as_on_cuda(half)
    inputs = make((13,))
    side = distributions(inputs["hidden"], inputs["weight"], torch.zeros(NUM_TOKENS), 30.0)
    side = replace(side, head=replace(side.head, bias=side.head.bias.requires_grad_()))

    def entropy(given, places):
        logprobs = given.logprobs(places)
        return (logprobs.exp() * logprobs).sum()

    # seven columns of a block, with the 12 rows or the 8 channels
    with Walk(most_half=13 * 8) as walk:
        total = sum_over_slices(entropy, side, PLACES, num_tokens=NUM_TOKENS)
        total.backward()
    assert {"mm", "add_", "_to_copy"} <= walk.names
    assert inputs["weight"].grad.any()


def test_no_rows():
    inputs = make((13,))
    side = distributions(inputs["hidden"], inputs["weight"])
    side.logprobs(torch.zeros(0, dtype=torch.long)).sum().backward()
    assert not inputs["weight"].grad.any()


def test_slices_are_larger_where_memory_is_fast():
    assert slice_rows(262_144, torch.device("cpu")) == 256
    assert slice_rows(262_144, torch.device("cuda")) == 512
    assert slice_rows(2**28, torch.device("cuda")) == 1
