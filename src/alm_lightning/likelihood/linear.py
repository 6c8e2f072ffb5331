"""Log-likelihoods straight from hidden states and the output matrix, without the logits between.

Two numbers a position are all that most objectives want of a model: how likely the token is, and
how much mass lies on a set of tokens. Logits of [position x vocabulary] would take gigabytes to
find them. Here they exist one block at a time, and once more in the backward pass.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from alm_lightning.likelihood.blocks import BOUNDARY, REST, LogitBlocks, VocabularyOrder


def linear_log_likelihood(
    hidden: Float[Tensor, "*lead hidden"],
    weight: Float[Tensor, "vocab hidden"],
    targets: Int[Tensor, "*lead"],
    *,
    boundary_ids: Int[Tensor, " subset"] | None = None,
    bias: Float[Tensor, " vocab"] | None = None,
    softcap: float | int | None = None,
    num_tokens: int | None = None,
) -> tuple[Float[Tensor, "*lead"], Float[Tensor, "*lead"] | None]:
    r"""Log-probability of each target and log-mass of a token subset, in nats.

    With logits :math:`z = W h + b` (soft-capped to :math:`s \tanh(z / s)` where asked):

    .. math:: \log p(t) = z_t - \log \sum_v e^{z_v} \qquad
              \log p(B) = \log \sum_{v \in B} e^{z_v} - \log \sum_v e^{z_v}

    Values and gradients are those of the plain computation in float32, under autocast too. Memory
    beyond inputs and gradients does not grow with positions x vocabulary: the backward pass
    computes the logits again, and only those gradients that are asked for.

    Args:
        hidden: Hidden states, each at the position *before* the token that it predicts.
        weight: Output matrix, one row per token.
        targets: Token id per hidden state. Ids are checked on the CPU only: an accelerator would
            have to wait for the check in every step.
        boundary_ids: Token ids of the subset, each once.
        bias: Added to the logits.
        softcap: Bound of the logits' magnitude (Gemma 2: 30).
        num_tokens: Rows of `weight` from here on are padding that no token has: they get no mass
            and no gradient. By default there are none.

    Returns:
        Two tensors in the shape of `targets`, at most 0, in float32 (float64 where an input is).
        The second is None without `boundary_ids`, and -inf for an empty subset.

    Raises:
        ValueError: If shapes do not fit, or ids lie outside the vocabulary.

    Example:
        >>> hidden = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
        >>> weight = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
        >>> target_logprobs, boundary_logprobs = linear_log_likelihood(
        ...     hidden, weight, torch.tensor([0, 1]), boundary_ids=torch.tensor([0, 2])
        ... )
        >>> target_logprobs
        tensor([-0.5514, -0.2395])
        >>> boundary_logprobs.exp()
        tensor([0.7881, 0.2130])
    """
    num_tokens = len(weight) if num_tokens is None else num_tokens
    _check_shapes(hidden, weight, targets, bias, num_tokens)
    _check_ids("targets", targets, num_tokens)
    order = VocabularyOrder(None, 0, num_tokens)
    if boundary_ids is not None:
        _check_ids("boundary_ids", boundary_ids, num_tokens, is_set=True)
        order = VocabularyOrder.boundary_first(boundary_ids, num_tokens)
    positions = order.positions(targets.reshape(-1).long())
    rows = hidden.reshape(-1, hidden.shape[-1])
    logprobs = _LinearLogLikelihood.apply(rows, weight, bias, positions, order, softcap)
    target_logprobs, boundary_logprobs = (each.view(targets.shape) for each in logprobs)
    return target_logprobs, None if boundary_ids is None else boundary_logprobs


class _LinearLogLikelihood(torch.autograd.Function):
    """One pass over the blocks forward, one backward.

    The vocabulary is the outer loop: a slice of the weight (gathered, cast) and of its gradient is
    then touched once, however many rows there are.
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
        # the lowest finite number rather than -inf: differences of maxima are then never nan
        lowest = torch.finfo(blocks.dtype).min
        maxima = hidden.new_full((2, len(hidden)), lowest, dtype=blocks.dtype)
        sums = torch.zeros_like(maxima)
        # nan stays where no block holds the target: an id that the check on the CPU refuses
        target_logits = torch.full_like(maxima[0], torch.nan)
        with torch.autocast(hidden.device.type, enabled=False):
            for part, start, ids in order.blocks(blocks.num_columns):
                weight_rows, bias_rows = blocks.select(ids)
                for rows in blocks.rows:
                    logits = blocks.logits(rows, weight_rows, bias_rows)
                    columns, here = _target_columns(positions[rows], start, logits)
                    found = logits.gather(1, columns).squeeze(1)
                    target_logits[rows] = torch.where(here, found, target_logits[rows])
                    maximum = torch.maximum(maxima[part, rows], logits.amax(1))
                    sums[part, rows] *= (maxima[part, rows] - maximum).exp_()
                    sums[part, rows] += logits.sub_(maximum[:, None]).exp_().sum(1)
                    maxima[part, rows] = maximum
            maximum, total = _totals(maxima, sums)
            # the maximum leaves first: after z - logsumexp a sure token has lost its last digits
            target_logprobs = (target_logits - maximum) - total.log()
            boundary_logprobs = _boundary_logprobs(maxima, sums)
        ctx.save_for_backward(hidden, weight, bias, positions, maxima, sums)
        ctx.order, ctx.softcap = order, softcap
        return target_logprobs, boundary_logprobs

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_target: Float[Tensor, " row"], grad_boundary: Float[Tensor, " row"]
    ) -> tuple[Tensor | None, ...]:
        """The logits again, turned into their gradient in place, block by block."""
        hidden, weight, bias, positions, maxima, sums = ctx.saved_tensors
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        blocks = LogitBlocks(hidden, weight, bias, ctx.softcap)
        shifts, scales = _softmax_gradient(maxima, sums, grad_target, grad_boundary)
        inputs = hidden.to(blocks.dtype)
        grad_hidden = torch.zeros_like(inputs) if needs_hidden else None
        grad_weight = torch.zeros_like(weight) if needs_weight else None
        grad_bias = torch.zeros_like(bias) if needs_bias else None
        with torch.autocast(hidden.device.type, enabled=False):
            for part, start, ids in ctx.order.blocks(blocks.num_columns):
                weight_rows, bias_rows = blocks.select(ids)
                outputs = weight_rows.to(blocks.dtype)
                # summed over rows here, in float32, and cast once
                weight_sum = torch.zeros_like(outputs) if needs_weight else None
                bias_sum = outputs.new_zeros(len(outputs)) if needs_bias else None
                for rows in blocks.rows:
                    logits = blocks.logits(rows, weight_rows, bias_rows)
                    slope = blocks.slope(logits)
                    grad = logits.sub_(shifts[part, rows, None]).exp_()
                    grad.mul_(scales[part, rows, None])
                    columns, here = _target_columns(positions[rows], start, grad)
                    grad.scatter_add_(1, columns, (grad_target[rows] * here)[:, None])
                    if slope is not None:
                        grad.mul_(slope)
                    if needs_hidden:
                        grad_hidden[rows].addmm_(grad, outputs)
                    if needs_weight:
                        weight_sum.addmm_(grad.T, inputs[rows])
                    if needs_bias:
                        bias_sum += grad.sum(0)
                if needs_weight:
                    grad_weight[ids] = weight_sum.to(weight.dtype)
                if needs_bias:
                    grad_bias[ids] = bias_sum.to(bias.dtype)
        grad_hidden = grad_hidden.to(hidden.dtype) if needs_hidden else None
        return grad_hidden, grad_weight, grad_bias, None, None, None


def _target_columns(
    positions: Int[Tensor, " row"], start: int, logits: Float[Tensor, "row column"]
) -> tuple[Int[Tensor, "row 1"], Tensor]:
    """Column of each target in a block (0 where another block holds it), and where it is here."""
    columns = positions - start
    here = (columns >= 0) & (columns < logits.shape[1])
    return (columns * here)[:, None], here


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


def _check_shapes(
    hidden: Tensor, weight: Tensor, targets: Tensor, bias: Tensor | None, num_tokens: int
) -> None:
    if hidden.shape[-1] != weight.shape[1]:
        raise ValueError(
            f"hidden has {hidden.shape[-1]} channels, but weight has {weight.shape[1]}. Pass the "
            "output matrix of the model that made the hidden states."
        )
    if targets.shape != hidden.shape[:-1]:
        raise ValueError(
            f"targets have shape {tuple(targets.shape)}, expected {tuple(hidden.shape[:-1])}: one "
            "token id per hidden state. Shift and drop positions on both alike."
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(
            f"bias has shape {tuple(bias.shape)}, expected {(len(weight),)}: one per weight row."
        )
    if not 0 < num_tokens <= len(weight):
        raise ValueError(
            f"num_tokens is {num_tokens}, expected 1 to {len(weight)}, the rows of weight. Pass "
            "the size of the tokenizer that belongs to this model."
        )


def _check_ids(name: str, ids: Tensor, num_tokens: int, *, is_set: bool = False) -> None:
    if ids.device.type != "cpu" or ids.numel() == 0:
        return
    low, high = (int(each) for each in ids.aminmax())
    if low < 0 or high >= num_tokens:
        raise ValueError(
            f"{name} range from {low} to {high}, expected ids of 0 to {num_tokens - 1}. Check "
            "that the ids come from this model's tokenizer, and drop padded positions first."
        )
    if is_set and (num_different := len(ids.unique())) != len(ids):
        raise ValueError(
            f"{name} hold {len(ids)} ids, of which {num_different} differ: expected each once."
        )
