"""The softmax of a linear layer, block by block: running sums, never the logits as a whole.

Of [position x vocabulary] numbers, a maximum and a sum of exponentials per position and part of
the vocabulary are kept. `linear` is the door to this room.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from alm_lightning.likelihood.blocks import BOUNDARY, REST, LogitBlocks, VocabularyOrder
from alm_lightning.likelihood.elementwise.choice import operations_for
from alm_lightning.likelihood.products import add_product, magnification, unscaled
from alm_lightning.likelihood.weight_sums import WeightSums, hidden_gradient


class LinearLogLikelihood(torch.autograd.Function):
    """Target log-probabilities and boundary log-masses: one pass over the blocks each way.

    The vocabulary is the outer loop: a slice of the weight (gathered, cast) and of its gradient is
    then touched once, however many rows there are.

    What the gradient of hidden states needs is added up in the forward pass (`WeightSums`). The
    logits are computed again for the gradient of the weight and of the bias alone, so that
    gradients of single terms, which a balance compares, cost next to nothing.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Float[Tensor, "row hidden"],
        weight: Float[Tensor, "vocab hidden"],
        bias: Float[Tensor, " vocab"] | None,
        positions: Int[Tensor, " row"],
        order: VocabularyOrder,
        softcap: float | int | None,
    ) -> tuple[Float[Tensor, " row"], Float[Tensor, " row"]]:
        """Sums of exponentials of both parts of the vocabulary, under their running maxima."""
        blocks = LogitBlocks(hidden, weight, bias, softcap)
        operations = operations_for(hidden.device, blocks.precision, softcap)
        # the lowest finite number rather than -inf: differences of maxima are then never nan
        lowest = torch.finfo(blocks.dtype).min
        maxima = hidden.new_full((2, len(hidden)), lowest, dtype=blocks.dtype)
        sums = torch.zeros_like(maxima)
        # nan stays where no block holds the target: an id that the check on the CPU refuses
        target_logits = torch.full_like(maxima[0], torch.nan)
        weight_sums = WeightSums(blocks, order) if ctx.needs_input_grad[0] else None
        with torch.autocast(hidden.device.type, enabled=False):
            for part, start, ids in order.blocks(blocks.num_columns):
                weight_rows, bias_rows = blocks.select(ids)
                for rows in blocks.rows:
                    product = blocks.product(rows, weight_rows)
                    columns = positions[rows] - start
                    so_far = maxima[part, rows], sums[part, rows], target_logits[rows]
                    if weight_sums is None:
                        operations.add_up(product, bias_rows, columns, *so_far)
                        continue
                    before = so_far[0].clone()
                    out = weight_sums.buffer(rows, len(weight_rows))
                    counts = operations.add_up_and_keep(
                        product, bias_rows, columns, *so_far, weight_sums.scale, out
                    )
                    weight_sums.add(part, rows, counts, weight_rows, before - so_far[0])
            maximum, total = _totals(maxima, sums)
            # the maximum leaves first: after z - logsumexp a sure token has lost its last digits
            target_logprobs = (target_logits - maximum) - total.log()
            boundary_logprobs = _boundary_logprobs(maxima, sums)
        parts = [] if weight_sums is None else weight_sums.parts
        ctx.save_for_backward(hidden, weight, bias, positions, maxima, sums, target_logits, *parts)
        # autocast is off in a backward pass, whatever it was here
        ctx.order, ctx.softcap, ctx.precision = order, softcap, blocks.precision
        ctx.scale = 1.0 if weight_sums is None else weight_sums.scale
        return target_logprobs, boundary_logprobs

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_target: Float[Tensor, " row"], grad_boundary: Float[Tensor, " row"]
    ) -> tuple[Tensor | None, ...]:
        """Of hidden states from what was kept; of weight and bias from the logits again."""
        hidden, weight, _, positions, maxima, sums, target_logits, *parts = ctx.saved_tensors
        # where gradients of terms are compared, nobody asks for these: all of the work
        needs_weight, needs_bias = (
            ctx.needs_input_grad[n] and torch._C._will_engine_execute_node(ctx.next_functions[n][0])
            for n in (1, 2)
        )
        grad_hidden = grad_weight = grad_bias = None
        with torch.autocast(hidden.device.type, enabled=False):
            shifts, scales = _softmax_gradient(maxima, sums, grad_target, grad_boundary)
            if parts:
                # both parts' sums are under their own maxima
                factors = scales * (maxima - shifts).exp() / ctx.scale
                part = (positions >= ctx.order.num_boundary).long()[None]
                shift, scale = (each.gather(0, part).squeeze(0) for each in (shifts, scales))
                target_factor = scale * (target_logits - shift).exp() + grad_target
                if ctx.softcap is not None:
                    target_factor = target_factor * (1 - (target_logits / ctx.softcap).square())
                # an id that no block holds has nan as its logit, and must not be looked up
                ids = ctx.order.ids(positions.clamp(0, ctx.order.num_tokens - 1))
                rows = weight.index_select(0, ids)
                grad_hidden = hidden_gradient(parts, factors, target_factor, rows).to(hidden.dtype)
            if needs_weight or needs_bias:
                grad_weight, grad_bias = _weight_gradient(
                    ctx, shifts, scales, grad_target, grad_boundary, needs_weight, needs_bias
                )
        return grad_hidden, grad_weight, grad_bias, None, None, None


def _weight_gradient(
    ctx: Any,
    shifts: Float[Tensor, "2 row"],
    scales: Float[Tensor, "2 row"],
    grad_target: Float[Tensor, " row"],
    grad_boundary: Float[Tensor, " row"],
    needs_weight: bool,
    needs_bias: bool,
) -> tuple[Float[Tensor, "vocab hidden"] | None, Float[Tensor, " vocab"] | None]:
    """The logits again, turned into their gradient, block by block, and added up over rows."""
    hidden, weight, bias, positions, *_ = ctx.saved_tensors
    precision = ctx.precision
    blocks = LogitBlocks(hidden, weight, bias, ctx.softcap, precision)
    operations = operations_for(hidden.device, precision, ctx.softcap)
    factor = _magnification(precision.gradients, grad_target, grad_boundary)
    if factor is not None:
        scales, grad_target = scales * factor, grad_target * factor
    # of what was multiplied forward: the same memory where both directions have one type
    inputs = blocks.hidden.to(precision.gradients)
    grad_weight = torch.zeros_like(weight) if needs_weight else None
    grad_bias = torch.zeros_like(bias) if needs_bias else None
    for part, start, ids in ctx.order.blocks(blocks.num_columns):
        weight_rows, bias_rows = blocks.select(ids)
        # summed over rows here, in float32, and cast once
        weight_sum: Tensor | None = None
        bias_sum = scales.new_zeros(len(weight_rows)) if needs_bias else None
        for rows in blocks.rows:
            grad = operations.gradient(
                blocks.product(rows, weight_rows),
                bias_rows,
                positions[rows] - start,
                shifts[part, rows],
                scales[part, rows],
                grad_target[rows],
                blocks.buffer(rows, len(weight_rows), precision.gradients),
            )
            if needs_weight:
                with blocks.multiplying():
                    weight_sum = add_product(weight_sum, grad.T, inputs[rows], precision.sums)
            if bias_sum is not None:
                bias_sum += grad.sum(0, dtype=precision.sums)
        if grad_weight is not None and weight_sum is not None:
            grad_weight[ids] = unscaled(weight_sum, factor).to(weight.dtype)
        if grad_bias is not None and bias_sum is not None:
            grad_bias[ids] = unscaled(bias_sum, factor).to(bias.dtype)
    return grad_weight, grad_bias


def _magnification(
    dtype: torch.dtype, grad_target: Float[Tensor, " row"], grad_boundary: Float[Tensor, " row"]
) -> Float[Tensor, ""] | None:
    """`magnification` of gradients of logits, none of which is above these two together."""
    if not len(grad_target):
        return None
    return magnification(dtype, (grad_target.abs() + grad_boundary.abs()).amax())


def _totals(
    maxima: Float[Tensor, "2 row"], sums: Float[Tensor, "2 row"]
) -> tuple[Float[Tensor, " row"], Float[Tensor, " row"]]:
    """Maximum logit over the whole vocabulary, and the sum of exponentials under it."""
    maximum = maxima.amax(0)
    return maximum, (sums * (maxima - maximum).exp()).sum(0)


def _boundary_logprobs(
    maxima: Float[Tensor, "2 row"], sums: Float[Tensor, "2 row"]
) -> Float[Tensor, " row"]:
    """Log-mass of the boundary, as -log(1 + rest / boundary): exact near 0 and far below."""
    log_odds = maxima[REST] - maxima[BOUNDARY] + sums[REST].log() - sums[BOUNDARY].log()
    return -torch.logaddexp(torch.zeros_like(log_odds), log_odds)


def _softmax_gradient(
    maxima: Float[Tensor, "2 row"],
    sums: Float[Tensor, "2 row"],
    grad_target: Float[Tensor, " row"],
    grad_boundary: Float[Tensor, " row"],
) -> tuple[Float[Tensor, "2 row"], Float[Tensor, "2 row"]]:
    """Shift and scale of both parts, such that scale * exp(logit - shift) is the logit's gradient.

    With p the softmax and p_B its restriction to the boundary, the gradient of log p(t) is
    1[t] - p, and that of log p(B) is p_B - p. Here is all but 1[t]. Within the boundary
    p = p_B * p(B), so that one exponential serves both; outside it p_B is 0.
    """
    maximum, total = _totals(maxima, sums)
    boundary_logprobs = _boundary_logprobs(maxima, sums)
    # 1 - p(B) through expm1: a boundary that is all but certain has a tiny, exact gradient
    inside = -grad_boundary * boundary_logprobs.expm1() - grad_target * boundary_logprobs.exp()
    outside = -(grad_target + grad_boundary)
    # an empty boundary has no block that would use its scale of 0 / 0
    scales = torch.stack([inside / sums[BOUNDARY], outside / total])
    return torch.stack([maxima[BOUNDARY], maximum]), scales
