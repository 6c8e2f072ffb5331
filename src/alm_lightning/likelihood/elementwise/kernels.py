"""A block of logits in two Triton kernels: one adds it up, one writes exponentials or a gradient.

Torch's operations read or write a block 6 times forward and 8 times backward, with a soft cap 12
and 25 times, which takes a graphics card longer than the products. What is computed is the same.

Only `choice` imports this: Triton is there where CUDA builds of torch for Linux are.
"""

import warnings
from typing import Any, no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

from alm_lightning.likelihood.elementwise.reference import TorchOperations

MOST_COLUMNS = 8192
"""Columns that a program holds in its registers at once: 32 to a thread."""

NUM_WARPS = 8
"""Warps of 32 threads of a program."""


# no_type_check: the types of arguments that tests watch over would be in the compiler's way
@triton.jit
@no_type_check
def _tanh(number):
    """Hyperbolic tangent to the last digits, near 0 too (the polynomial is that of Cephes)."""
    magnitude = tl.abs(number)
    # where the exponential is infinite this is 1
    far = 1.0 - 2.0 / (tl.exp(2.0 * magnitude) + 1.0)
    square = number * number
    series = -5.70498872745e-3 * square + 2.06390887954e-2
    series = series * square - 5.37397155531e-2
    series = series * square + 1.33314422036e-1
    series = series * square - 3.33332819422e-1
    near = series * square * number + number
    return tl.where(magnitude < 0.625, near, tl.where(number < 0.0, -far, far))


@triton.jit
@no_type_check
def _logits(row, columns, within, column_stride, bias, softcap):
    """Logits of some columns of a row; any number in columns that are not within the block."""
    # in 64 bits: rows x columns of a large block are more than 2^31
    numbers = tl.load(row + columns.to(tl.int64) * column_stride, mask=within, other=0.0)
    numbers = numbers.to(tl.float32)
    if bias is not None:
        numbers += tl.load(bias + columns, mask=within, other=0.0).to(tl.float32)
    if softcap is not None:
        # one division a program: with one a number, arithmetic would take longer than memory
        numbers = _tanh(numbers * (1.0 / softcap)) * softcap
    return numbers


@triton.jit
@no_type_check
def _add_up(
    product,
    row_stride,
    column_stride,
    num_columns,
    bias,
    softcap,
    targets,
    maxima,
    maxima_stride,
    sums,
    sums_stride,
    target_logits,
    target_logits_stride,
    COLUMNS: tl.constexpr,
):
    """One row of a block, `COLUMNS` at a time."""
    n = tl.program_id(0).to(tl.int64)
    row = product + n * row_stride
    maximum = tl.load(maxima + n * maxima_stride)
    total = tl.load(sums + n * sums_stride)
    for start in range(0, num_columns, COLUMNS):
        columns = start + tl.arange(0, COLUMNS)
        within = columns < num_columns
        logits = _logits(row, columns, within, column_stride, bias, softcap)
        logits = tl.where(within, logits, -float("inf"))
        higher = tl.maximum(maximum, tl.max(logits, axis=0))
        total = total * tl.exp(maximum - higher) + tl.sum(tl.exp(logits - higher), axis=0)
        maximum = higher
    tl.store(maxima + n * maxima_stride, maximum)
    tl.store(sums + n * sums_stride, total)
    target = tl.load(targets + n)
    here = (target >= 0) & (target < num_columns)
    found = _logits(row, target, here, column_stride, bias, softcap)
    tl.store(target_logits + n * target_logits_stride, found, mask=here)


@triton.jit
@no_type_check
def _gradient(
    product,
    row_stride,
    column_stride,
    num_columns,
    bias,
    softcap,
    targets,
    shifts,
    scales,
    at_target,
    out,
    out_row_stride,
    out_column_stride,
    COLUMNS: tl.constexpr,
):
    """`COLUMNS` of one row of a block."""
    n = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    within = columns < num_columns
    row = product + n * row_stride
    logits = _logits(row, columns, within, column_stride, bias, softcap)
    gradient = tl.exp(logits - tl.load(shifts + n)) * tl.load(scales + n)
    gradient += tl.where(columns == tl.load(targets + n), tl.load(at_target + n), 0.0)
    if softcap is not None:
        hyperbolic = logits * (1.0 / softcap)
        gradient *= 1.0 - hyperbolic * hyperbolic
    places = out + n * out_row_stride + columns.to(tl.int64) * out_column_stride
    tl.store(places, gradient.to(out.dtype.element_ty), mask=within)


class KernelOperations(TorchOperations):
    """`TorchOperations` in kernels, for products of up to 32 bits a number.

    Where a kernel cannot be compiled, one warning says why, and torch's operations do the work from
    there on: the block is as it was, since no kernel has run.

    Args:
        softcap: Bound of the logits' magnitude, if there is one.
    """

    has_failed = False
    """Whether a kernel could not be compiled in this process."""

    def add_up(
        self,
        product: Float[Tensor, "row column"],
        bias: Float[Tensor, " column"] | None,
        columns: Int[Tensor, " row"],
        maxima: Float[Tensor, " row"],
        sums: Float[Tensor, " row"],
        target_logits: Float[Tensor, " row"],
    ) -> None:
        """As `TorchOperations.add_up`, but the product stays as it is."""
        if not self._adds_up(product, bias, columns, maxima, sums, target_logits):
            super().add_up(product, bias, columns, maxima, sums, target_logits)

    def add_up_and_keep(
        self,
        product: Float[Tensor, "row column"],
        bias: Float[Tensor, " column"] | None,
        columns: Int[Tensor, " row"],
        maxima: Float[Tensor, " row"],
        sums: Float[Tensor, " row"],
        target_logits: Float[Tensor, " row"],
        scale: float,
        out: Float[Tensor, "row column"],
    ) -> Float[Tensor, "row column"]:
        """As `TorchOperations.add_up_and_keep`: both kernels, one after the other."""
        totals = maxima, sums, target_logits
        if not self._adds_up(product, bias, columns, *totals):
            return super().add_up_and_keep(product, bias, columns, *totals, scale, out)
        scales = torch.full_like(maxima, scale)
        # what the target has in the block is taken out; elsewhere its logit may not be known yet
        at_target = -scale * (target_logits - maxima).exp()
        return self.gradient(product, bias, columns, maxima, scales, at_target, out)

    def _adds_up(
        self,
        product: Float[Tensor, "row column"],
        bias: Float[Tensor, " column"] | None,
        columns: Int[Tensor, " row"],
        *totals: Float[Tensor, " row"],
    ) -> bool:
        """Starts the kernel of `add_up`; False where it fails."""
        # a number per row each, updated in place
        places = [each for total in totals for each in (total, total.stride(0))]
        return self._runs(_add_up, 1, product, bias, columns.contiguous(), *places)

    def gradient(
        self,
        product: Float[Tensor, "row column"],
        bias: Float[Tensor, " column"] | None,
        columns: Int[Tensor, " row"],
        shifts: Float[Tensor, " row"],
        scales: Float[Tensor, " row"],
        at_target: Float[Tensor, " row"],
        out: Float[Tensor, "row column"],
    ) -> Float[Tensor, "row column"]:
        """As `TorchOperations.gradient`, but the product stays as it is, unless it is `out`."""
        rows = [each.contiguous() for each in (columns, shifts, scales, at_target)]
        parts = -(-product.shape[1] // MOST_COLUMNS)
        if self._runs(_gradient, parts, product, bias, *rows, out, *out.stride()):
            return out
        return super().gradient(product, bias, columns, shifts, scales, at_target, out)

    def _runs(
        self,
        kernel: Any,
        parts: int,
        product: Float[Tensor, "row column"],
        bias: Float[Tensor, " column"] | None,
        *others: Tensor | int,
    ) -> bool:
        """Starts a kernel, a program for each row and part of its columns; False where it fails."""
        if KernelOperations.has_failed:
            return False
        num_rows, num_columns = product.shape
        bias = None if bias is None else bias.contiguous()
        softcap = None if self._softcap is None else float(self._softcap)
        try:
            # a kernel starts on the current device, whatever device its tensors are on
            with torch.cuda.device_of(product):
                kernel[(num_rows, parts)](
                    product,
                    *product.stride(),
                    num_columns,
                    bias,
                    softcap,
                    *others,
                    COLUMNS=min(MOST_COLUMNS, triton.next_power_of_2(num_columns)),
                    num_warps=NUM_WARPS,
                    # asked for, since Triton 3.9 warns where nobody does
                    enable_fp_fusion=True,
                )
        # whatever it is: compilers, linkers and drivers have many ways to fail
        except Exception as error:
            if isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error):
                # loading a kernel takes memory as well, and another time there may be more
                raise torch.OutOfMemoryError(str(error)) from error
            KernelOperations.has_failed = True
            warnings.warn(
                "The loss could not start its Triton kernels, and takes torch's operations in "
                f"their place, which are slower and as exact. The reason: {type(error).__name__}: "
                f"{error}. If a C compiler is missing, install gcc; else report this, with the "
                f"versions of torch ({torch.__version__}) and triton ({triton.__version__}).",
                RuntimeWarning,
                stacklevel=2,
            )
            return False
        return True
