"""What is multiplied where, and the products of a graphics card, made on the CPU."""

import pytest
import torch
from tests.unit.likelihood.test_linear import (  # noqa: F401  (small_blocks is a fixture)
    BOUNDARY_IDS,
    NUM_TOKENS,
    make,
    naive,
    small_blocks,
)
from torch.utils._python_dispatch import TorchDispatchMode

from alm_lightning.likelihood import blocks, products
from alm_lightning.likelihood.blocks import VocabularyOrder
from alm_lightning.likelihood.linear import linear_log_likelihood
from alm_lightning.likelihood.online_softmax import LinearLogLikelihood
from alm_lightning.likelihood.products import Precision, magnification, precision_of

BF16, FP16, F32, F64 = torch.bfloat16, torch.float16, torch.float32, torch.float64


@pytest.mark.parametrize(
    ("hidden", "weight", "autocast", "operands"),
    [
        (BF16, BF16, None, BF16),
        (FP16, FP16, None, FP16),
        (BF16, BF16, FP16, BF16),  # as they are: a cast would only lose digits
        (F32, F32, None, F32),  # precision=32-true
        (F32, F32, BF16, BF16),  # master weights under bf16-mixed
        (BF16, F32, BF16, BF16),
        (F32, BF16, FP16, FP16),
        (BF16, F32, None, F32),
        (FP16, BF16, None, F32),
        (F32, F32, F32, F32),
    ],
)
def test_what_cuda_multiplies(hidden, weight, autocast, operands):
    assert precision_of("cuda", hidden, weight, autocast) == Precision(operands, operands, F32)


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("autocast", [None, BF16])
def test_what_a_processor_multiplies(quick, autocast, monkeypatch):
    monkeypatch.setattr(products, "multiplies_bfloat16", lambda device: quick)
    in_float32 = Precision(F32, F32, F32)
    rounding = Precision(F32, F32, F32, rounds_to_bfloat16=True)
    under_autocast = rounding if quick and autocast else in_float32
    assert precision_of("cpu", F32, F32, autocast) == under_autocast
    assert precision_of("cpu", BF16, F32, autocast) == under_autocast
    assert precision_of("cpu", F32, F32, FP16) == in_float32
    assert precision_of("cpu", FP16, FP16, autocast) == in_float32
    assert precision_of("cpu", BF16, BF16, autocast) == (rounding if quick else in_float32)
    assert precision_of("mps", BF16, BF16, autocast) == in_float32


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_double_stays_double(device):
    for types in [(F64, F64), (F32, F64), (F64, BF16)]:
        assert precision_of(device, *types, BF16) == Precision(F64, F64, F64)


@pytest.mark.parametrize("largest", [0.0, 1e-30, 3e-9, 0.7, 1.0, 5e4, 1e30])
def test_gradients_fit_into_float16(largest):
    factor = magnification(FP16, torch.tensor(largest))
    assert magnification(BF16, torch.tensor(largest)) is None
    scaled = factor * largest
    assert scaled <= 2**12
    assert largest == 0 or scaled >= 2**11
    assert torch.frexp(factor).mantissa == 0.5


@pytest.fixture
def as_on_cuda(monkeypatch):
    """Computes on the CPU what CUDA computes under an autocast."""

    def pretend(autocast=None):
        def precision_here(hidden, weight):
            return precision_of("cuda", hidden.dtype, weight.dtype, autocast)

        monkeypatch.setattr(blocks, "precision_here", precision_here)

    return pretend


@pytest.mark.parametrize("loss_scale", [1.0, 1e-7])
@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize(
    ("hidden_dtype", "weight_dtype", "half"),
    [(BF16, BF16, BF16), (F32, F32, BF16), (BF16, F32, BF16), (FP16, FP16, FP16), (F32, F32, FP16)],
)
def test_half_precision_is_off_by_its_rounding_alone(
    hidden_dtype, weight_dtype, half, softcap, loss_scale, as_on_cuda
):
    as_on_cuda(half)
    inputs = make((13,))
    inputs["hidden"] = inputs["hidden"].detach().to(hidden_dtype).requires_grad_()
    inputs["weight"] = inputs["weight"].detach().to(weight_dtype).requires_grad_()
    inputs["bias"] = torch.linspace(-2, 2, NUM_TOKENS).requires_grad_()
    options = {"boundary_ids": BOUNDARY_IDS, "softcap": softcap, "num_tokens": NUM_TOKENS - 2}
    inputs["targets"] = inputs["targets"].clamp_max(NUM_TOKENS - 3)
    names = ("hidden", "weight", "bias")
    doubles = {
        name: inputs[name].detach().to(half if name != "bias" else F32).double().requires_grad_()
        for name in names
    }
    found = linear_log_likelihood(**inputs, **options)
    expected = naive(**(inputs | doubles), **options)
    factors = torch.linspace(-1, 2, 13) * loss_scale
    losses = []
    for each, results in enumerate((found, expected)):
        losses.append(sum((factors * (1 + i) * r).sum() for i, r in enumerate(results)))
        assert results[0].dtype == (F64 if each else F32)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-5, atol=1e-5)
    gradients = torch.autograd.grad(losses[0], [inputs[n] for n in names])
    references = torch.autograd.grad(losses[1], list(doubles.values()))
    for name, gradient, reference in zip(names, gradients, references, strict=True):
        assert gradient.dtype == inputs[name].dtype
        off = (gradient.double() - reference).norm() / reference.norm()
        # of the gradient of the logits, and of the result where it is half; fp16 cannot hold 1e-9
        if gradient.dtype != FP16 or loss_scale == 1:
            assert off < torch.finfo(half).eps
            # float32 results are off by the rounding of the logits' gradient: not exact by chance
            assert off > torch.finfo(half).eps / 100


class Walk(TorchDispatchMode):
    """Refuses what makes a device wait for the host, or holds a whole matrix in half precision."""

    WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "is_nonzero", "equal")

    def __init__(self, most_half: int) -> None:
        super().__init__()
        self.most_half, self.names = most_half, set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        assert not any(name.startswith(each) for each in self.WAITS), name
        if name.startswith("index"):  # a mask is counted first
            given = [each for each in torch.utils._pytree.tree_leaves(args) if each is not None]
            assert not any(isinstance(t, torch.Tensor) and t.dtype == torch.bool for t in given)
        result = func(*args, **kwargs or {})
        self.names.add(name)
        for each in torch.utils._pytree.tree_leaves(result):
            if isinstance(each, torch.Tensor) and each.dtype in (BF16, FP16):
                assert each.numel() < self.most_half, f"{name} makes all of it"
        return result


@pytest.mark.parametrize("half", [BF16, FP16])
def test_nothing_waits_for_the_device_and_weights_are_cast_block_by_block(half, as_on_cuda):
    as_on_cuda(half)
    inputs = make((13,))
    bias = torch.zeros(NUM_TOKENS, requires_grad=True)
    with Walk(most_half=NUM_TOKENS * 8) as walk:
        order = VocabularyOrder.boundary_first(BOUNDARY_IDS, NUM_TOKENS, torch.tensor([36, 4]))
        positions = order.positions(inputs["targets"].clamp(5, 35))
        values = LinearLogLikelihood.apply(
            inputs["hidden"], inputs["weight"], bias, positions, order, 30.0
        )
        (values[0].sum() - values[1].sum()).backward()
    assert {"mm", "add_", "_to_copy", "index_put_"} <= walk.names
    assert inputs["weight"].grad.any()


def test_the_walk_sees_what_waits():
    with Walk(most_half=3), pytest.raises(AssertionError, match="_local_scalar_dense"):
        torch.ones(2).sum().item()
    with Walk(most_half=3), pytest.raises(AssertionError):
        torch.ones(2)[torch.tensor([True, False])]
    with Walk(most_half=3), pytest.raises(AssertionError, match="makes all of it"):
        torch.ones(3).bfloat16()
