"""Whole next-token distributions, a few positions at a time.

Most objectives make do with two numbers a token (`likelihood.linear`). Some compare all of a
vocabulary. They get log-probabilities of the positions that they name, and sum over slices of
positions (`likelihood.slices`): logits of a whole batch never exist.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from alm_lightning.likelihood.blocks import LogitBlocks
from alm_lightning.likelihood.head import OutputHead


@dataclass(frozen=True)
class Distributions:
    """What the next-token distributions of one model on one batch are made from.

    Attributes:
        hidden: Last hidden states.
        embedded: Input embedding of each token, as the embedding module gives it; no gradient.
        head: The output layer.
    """

    hidden: Float[Tensor, "batch pos hidden"]
    embedded: Float[Tensor, "batch pos width"]
    head: OutputHead

    def predicting(self, places: Int[Tensor, " row"]) -> Float[Tensor, "row hidden"]:
        """Hidden states from which the tokens at some places are predicted.

        Args:
            places: Places in the flattened batch, row * length + position, of tokens that have a
                target: the state is the one before.

        Returns:
            One state a place.
        """
        return self.hidden.flatten(0, 1)[places - 1]

    def logprobs(self, places: Int[Tensor, " row"]) -> Float[Tensor, "row vocab"]:
        """Log-probabilities of every token at some places, given all tokens before.

        Args:
            places: As for `predicting`.

        Returns:
            Float32 nats, as many columns as the tokenizer has ids; a row of the output matrix that
            no token has gets a finite number so low that its probability is 0.
        """
        return self.logprobs_of(self.predicting(places))

    def logprobs_of(self, hidden: Float[Tensor, "row hidden"]) -> Float[Tensor, "row vocab"]:
        """Log-probabilities that the output layer gives from any hidden states.

        Args:
            hidden: Hidden states, as wide as the model's.

        Returns:
            As for `logprobs`.
        """
        head = self.head
        logits = _Logits.apply(hidden, head.weight, head.bias, head.num_tokens, head.softcap)
        if head.padding_ids is not None:
            # finite: 0 * -inf would be nan in every expectation
            logits = logits.index_fill(1, head.padding_ids, torch.finfo(logits.dtype).min / 4)
        return logits.log_softmax(dim=1)


def widest_vocabulary(*sides: Distributions) -> int:
    """The largest number of columns that `logprobs` has, over some models."""
    return max(side.head.num_tokens for side in sides)


class _Logits(torch.autograd.Function):
    """Logits of whole rows, float32 whatever the operands are: `LogitBlocks` says why and how.

    Rows of the output matrix after the last token are cut off here, where that copies no gradient.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Float[Tensor, "row hidden"],
        weight: Float[Tensor, "padded_vocab hidden"],
        bias: Float[Tensor, " padded_vocab"] | None,
        num_tokens: int,
        softcap: float | int | None,
    ) -> Float[Tensor, "row vocab"]:
        blocks = LogitBlocks(hidden, weight, bias, softcap)
        logits = hidden.new_empty(len(hidden), num_tokens, dtype=blocks.dtype)
        with torch.autocast(hidden.device.type, enabled=False):
            for start in range(0, num_tokens, blocks.num_columns):
                block = slice(start, min(start + blocks.num_columns, num_tokens))
                selected = blocks.select(block)
                for rows in blocks.rows:
                    logits[rows, block] = blocks.logits(rows, *selected)
        ctx.save_for_backward(hidden, weight, bias, None if softcap is None else logits)
        ctx.num_tokens, ctx.softcap = num_tokens, softcap
        return logits

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Float[Tensor, "row vocab"]) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, logits = ctx.saved_tensors
        if ctx.softcap is not None:
            # the derivative of s tanh(z / s) at its own result
            grad = grad * (1 - (logits / ctx.softcap).square())
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        tokens = weight[: ctx.num_tokens]
        grad_weight = grad_bias = None
        with torch.autocast(hidden.device.type, enabled=False):
            grad_hidden = (grad @ tokens.to(grad.dtype)).to(hidden.dtype) if needs_hidden else None
            if needs_weight:
                grad_weight = torch.empty_like(weight, dtype=grad.dtype)
                torch.mm(grad.T, hidden.to(grad.dtype), out=grad_weight[: ctx.num_tokens])
                grad_weight[ctx.num_tokens :] = 0.0
                grad_weight = grad_weight.to(weight.dtype)
            if needs_bias and bias is not None:
                grad_bias = torch.zeros_like(bias)
                grad_bias[: ctx.num_tokens] = grad.sum(0).to(bias.dtype)
        return grad_hidden, grad_weight, grad_bias, None, None
