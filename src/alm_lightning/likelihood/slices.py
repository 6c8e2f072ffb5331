"""Sums over slices of rows, whose gradients are taken slice by slice, along with the value."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from torch.autograd.function import once_differentiable

from alm_lightning.likelihood.distributions import Distributions

SLICE_ELEMENTS = 2**26
"""Positions x tokens of a slice on a processor: 256 MiB of logits in float32, of which a few copies
are alive. For each slice the output matrix is rounded and its gradient added up: with a quarter of
it, 768 rows x 151,665 tokens took 1.6 times as long (docs/results/cost.md)."""

ACCELERATOR_SLICE_ELEMENTS = 2**27
"""The same elsewhere: 512 MiB. To read the output matrix twice and add its gradient up takes 15
times as long as the products for 64 rows x 262,144 tokens (by arithmetic: docs/results/cost.md)."""


def slice_rows(num_tokens: int, device: torch.device) -> int:
    """How many rows a slice has.

    Args:
        num_tokens: Columns of the widest distribution that is made of each row.
        device: Where they are made.

    Returns:
        At least 1.
    """
    elements = SLICE_ELEMENTS if device.type == "cpu" else ACCELERATOR_SLICE_ELEMENTS
    return max(1, elements // num_tokens)


def sum_over_slices(
    function: Callable[..., Float[Tensor, ""]],
    side: Distributions,
    *rows: Tensor,
    num_tokens: int,
    positions: Int[Tensor, " row"] | None = None,
) -> Float[Tensor, ""]:
    """Sum of a function over slices of rows, of which no more than one is held at a time.

    The gradient of a slice is taken as soon as its value is known, and added to those before: the
    result is a number, so a backward pass has only to scale what is there, however often it comes.
    Until then the gradients are held, that of the output matrix above all, as large as the matrix.

    Args:
        function: From distributions, and slices of `rows`, to a total over these rows. A gradient
            reaches what it is given, and nothing else.
        side: The distributions that the function is given.
        *rows: Tensors of the same length.
        num_tokens: Columns of the widest distribution that the function makes: the more, the fewer
            rows a slice has.
        positions: How many distributions each row makes; one if None. A row is never cut.

    Returns:
        The total; 0 without rows.

    Raises:
        ValueError: The function's result depends on a trained tensor that it was not given, which
            would have no gradient.
    """
    most = slice_rows(num_tokens, side.hidden.device)
    size = most if positions is None else _sizes(positions.tolist(), most)
    hidden, weight = _leaf(side.hidden), _leaf(side.head.weight)
    bias = None if side.head.bias is None else _leaf(side.head.bias)
    own = [_leaf(each) for each in rows]
    parts = [side.hidden, side.head.weight, side.head.bias, *rows]
    leaves = {n: each for n, each in enumerate([hidden, weight, bias, *own]) if each is not None}
    side = replace(side, hidden=hidden, head=replace(side.head, weight=weight, bias=bias))
    trained = [n for n, each in leaves.items() if each.requires_grad]
    gradients: dict[int, Tensor] = {}
    total = torch.zeros((), device=hidden.device)
    for part in zip(*(each.split(size) for each in own), strict=True):
        if not len(part[0]):
            continue
        value = function(side, *part)
        total = total + value.detach()
        if not value.requires_grad:
            continue
        _check_leaves(value, [leaves[n] for n in trained])
        # gradients are no operations of a forward pass, for autocast to cast
        with torch.autocast(value.device.type, enabled=False):
            found = torch.autograd.grad(value, [leaves[n] for n in trained], allow_unused=True)
        for n, gradient in zip(trained, found, strict=True):
            if n in gradients and gradient is not None:
                # in float32: a sum of many slices in bfloat16 would lose those that are small
                dtype = torch.promote_types(gradient.dtype, torch.float32)
                gradients[n] = gradients[n].to(dtype).add_(gradient)
            elif gradient is not None:
                # an expanded one has no memory of its own for each element to be added to
                gradients[n] = gradient.contiguous()
    # not the parameters themselves: of a node between the backward pass knows if it is asked for
    given = [each for n, each in enumerate(parts) if each is not None and n in gradients]
    nodes = [each.view_as(each) for each in given]
    return _Known.apply(total, [gradients[n] for n in sorted(gradients)], *nodes)


def _leaf(part: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """The same numbers, with nothing behind them: what lies there must not be gone through twice.

    With tied embeddings, for one, the output matrix lies behind the hidden states.
    """
    return part.detach().requires_grad_(part.requires_grad and torch.is_grad_enabled())


def _check_leaves(value: Float[Tensor, ""], leaves: Sequence[Tensor]) -> None:
    """That nothing trained lies behind a value but some leaves."""
    seen, left = set(), [value.grad_fn]
    while left:
        node = left.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        found = getattr(node, "variable", None)
        if found is not None and not any(found is each for each in leaves):
            raise ValueError(
                f"the function of a sum over slices depends on a trained tensor of shape "
                f"{tuple(found.shape)} that it was not given, so that this would have no gradient: "
                "detach it, or hand what is made of it over among the rows."
            )
        left.extend(following for following, _ in node.next_functions)


def _sizes(positions: Sequence[int], most: int) -> list[int]:
    """How many rows each slice has: of that many positions at most, or a single row."""
    sizes, filled = [0], 0
    for count in positions:
        if sizes[-1] and filled + count > most:
            sizes.append(0)
            filled = 0
        sizes[-1] += 1
        filled += count
    return sizes


class _Known(torch.autograd.Function):
    """A number whose gradients are known beforehand."""

    @staticmethod
    def forward(
        ctx: Any, total: Float[Tensor, ""], gradients: list[Tensor], *parts: Tensor
    ) -> Float[Tensor, ""]:
        ctx.save_for_backward(*gradients)
        return total.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Float[Tensor, ""]) -> tuple[Tensor | None, ...]:
        # where gradients of terms are compared, nobody asks for that of the output matrix, which is
        # as large as the matrix; the first node is that of the total
        asked = [torch._C._will_engine_execute_node(node) for node, _ in ctx.next_functions[1:]]
        pairs = zip(ctx.saved_tensors, asked, strict=True)
        return None, None, *(_scaled(each, grad) if needed else None for each, needed in pairs)


def _scaled(gradient: Tensor, scale: Float[Tensor, ""]) -> Tensor:
    # the scale is rounded with each product, not once for all of them: that would be a bias of up
    # to 0.4 % in bfloat16
    if gradient.dtype in (torch.float32, torch.float64):
        return gradient * scale
    return (gradient.float() * scale).to(gradient.dtype)
