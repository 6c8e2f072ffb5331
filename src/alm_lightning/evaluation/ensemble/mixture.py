"""Distributions of several models over one vocabulary, combined: pure functions."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from alm_lightning.likelihood.blocks import LogitBlocks, VocabularyOrder
from alm_lightning.likelihood.head import OutputHead

MEAN_PROB, MEAN_LOGPROB = "mean_prob", "mean_logprob"
COMBINES = (MEAN_PROB, MEAN_LOGPROB)
"""Ways to combine: the weighted mean of probabilities, or of their logarithms, renormalised."""


def checked_weights(weights: Sequence[float | int] | None, num_members: int) -> tuple[float, ...]:
    """Weights of members, divided by their sum; equal if None. A ValueError says what is wrong.

    >>> checked_weights([3, 1], 2)
    (0.75, 0.25)
    """
    numbers = [1.0] * num_members if weights is None else [float(weight) for weight in weights]
    expected = f"expected {num_members} numbers, one for each member"
    if len(numbers) != num_members:
        raise ValueError(f"weights has {len(numbers)} numbers ({numbers}): {expected}.")
    # the sum is checked for NaN and infinity too
    if min(numbers) < 0 or not 0 < sum(numbers) < float("inf"):
        raise ValueError(f"weights is {numbers}: {expected}, none below 0, and not all of them 0.")
    return tuple(weight / sum(numbers) for weight in numbers)


def combined_logits(
    logits: Sequence[Float[Tensor, "*lead vocab"]],
    normalisers: Float[Tensor, " member *lead"],
    weights: Sequence[float],
    combine: str,
) -> Float[Tensor, "*lead vocab"]:
    r"""Logits of the combined distribution.

    With member logits :math:`z_i`, normalisers :math:`Z_i = \log \sum_v e^{z_{iv}}` and
    :math:`\log p_i = z_i - Z_i`, the result is

    .. math:: \log \sum_i w_i p_i + \sum_i w_i Z_i \qquad
              \sum_i w_i \log p_i - \log \sum_v e^{\sum_i w_i \log p_{iv}} + \sum_i w_i Z_i

    for `mean_prob` and `mean_logprob`. The last term makes no difference to a softmax: with it, a
    model combined with itself has its own logits. Weights are above 0 with a sum of 1. Logits are
    -inf for ids that are no token, and the result is -inf where every member's are.
    """
    # few numbers, whose differences are to be exactly 0 for members that are the same
    exact = normalisers.double()
    shares = exact.new_tensor(weights)
    middle = torch.tensordot(shares, exact, dims=1)
    total = None
    for index, (member, weight) in enumerate(zip(logits, weights, strict=True)):
        if combine == MEAN_PROB:
            shift = shares[index].log() + middle - exact[index]
            part = member + shift.to(member.dtype).unsqueeze(-1)
            total = part if total is None else torch.logaddexp(total, part)
        else:
            part = member * weight
            total = part if total is None else total.add_(part)
    if combine == MEAN_PROB:
        return total
    shift = middle - total.logsumexp(-1).double()
    return total.add_(shift.to(total.dtype).unsqueeze(-1))


def mixture_logprobs(
    logprobs: Float[Tensor, " member *lead"], weights: Sequence[float]
) -> Float[Tensor, "*lead"]:
    """Log-probabilities in nats of tokens under the weighted mean of the members' probabilities."""
    logs = logprobs.new_tensor(weights).log()
    return (logprobs + logs.view(-1, *[1] * (logprobs.ndim - 1))).logsumexp(0)


def geometric_logprobs(
    hidden: Sequence[Float[Tensor, "row _"]],
    heads: Sequence[OutputHead],
    targets: Int[Tensor, " row"],
    weights: Sequence[float],
) -> Float[Tensor, " row"]:
    """Log-probabilities of tokens, in nats, under the weighted geometric mean, renormalised.

    Its normaliser needs every token of the vocabulary: members' logits are computed block by block,
    and added up there. They need not be normalised first, since that would move all tokens alike.
    `hidden` are the last hidden states before the targets, `heads` the output layers over the same
    tokens.
    """
    unused = heads[0].padding_ids
    order = VocabularyOrder(None, 0, heads[0].num_tokens)
    if unused is not None:
        order = VocabularyOrder.boundary_first(
            targets.new_empty(0), heads[0].num_tokens, unused.to(targets.device)
        )
    positions = order.positions(targets.long())
    members = [
        LogitBlocks(states, head.weight, head.bias, head.softcap)
        for states, head in zip(hidden, heads, strict=True)
    ]
    sums = targets.new_full((len(targets),), -torch.inf, dtype=members[0].dtype)
    at_targets = torch.full_like(sums, torch.nan)
    for _, start, ids in order.blocks(members[0].num_columns):
        matrices = [member.select(ids) for member in members]
        for rows in members[0].rows:
            logits = sum(
                weight * member.logits(rows, *matrix)
                for weight, member, matrix in zip(weights, members, matrices, strict=True)
            )
            sums[rows] = torch.logaddexp(sums[rows], logits.logsumexp(1))
            columns = positions[rows] - start
            here = (columns >= 0) & (columns < logits.shape[1])
            at_target = logits.gather(1, (columns * here)[:, None]).squeeze(1)
            at_targets[rows] = torch.where(here, at_target, at_targets[rows])
    return at_targets - sums
