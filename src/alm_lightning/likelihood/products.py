"""Products with the output matrix: what they multiply, and what they add up in.

A graphics card multiplies bfloat16 ten times as fast as float32, and adds up in float32 either way.
A processor returns what it is given: there the operands are float32, rounded to bfloat16 numbers.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from alm_lightning.likelihood.hardware import multiplies_bfloat16

HALF_PRECISION = (torch.bfloat16, torch.float16)
"""Types that CUDA multiplies while it accumulates in float32."""

HIGHEST_EXPONENT = 12
"""Gradients in float16 are scaled to at most 2 to this power: a factor of 16 below its largest
number, and 2^36 above its smallest."""


@dataclass(frozen=True)
class Precision:
    """Types of numbers in one pass over the logits and its backward pass.

    Attributes:
        operands: What the product that gives logits multiplies.
        gradients: What the products that make gradients multiply.
        sums: Logits, and sums over products: float32, or float64 where an input is.
        rounds_to_bfloat16: Whether the operands of logits are float32 that hold bfloat16 numbers
            (`operand` rounds them), which a processor may multiply as such. What gradients are made
            of it rounds to that, as CUDA does.
    """

    operands: torch.dtype
    gradients: torch.dtype
    sums: torch.dtype
    rounds_to_bfloat16: bool = False


def precision_of(
    device_type: str,
    hidden: torch.dtype,
    weight: torch.dtype,
    autocast: torch.dtype | None,
) -> Precision:
    """What is multiplied on a device, given the types of the operands.

    Logits are float32 even where both operands are half precision: in bfloat16 they have steps of
    0.125 at a magnitude of 30, and log-probabilities were measured to be off by up to 0.17 nats,
    where good models differ by less. CUDA multiplies the halves themselves and accumulates in
    float32, in both directions. So does a CPU that multiplies bfloat16, but it returns bfloat16:
    there the operands are cast to float32, and oneDNN may round them to bfloat16 again, which loses
    nothing for logits (`multiply_in`). All else multiplies in float32.

    Args:
        device_type: As in ``torch.device.type``.
        hidden: Type of the hidden states.
        weight: Type of the output matrix.
        autocast: What autocast casts to on this device, None where it is off. Operands are cast
            where not both are of one half-precision type anyway. CUDA heeds it, and so does a CPU
            that multiplies bfloat16, for that type.

    Returns:
        The types of all that is computed.
    """
    if torch.float64 in (hidden, weight):
        return Precision(torch.float64, torch.float64, torch.float64)
    half = hidden if hidden == weight and hidden in HALF_PRECISION else autocast
    if device_type == "cuda" and half in HALF_PRECISION:
        return Precision(half, half, torch.float32)
    if device_type == "cpu" and half == torch.bfloat16 and multiplies_bfloat16("cpu"):
        return Precision(torch.float32, torch.float32, torch.float32, rounds_to_bfloat16=True)
    return Precision(torch.float32, torch.float32, torch.float32)


def precision_here(hidden: Float[Tensor, "..."], weight: Float[Tensor, "..."]) -> Precision:
    """`precision_of` two tensors under the autocast of this moment (a backward pass has none)."""
    kind = hidden.device.type
    is_cast = kind in ("cuda", "cpu") and torch.is_autocast_enabled(kind)
    autocast = torch.get_autocast_dtype(kind) if is_cast else None
    return precision_of(kind, hidden.dtype, weight.dtype, autocast)


def operand(tensor: Float[Tensor, "..."], precision: Precision) -> Float[Tensor, "..."]:
    """Hidden states or rows of the output matrix as they are multiplied for logits."""
    if precision.rounds_to_bfloat16:
        tensor = tensor.to(torch.bfloat16)
    return tensor.to(precision.operands)


def multiply(
    left: Float[Tensor, "m k"],
    right: Float[Tensor, "k n"],
    out: Float[Tensor, "m n"],
) -> Float[Tensor, "m n"]:
    """The product of two matrices of one type, accumulated and returned in the type of `out`."""
    if left.dtype == out.dtype:
        return torch.mm(left, right, out=out)
    if left.is_cuda:
        return torch.mm(left, right, out_dtype=out.dtype, out=out)
    # float32 holds the products of halves, so that this is what CUDA computes
    return torch.mm(left.to(out.dtype), right.to(out.dtype), out=out)


@contextmanager
def multiply_in(precision: Literal["bf16", "ieee"]) -> Iterator[None]:
    """How a processor multiplies float32, whose sums and results stay float32 either way.

    The setting is the process's, and afterwards what it was.

    Args:
        precision: ``bf16`` lets oneDNN round the operands, which loses nothing where bfloat16 holds
            them, and takes half of the time or less. ``ieee`` rounds nothing, whatever
            ``torch.set_float32_matmul_precision`` allows.
    """
    settings = getattr(torch.backends.mkldnn, "matmul", None)
    if settings is None:
        # torch 2.8 has no setting for the processor alone: nothing is rounded
        yield
        return
    before = settings.fp32_precision
    settings.fp32_precision = precision
    try:
        yield
    finally:
        settings.fp32_precision = before


def add_product(
    total: Float[Tensor, "m n"] | None,
    left: Float[Tensor, "m k"],
    right: Float[Tensor, "k n"],
    dtype: torch.dtype,
) -> Float[Tensor, "m n"]:
    """Adds the product of two matrices of one type to a sum in `dtype`, or begins one."""
    if total is not None and left.dtype == dtype:
        return total.addmm_(left, right)
    product = multiply(left, right, left.new_empty(len(left), right.shape[1], dtype=dtype))
    # not addmm(out_dtype=): which type it wants the sum in differs between versions of torch
    return product if total is None else total.add_(product)


def magnification(dtype: torch.dtype, largest: Float[Tensor, ""]) -> Float[Tensor, ""] | None:
    """By how much gradients are scaled before they are cast, so that small ones do not vanish.

    Only float16 needs it: bfloat16 has float32's exponents.

    Args:
        dtype: What the gradients are cast to.
        largest: A bound of their magnitude.

    Returns:
        A power of two (computed without waiting for the device), or None for no scale.
    """
    if dtype != torch.float16:
        return None
    exponent = torch.frexp(largest).exponent.clamp_min(-100)
    return torch.exp2((HIGHEST_EXPONENT - exponent).to(largest.dtype))


def unscaled(total: Float[Tensor, "..."], factor: Float[Tensor, ""] | None) -> Float[Tensor, "..."]:
    """A sum of gradients that were multiplied by a `magnification`, without it; in place."""
    return total if factor is None else total.div_(factor)
