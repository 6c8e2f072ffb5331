"""Log-likelihoods straight from hidden states and the output matrix, without the logits between.

Two numbers a position are all that most objectives want of a model: how likely the token is, and
how much mass lies on a set of tokens. Logits of [position x vocabulary] would take gigabytes to
find them. Here they exist one block at a time, and once more where the output matrix is trained.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from alm_lightning.likelihood.blocks import VocabularyOrder
from alm_lightning.likelihood.online_softmax import LinearLogLikelihood


def linear_log_likelihood(
    hidden: Float[Tensor, "*lead hidden"],
    weight: Float[Tensor, "vocab hidden"],
    targets: Int[Tensor, "*lead"],
    *,
    boundary_ids: Int[Tensor, " subset"] | None = None,
    bias: Float[Tensor, " vocab"] | None = None,
    softcap: float | int | None = None,
    num_tokens: int | None = None,
    padding_ids: Int[Tensor, " unused"] | None = None,
) -> tuple[Float[Tensor, "*lead"], Float[Tensor, "*lead"] | None]:
    r"""Log-probability of each target and log-mass of a token subset, in nats.

    With logits :math:`z = W h + b` (soft-capped to :math:`s \tanh(z / s)` where asked):

    .. math:: \log p(t) = z_t - \log \sum_v e^{z_v} \qquad
              \log p(B) = \log \sum_{v \in B} e^{z_v} - \log \sum_v e^{z_v}

    Values and gradients are those of the plain computation in float32, but for two products: where
    both operands are half precision, and on CUDA under autocast, the operands of the logits are in
    that type, and logits are float32. On CUDA so are the products that make gradients:
    probabilities and the gradient of the logits are rounded to that type, and added up in float32.
    A CPU does so with bfloat16, if it multiplies that; it heeds no autocast
    (`products.precision_of`).

    Memory beyond inputs and gradients does not grow with positions x vocabulary. Where hidden
    states need a gradient, the forward pass makes what it takes, two sums of rows of the weight a
    position; the gradient of the weight takes the logits a second time. Shapes that do not fit and
    ids outside the vocabulary are a ValueError.

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
        padding_ids: More such rows, anywhere among the tokens, each once. None of them may be a
            target or a boundary.

    Returns:
        Two tensors in the shape of `targets`, at most 0, in float32 (float64 where an input is).
        The second is None without `boundary_ids`, and -inf for an empty subset.

    Example:
        >>> import torch
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
    if padding_ids is not None:
        _check_padding(padding_ids, targets, boundary_ids, num_tokens)
    if boundary_ids is not None or padding_ids is not None:
        first = targets.new_empty(0) if boundary_ids is None else boundary_ids
        order = VocabularyOrder.boundary_first(first, num_tokens, padding_ids)
    positions = order.positions(targets.reshape(-1).long())
    rows = hidden.reshape(-1, hidden.shape[-1])
    # a forward pass without gradients must not make what they take
    rows = rows if torch.is_grad_enabled() else rows.detach()
    # not the parameters themselves: of a node between the backward pass knows if it is asked for
    weight = weight.view_as(weight)
    bias = None if bias is None else bias.view_as(bias)
    logprobs = LinearLogLikelihood.apply(rows, weight, bias, positions, order, softcap)
    target_logprobs, boundary_logprobs = (each.view(targets.shape) for each in logprobs)
    return target_logprobs, None if boundary_ids is None else boundary_logprobs


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


def _check_padding(
    padding_ids: Tensor, targets: Tensor, boundary_ids: Tensor | None, num_tokens: int
) -> None:
    _check_ids("padding_ids", padding_ids, num_tokens, is_set=True)
    if padding_ids.device.type != "cpu":
        return
    if len(padding_ids) == num_tokens:
        raise ValueError(
            f"padding_ids hold all {num_tokens} ids, so that no token is left. Pass the rows that "
            "no token has."
        )
    for name, ids in (("targets", targets), ("boundary_ids", boundary_ids)):
        found = torch.empty(0) if ids is None else ids[torch.isin(ids, padding_ids)]
        if len(found):
            raise ValueError(
                f"{name} hold the id {int(found[0])}, a row of the vocabulary that no token has: "
                "expected ids of tokens. Check that the ids come from this model's tokenizer."
            )
