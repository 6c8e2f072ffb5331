"""The loss on a graphics card: its values and gradients, with kernels, and that it never waits."""

import pytest
import torch
from tests.unit.likelihood.test_linear import BOUNDARY_IDS, NUM_TOKENS, make, naive

from alm_lightning.likelihood import blocks
from alm_lightning.likelihood.distributions import Distributions
from alm_lightning.likelihood.head import OutputHead
from alm_lightning.likelihood.linear import linear_log_likelihood

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA card"),
]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(blocks, "ACCELERATOR_BLOCK_SIZE", (64, 16))


@pytest.fixture
def sync_mode():
    """Sets what happens where the host waits for the card."""
    yield torch.cuda.set_sync_debug_mode
    torch.cuda.set_sync_debug_mode("default")


def on_card(inputs):
    return {
        name: each.detach().cuda().requires_grad_(each.requires_grad)
        for name, each in inputs.items()
    }


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_and_gradients(dtype, softcap, autocast):
    """Off by the rounding of the operands and of the logits' gradient alone."""
    inputs = make((130,))
    options = {"boundary_ids": BOUNDARY_IDS, "softcap": softcap}
    half = dtype if dtype == torch.bfloat16 or not autocast else torch.bfloat16
    rounded = {n: inputs[n].detach().to(half) for n in ("hidden", "weight")}
    doubles = {n: each.double().requires_grad_() for n, each in rounded.items()}
    expected = naive(**(inputs | doubles), **options)
    # of what the card is given nothing is rounded twice
    ours = on_card(inputs | {n: inputs[n].detach().to(dtype) for n in rounded})
    for name in rounded:
        ours[name].requires_grad_()
    options["boundary_ids"] = BOUNDARY_IDS.cuda()
    with torch.autocast("cuda", torch.bfloat16, enabled=autocast):
        found = linear_log_likelihood(**ours, **options)
    for each, reference in zip(found, expected, strict=True):
        torch.testing.assert_close(each.double().cpu(), reference, rtol=2e-5, atol=2e-5)
    losses = [sum(each.sum() for each in results) for results in (found, expected)]
    gradients = torch.autograd.grad(losses[0], [ours[n] for n in rounded])
    references = torch.autograd.grad(losses[1], list(doubles.values()))
    for each, reference in zip(gradients, references, strict=True):
        off = (each.double().cpu() - reference).norm() / reference.norm()
        assert off < (1e-5 if half == torch.float32 else 2**-8)


def test_neither_the_loss_nor_whole_distributions_wait(sync_mode):
    inputs = make((130,))
    inputs["targets"] = inputs["targets"].clamp(5, 35)
    ours = on_card(inputs)
    bias = torch.zeros(NUM_TOKENS, device="cuda", requires_grad=True)
    ids, padding_ids = BOUNDARY_IDS.cuda(), torch.tensor([36, 4], device="cuda")
    head = OutputHead(ours["weight"], bias, 30.0, NUM_TOKENS, padding_ids, ids)
    side = Distributions(ours["hidden"][None], ours["hidden"][None].detach(), head)
    places = torch.arange(1, 130, device="cuda")
    options = {"boundary_ids": ids, "padding_ids": padding_ids, "bias": bias, "softcap": 30.0}
    for mode in ("default", "error"):  # first, kernels are compiled and memory is taken
        sync_mode(mode)
        with torch.autocast("cuda", torch.bfloat16):
            values = linear_log_likelihood(**ours, **options)
            loss = sum(each.sum() for each in values) + side.logprobs(places)[:, 1].sum()
        loss.backward()
