import inspect

import pytest
import torch
from torch import Tensor

from alm_lightning.likelihood import blocks, products
from alm_lightning.likelihood.blocks import LogitBlocks
from alm_lightning.likelihood.linear import linear_log_likelihood
from alm_lightning.likelihood.weight_sums import WeightSums

NUM_TOKENS, WIDTH = 37, 8


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks so small that every test crosses several, ragged ones included."""
    monkeypatch.setitem(blocks.BLOCK_SIZES, "cpu", (4, 7))


def naive(
    hidden,
    weight,
    targets,
    boundary_ids=None,
    bias=None,
    softcap=None,
    num_tokens=None,
    padding_ids=None,
):
    logits = hidden @ weight.T
    if bias is not None:
        logits = logits + bias
    if softcap is not None:
        logits = softcap * (logits / softcap).tanh()
    if padding_ids is not None:
        logits = logits.index_fill(-1, padding_ids.long(), -torch.inf)
    logprobs = logits[..., :num_tokens].log_softmax(-1)
    target_logprobs = logprobs.gather(-1, targets[..., None].long()).squeeze(-1)
    if boundary_ids is None:
        return target_logprobs, None
    return target_logprobs, logprobs[..., boundary_ids].logsumexp(-1)


def make(lead=(3, 5), dtype=torch.float32, scale=1.0):
    generator = torch.Generator().manual_seed(1)
    options = {"generator": generator, "dtype": torch.float64}
    return {
        "hidden": (torch.randn(*lead, WIDTH, **options) * scale).to(dtype).requires_grad_(),
        "weight": torch.randn(NUM_TOKENS, WIDTH, **options).to(dtype).requires_grad_(),
        "targets": torch.randint(NUM_TOKENS - 5, lead, generator=generator),
    }


def assert_same(inputs: dict, *, rtol: float = 1e-5, **options) -> None:
    """Values and gradients against the naive computation, which is made in float64."""
    results = linear_log_likelihood(**inputs, **options)
    doubles = {
        name: value.detach().double().requires_grad_(value.requires_grad)
        if isinstance(value, Tensor) and value.is_floating_point()
        else value
        for name, value in (inputs | options).items()
    }
    expected = naive(**doubles)
    losses = []
    for result, reference in zip(results, expected, strict=True):
        if reference is None:
            assert result is None
            continue
        assert result.dtype == torch.float32
        assert bool((result <= 0).all())
        torch.testing.assert_close(result.double(), reference, rtol=rtol, atol=1e-6)
        weights = torch.linspace(-1, 2, reference.numel()).view(reference.shape)
        losses.append(((weights * result).sum(), (weights * reference).sum()))
    ours, theirs = (sum(each) for each in zip(*losses, strict=True))
    given = inputs | options
    names = [n for n, v in given.items() if isinstance(v, Tensor) and v.requires_grad]
    gradients = torch.autograd.grad(ours, [given[n] for n in names])
    references = torch.autograd.grad(theirs, [doubles[n] for n in names])
    for name, gradient, reference in zip(names, gradients, references, strict=True):
        assert gradient.dtype == given[name].dtype
        scale = float(reference.abs().max()) if reference.numel() else 0.0
        torch.testing.assert_close(gradient.double(), reference, rtol=rtol, atol=rtol * scale)


BOUNDARY_IDS = torch.tensor([30, 2, 3, 17, 8, 9, 25, 11, 0, 31])


@pytest.mark.parametrize("lead", [(), (1,), (13,), (3, 5), (2, 3, 2)])
@pytest.mark.parametrize("boundary_ids", [None, BOUNDARY_IDS])
def test_values_and_gradients(lead, boundary_ids):
    assert_same(make(lead), boundary_ids=boundary_ids)


@pytest.mark.parametrize("boundary_ids", [None, BOUNDARY_IDS])
@pytest.mark.parametrize("softcap", [None, 3.0, 30])
@pytest.mark.parametrize("num_tokens", [None, NUM_TOKENS - 5])
def test_bias_softcap_and_padding_rows(boundary_ids, softcap, num_tokens):
    bias = torch.linspace(-2, 2, NUM_TOKENS).requires_grad_()
    options = {"bias": bias, "softcap": softcap, "num_tokens": num_tokens}
    assert_same(make(), boundary_ids=boundary_ids, **options)


def test_padding_rows_get_no_gradient():
    inputs = make()
    target_logprobs, _ = linear_log_likelihood(**inputs, num_tokens=NUM_TOKENS - 5)
    target_logprobs.sum().backward()
    assert not bool(inputs["weight"].grad[-5:].any())
    assert bool(inputs["weight"].grad[:-5].any(1).all())


@pytest.mark.parametrize("only", ["hidden", "weight"])
def test_frozen_inputs_get_no_gradient(only):
    inputs = make()
    for name in {"hidden", "weight"} - {only}:
        inputs[name].requires_grad_(False)
    assert_same(inputs, boundary_ids=BOUNDARY_IDS)


def test_the_weight_has_no_gradient_where_nobody_asks_for_it(monkeypatch):
    """Gradients of terms are compared at a matrix before the output layer, again and again."""
    visited = []

    def noted(self, rows, columns, out=None):
        visited.append(rows)
        return product(self, rows, columns, out)

    product = LogitBlocks.product
    monkeypatch.setattr(LogitBlocks, "product", noted)
    before, weight, targets = make((7,)).values()
    bias = torch.zeros(NUM_TOKENS, requires_grad=True)
    total = linear_log_likelihood(before * 1.0, weight, targets, bias=bias)[0].sum()
    assert visited
    visited.clear()
    (alone,) = torch.autograd.grad(total, before, retain_graph=True)
    # the forward pass has all that it needs
    assert not visited
    both = torch.autograd.grad(total, (before, weight), retain_graph=True)
    (of_weight,) = torch.autograd.grad(total, weight, retain_graph=True)
    total.backward()
    assert torch.equal(before.grad, alone)
    assert torch.equal(both[0], alone)
    assert torch.equal(both[1], weight.grad)
    assert torch.equal(of_weight, weight.grad)
    assert weight.grad.any()
    assert visited


def test_nothing_is_kept_where_no_gradient_is_needed(monkeypatch):
    sums = []

    def made(*args):
        sums.append(WeightSums(*args))
        return sums[-1]

    monkeypatch.setattr("alm_lightning.likelihood.online_softmax.WeightSums", made)
    with torch.no_grad():
        results = linear_log_likelihood(**make(), boundary_ids=BOUNDARY_IDS)
    assert all(each.grad_fn is None for each in results)
    assert not sums
    linear_log_likelihood(**make(), boundary_ids=BOUNDARY_IDS)
    assert sums


def test_one_result_alone_has_the_right_gradient():
    inputs = make()
    _, boundary = linear_log_likelihood(**inputs, boundary_ids=BOUNDARY_IDS)
    _, expected = naive(**inputs, boundary_ids=BOUNDARY_IDS)
    sources = (inputs["hidden"], inputs["weight"])
    gradients = torch.autograd.grad(boundary.sum(), sources)
    references = torch.autograd.grad(expected.sum(), sources)
    torch.testing.assert_close(gradients, references, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("softcap", [None, 2.0])
def test_gradcheck(softcap):
    inputs = make((5,), torch.float64)
    bias = torch.linspace(-1, 1, NUM_TOKENS, dtype=torch.float64).requires_grad_()

    def function(hidden: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        return linear_log_likelihood(
            hidden,
            weight,
            inputs["targets"],
            boundary_ids=BOUNDARY_IDS,
            bias=bias,
            softcap=softcap,
            num_tokens=NUM_TOKENS - 2,
        )

    assert function(inputs["hidden"], inputs["weight"], bias)[0].dtype == torch.float64
    assert torch.autograd.gradcheck(function, (inputs["hidden"], inputs["weight"], bias))


@pytest.mark.parametrize("quick", [True, False])
def test_autocast_rounds_operands_where_a_processor_multiplies_bfloat16(quick, monkeypatch):
    monkeypatch.setattr(products, "multiplies_bfloat16", lambda device: quick)

    def run(rounding=lambda tensor: tensor) -> list[Tensor]:
        inputs = make(scale=4.0)
        for name in ("hidden", "weight"):
            inputs[name] = rounding(inputs[name].detach()).requires_grad_()
        results = linear_log_likelihood(**inputs, boundary_ids=BOUNDARY_IDS)
        loss = sum(each.sum() for each in results)
        return [*results, *torch.autograd.grad(loss, (inputs["hidden"], inputs["weight"]))]

    plain, rounded = run(), run(lambda tensor: tensor.bfloat16())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast = run()
    for each, exact, rough in zip(under_autocast, plain, rounded, strict=True):
        assert each.dtype == torch.float32
        if not quick:
            assert torch.equal(each, exact)
        elif rough.dtype == torch.float32:
            assert torch.equal(each, rough)
        else:  # a gradient is rounded once more there, and its target's row of the weight was
            torch.testing.assert_close(each, rough.float(), rtol=2**-6, atol=1e-3)


@pytest.mark.parametrize("weight_dtype", [torch.float32, torch.bfloat16])
def test_half_precision_is_computed_in_float32(weight_dtype):
    inputs = make()
    inputs["hidden"] = inputs["hidden"].detach().bfloat16().requires_grad_()
    inputs["weight"] = inputs["weight"].detach().to(weight_dtype).requires_grad_()
    results = linear_log_likelihood(**inputs, boundary_ids=BOUNDARY_IDS)
    floats = inputs | {n: inputs[n].detach().float().requires_grad_() for n in ("hidden", "weight")}
    expected = linear_log_likelihood(**floats, boundary_ids=BOUNDARY_IDS)
    rounded = (inputs["hidden"].bfloat16() @ inputs["weight"].bfloat16().T).float()
    off = (rounded - floats["hidden"] @ floats["weight"].T).abs().max()
    assert off > 5e-3
    sums = []
    for result, reference in zip(results, expected, strict=True):
        # one float32 product, or two in bfloat16 whose sum is as good; one alone would be far off
        torch.testing.assert_close(result, reference, rtol=0.0, atol=1e-4)
        sums.append((result.sum(), reference.sum()))
    ours, theirs = (sum(each) for each in zip(*sums, strict=True))
    ours.backward()
    theirs.backward()
    for name in ("hidden", "weight"):
        found, expected = inputs[name].grad, floats[name].grad
        assert found.dtype == inputs[name].dtype
        # rounded once: at most one step of the type away
        step = torch.finfo(found.dtype).eps
        torch.testing.assert_close(found.float(), expected, rtol=max(step, 1e-5), atol=1e-4)


@pytest.mark.parametrize("lead", [(0,), (2, 0)])
def test_no_rows(lead):
    inputs = make(lead)
    target, boundary = linear_log_likelihood(**inputs, boundary_ids=BOUNDARY_IDS)
    assert target.shape == boundary.shape == lead
    (target.sum() + boundary.sum()).backward()
    assert inputs["hidden"].grad.shape == (*lead, WIDTH)
    assert not bool(inputs["weight"].grad.any())


def test_inputs_need_not_be_contiguous():
    inputs = make((5, 3))
    inputs["hidden"] = inputs["hidden"].detach().transpose(0, 1).requires_grad_()
    inputs["targets"] = inputs["targets"].T
    inputs["weight"] = inputs["weight"].detach().T.contiguous().T.requires_grad_()
    assert_same(inputs, boundary_ids=BOUNDARY_IDS[::2])


def test_subset_that_is_empty_or_everything():
    inputs = make()
    _, nothing = linear_log_likelihood(**inputs, boundary_ids=torch.tensor([], dtype=torch.long))
    assert bool((nothing == -torch.inf).all())
    target, everything = linear_log_likelihood(**inputs, boundary_ids=torch.arange(NUM_TOKENS))
    assert not bool(everything.any())
    (gradient,) = torch.autograd.grad((target + everything).sum(), inputs["weight"])
    (expected,) = torch.autograd.grad(naive(**inputs)[0].sum(), inputs["weight"])
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-5)


def test_tokens_that_a_bias_forbids():
    bias = torch.zeros(NUM_TOKENS)
    bias[:20] = -torch.inf  # whole blocks of them, and the first ones visited
    inputs = make()
    inputs["targets"] = inputs["targets"].clamp_min(20)
    assert_same(inputs, bias=bias, boundary_ids=torch.tensor([1, 2, 21]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden": torch.zeros(3, 5, WIDTH + 1)}, "hidden has 9 channels, but weight has 8"),
        ({"targets": torch.zeros(3, 4, dtype=torch.long)}, r"shape \(3, 4\), expected \(3, 5\)"),
        ({"bias": torch.zeros(4)}, r"bias has shape \(4,\), expected \(37,\)"),
        ({"num_tokens": 38}, "num_tokens is 38, expected 1 to 37"),
        ({"targets": torch.full((3, 5), -100)}, "targets range from -100 to -100.*0 to 36"),
        ({"targets": torch.full((3, 5), 36), "num_tokens": 36}, "targets range from 36 to 36"),
        ({"boundary_ids": torch.tensor([1, 37])}, "boundary_ids range from 1 to 37"),
        ({"boundary_ids": torch.tensor([1, 4, 1])}, "boundary_ids hold 3 ids, of which 2 differ"),
    ],
)
def test_errors_name_what_was_given_and_expected(changes, message):
    # without the annotations' own check, which tests alone have
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(linear_log_likelihood)(**make() | changes)
