"""Triton kernels against torch's operations: interpreted, or compiled where there is a card."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.likelihood.test_linear import (  # noqa: F401  (small_blocks is a fixture)
    BOUNDARY_IDS,
    NUM_TOKENS,
    make,
    naive,
    small_blocks,
)
from tests.unit.likelihood.test_products import as_on_cuda  # noqa: F401  (a fixture)

from alm_lightning.likelihood import blocks, online_softmax
from alm_lightning.likelihood.elementwise.reference import TorchOperations, soft_capped
from alm_lightning.likelihood.linear import linear_log_likelihood

if find_spec("triton") is None:
    pytest.skip("triton is not installed (CUDA builds of torch bring it)", allow_module_level=True)

from alm_lightning.likelihood.elementwise import kernels
from alm_lightning.likelihood.elementwise.kernels import KernelOperations

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BF16, FP16, F32 = torch.bfloat16, torch.float16, torch.float32
LOWEST = torch.finfo(F32).min
# a bfloat16 unit more than rounding: the interpreter cuts digits off
OFF_BY = {F32: 2e-6, FP16: 2**-10, BF16: 2**-7}


@pytest.fixture(autouse=True)
def interpreted(monkeypatch):
    """Programs of 16 columns, so that rows take several; numpy may compute exp(-inf) in silence."""
    monkeypatch.setattr(kernels, "MOST_COLUMNS", 16)
    monkeypatch.setattr(KernelOperations, "has_failed", False)
    with np.errstate(all="ignore"):
        yield


@st.composite
def cases(draw):
    """A block of logits, as a view with gaps or not, and what belongs to its rows."""
    num_rows, num_columns = draw(st.integers(1, 5)), draw(st.integers(1, 50))
    torch.manual_seed(draw(st.integers(0, 1000)))
    product = torch.randn(num_rows, num_columns) * draw(st.sampled_from([0.01, 1.0, 20.0]))
    if draw(st.booleans()):
        product[draw(st.integers(0, num_rows - 1))] = -torch.inf
    bias = torch.randn(num_columns) if draw(st.booleans()) else None
    return {
        "product": product.to(draw(st.sampled_from([F32, BF16, FP16]))),
        "bias": bias,
        "softcap": draw(st.sampled_from([None, 1, 5.0, 30.0])),
        "columns": torch.randint(-num_columns, 2 * num_columns, (num_rows,)),
        "layout": draw(st.sampled_from(["rows", "padded", "columns"])),
        "out": draw(st.sampled_from([F32, BF16, FP16, "product"])),
    }


def laid_out(block, layout):
    """The same numbers as a view of other memory."""
    num_rows, num_columns = block.shape
    if layout == "rows":
        return block.clone().to(DEVICE)
    padded = block.new_zeros(num_rows, num_columns + 3)
    if layout == "columns":
        padded = block.new_zeros(num_columns, num_rows + 3).T[:num_rows]
    view = padded.to(DEVICE)[:, :num_columns]
    assert min(num_rows, num_columns) == 1 or not view.is_contiguous()
    return view.copy_(block)


def on_device(tensor):
    return None if tensor is None else tensor.to(DEVICE)


@settings(max_examples=40, deadline=None)
@given(cases(), st.booleans())
def test_sums_of_a_block(case, is_first):
    num_rows = len(case["product"])
    # rows of a larger matrix, every other one: what is between must stay as it is
    start = torch.full((3, 2 * num_rows), torch.nan)
    start[:2] = torch.tensor([LOWEST, 0.0] if is_first else [1.5, 2.0])[:, None]
    ours, expected = start.clone().to(DEVICE), start.clone()
    product = case["product"].float().clone()
    TorchOperations(case["softcap"]).add_up(
        product, case["bias"], case["columns"], *expected[:, ::2]
    )
    KernelOperations(case["softcap"]).add_up(
        laid_out(case["product"], case["layout"]),
        on_device(case["bias"]),
        on_device(case["columns"]),
        *ours[:, ::2],
    )
    torch.testing.assert_close(ours.cpu(), expected, rtol=2e-6, atol=4e-6, equal_nan=True)
    assert torch.equal(ours[:, 1::2].cpu().nan_to_num(7), start[:, 1::2].nan_to_num(7))


@settings(max_examples=40, deadline=None)
@given(cases())
def test_gradient_of_a_block(case):
    num_rows = len(case["product"])
    rows = {
        "shifts": torch.randn(num_rows) + 1,
        "scales": torch.randn(num_rows),
        # as a sum's gradient is: one number for all rows
        "at_target": torch.randn(()).expand(num_rows),
    }
    product = case["product"].float().clamp(-60, 20)
    ours = laid_out(product.to(case["product"].dtype), case["layout"])
    product = ours.float().cpu().clone()
    out = ours
    if case["out"] != "product":
        out = laid_out(torch.full(product.shape, torch.nan, dtype=case["out"]), case["layout"])
    logits = soft_capped(product.clone(), case["bias"], case["softcap"])
    exponentials = (logits - rows["shifts"][:, None]).exp() * rows["scales"][:, None]
    # a saturated soft cap has a slope of a few units in the last digit of 1, or none
    largest = float(exponentials.abs().max() + rows["at_target"].abs().max())
    expected = TorchOperations(case["softcap"]).gradient(
        product, case["bias"], case["columns"], **rows, out=torch.empty_like(product)
    )
    found = KernelOperations(case["softcap"]).gradient(
        ours,
        on_device(case["bias"]),
        on_device(case["columns"]),
        **{name: on_device(each) for name, each in rows.items()},
        out=out,
    )
    assert found is out
    off_by = OFF_BY[out.dtype]
    torch.testing.assert_close(
        found.float().cpu(),
        expected.to(out.dtype).float(),
        rtol=max(off_by, 1e-5),
        atol=max(4e-7 * largest, 1e-7 if out.dtype == FP16 else 0.0),
    )


@settings(max_examples=40, deadline=None)
@given(cases(), st.booleans(), st.sampled_from([1.0, 4096.0]))
def test_exponentials_that_are_kept(case, is_first, scale):
    num_rows = len(case["product"])
    start = torch.tensor([LOWEST, 0.0, torch.nan] if is_first else [1.5, 2.0, torch.nan])
    start = start[:, None].repeat(1, num_rows)
    product = case["product"].float().clamp(-60, 20)
    ours = laid_out(product.to(case["product"].dtype), case["layout"])
    product = ours.float().cpu().clone()
    out = ours
    if case["out"] != "product":
        out = laid_out(torch.full(product.shape, torch.nan, dtype=case["out"]), case["layout"])
    expected_totals, totals = start.clone(), start.clone().to(DEVICE)
    expected = TorchOperations(case["softcap"]).add_up_and_keep(
        product, case["bias"], case["columns"], *expected_totals, scale, torch.empty_like(product)
    )
    found = KernelOperations(case["softcap"]).add_up_and_keep(
        ours, on_device(case["bias"]), on_device(case["columns"]), *totals, scale, out
    )
    assert found is out
    torch.testing.assert_close(totals.cpu(), expected_totals, rtol=2e-6, atol=4e-6, equal_nan=True)
    torch.testing.assert_close(
        found.float().cpu(),
        expected.to(out.dtype).float(),
        rtol=max(OFF_BY[out.dtype], 1e-5),
        # the kernel takes the target out again, which leaves a rounding
        atol=4e-7 * scale + (1e-7 if out.dtype == FP16 else 0.0),
    )
    here = (case["columns"] >= 0) & (case["columns"] < product.shape[1])
    at_targets = found.float().cpu()[here.nonzero()[:, 0], case["columns"][here]]
    assert at_targets.abs().le(1e-6 * scale).all()


def test_what_is_no_number_stays_so():
    product = torch.tensor([[1.0, torch.nan, 2.0], [1.0, torch.inf, 2.0]], device=DEVICE)
    totals = torch.tensor([[LOWEST] * 2, [0.0] * 2, [0.0] * 2], device=DEVICE)
    targets = torch.tensor([0, 0], device=DEVICE)
    KernelOperations(None).add_up(product, None, targets, *totals)
    assert totals[1].isnan().all()


@pytest.fixture
def with_kernels(monkeypatch):
    """The loss on a CPU with the operations that it has on CUDA."""
    monkeypatch.setitem(blocks.BLOCK_SIZES, "cpu", (5, 20))
    monkeypatch.setattr(
        online_softmax, "operations_for", lambda device, precision, cap: KernelOperations(cap)
    )


@pytest.mark.parametrize("half", [None, BF16, FP16])
@pytest.mark.parametrize(("softcap", "has_bias"), [(None, False), (30, True)])
def test_the_loss_with_kernels(half, softcap, has_bias, as_on_cuda, with_kernels):  # noqa: F811
    as_on_cuda(half)
    inputs = {name: each.detach().to(DEVICE) for name, each in make((9,)).items()}
    names = ["hidden", "weight", "bias"] if has_bias else ["hidden", "weight"]
    if has_bias:
        inputs["bias"] = torch.linspace(-2, 2, NUM_TOKENS, device=DEVICE)
    for name in names:
        inputs[name].requires_grad_()
    options = {
        "boundary_ids": BOUNDARY_IDS.to(DEVICE),
        "softcap": softcap,
        "padding_ids": torch.tensor([36, 4], device=DEVICE),
    }
    inputs["targets"] = inputs["targets"].clamp(5, 35)
    rounded = {
        name: inputs[name].detach().to((name != "bias" and half) or F32).double().requires_grad_()
        for name in names
    }
    found = linear_log_likelihood(**inputs, **options)
    expected = naive(**(inputs | rounded), **options)
    losses = [sum(each.sum() for each in results) for results in (found, expected)]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-5, atol=1e-5)
    gradients = torch.autograd.grad(losses[0], [inputs[n] for n in names])
    references = torch.autograd.grad(losses[1], list(rounded.values()))
    for ours, theirs in zip(gradients, references, strict=True):
        off = (ours.double() - theirs).norm() / theirs.norm()
        assert off < (1e-6 if half is None else 2 * torch.finfo(half).eps)


def test_a_kernel_that_cannot_be_compiled_is_told_once(monkeypatch):
    class Broken:
        def __getitem__(self, grid):
            raise RuntimeError("Failed to find C compiler")

    block = torch.randn(2, 5, device=DEVICE)
    targets = torch.tensor([1, 2], device=DEVICE)
    of_rows = [torch.ones(2, device=DEVICE)] * 3
    expected = TorchOperations(None).gradient(
        block.clone(), None, targets, *of_rows, out=torch.empty_like(block)
    )
    monkeypatch.setattr(kernels, "_gradient", Broken())
    operations = KernelOperations(None)
    with pytest.warns(RuntimeWarning, match="RuntimeError: Failed to find C compiler.*gcc"):
        found = operations.gradient(block.clone(), None, targets, *of_rows, out=block.clone())
    torch.testing.assert_close(found, expected)
    # where the second of two kernels fails, the unknown logits of other targets do not matter
    KernelOperations.has_failed = False
    totals = torch.tensor([[LOWEST] * 2, [0.0] * 2, [torch.nan] * 2], device=DEVICE)
    elsewhere = torch.tensor([7, 9], device=DEVICE)
    with pytest.warns(RuntimeWarning, match="Failed to find C compiler"):
        kept = KernelOperations(None).add_up_and_keep(
            block.clone(), None, elsewhere, *totals, 1.0, block.clone()
        )
    torch.testing.assert_close(kept, (block - block.amax(1, keepdim=True)).exp())
    # in silence from here on, with a kernel that would still work
    totals = torch.zeros(3, 2, device=DEVICE)
    KernelOperations(None).add_up(block.clone(), None, targets, *totals)
    assert totals[1].all()
    assert KernelOperations.has_failed


COMPILE = """
import json, re
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from alm_lightning.likelihood.elementwise import kernels

types = {"product": "*fp32", "bias": "*bf16", "softcap": "fp32", "targets": "*i64", "out": "*bf16"}
others = ("maxima", "sums", "target_logits", "shifts", "scales", "at_target")
types |= dict.fromkeys(others, "*fp32")
found = {}
for architecture in (80, 90):
    for kernel in (kernels._add_up, kernels._gradient):
        names = kernel.arg_names
        fixed = {n: 1 for n in names if n.endswith("stride") and "row" not in n}
        fixed |= {"COLUMNS": kernels.MOST_COLUMNS}
        signature = {n: "constexpr" if n in fixed else types.get(n, "i32") for n in names}
        # what a launch sees for itself: addresses and lengths of rows are multiples of 16
        multiples = {
            (i,): [["tt.divisibility", 16]]
            for i, n in enumerate(names)
            if n not in fixed and n != "softcap"
        }
        source = ASTSource(kernel, signature, fixed, multiples)
        target = GPUTarget("cuda", architecture, 32)
        few, made = (
            triton.compile(source, target, {"num_warps": n, "enable_fp_fusion": True})
            for n in (1, kernels.NUM_WARPS)
        )
        assembly = made.asm["ptx"]
        found[f"{architecture} {kernel.fn.__name__}"] = {
            "loads": len(re.findall(r"ld\\.global\\.v4\\.b32", assembly)),
            "stores": len(re.findall(r"st\\.global\\.v4\\.b32", assembly)),
            # of machine code: registers are given out after the assembly
            "spills": ["STL" in each.asm["sass"] for each in (few, made)],
            "bytes": len(made.asm["cubin"]),
        }
print(json.dumps(found))
"""


@pytest.mark.slow
def test_kernels_compile_for_cards_and_move_16_bytes_at_once():
    """No card is needed to compile: assembly and machine code come from Triton's own assembler."""
    environment = os.environ | {"TRITON_INTERPRET": "0"}
    done = subprocess.run(
        [sys.executable, "-c", COMPILE], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found) == 4
    for name, figures in found.items():
        assert figures["bytes"] > 1000
        # a single warp can't hold a row's part in its registers
        assert figures["spills"] == [True, False]
        # 8,192 float32 by 256 threads, in fours (and a bias of 8 bfloat16 a load)
        assert figures["loads"] >= 8
        assert figures["stores"] == (0 if "add_up" in name else 4)
