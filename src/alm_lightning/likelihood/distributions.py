"""Whole next-token distributions, a few positions at a time.

Most objectives make do with two numbers a token (`likelihood.linear`). Some compare all of a
vocabulary. They get log-probabilities of the positions that they name, and sum over slices of
positions (`likelihood.slices`): logits of a whole batch never exist.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from alm_lightning.likelihood.blocks import LogitBlocks, block_columns
from alm_lightning.likelihood.head import OutputHead
from alm_lightning.likelihood.products import (
    add_product,
    magnification,
    multiply,
    unscaled,
)


class TokenDistributions(ABC):
    """Next-token distributions of a model on one batch: `Distributions`, `StoredDistributions`."""

    @property
    @abstractmethod
    def num_tokens(self) -> int:
        """Columns of `logprobs`: as many as the tokenizer has ids."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where `logprobs` are computed."""

    @abstractmethod
    def logprobs(self, places: Int[Tensor, " row"]) -> Float[Tensor, "row vocab"]:
        """Log-probabilities of every token at some places, given all tokens before.

        Args:
            places: Places in the flattened batch, row * length + position, of tokens that have a
                target.

        Returns:
            Float32 nats; a row of the output matrix that no token has gets a finite number so low
            that its probability is 0.
        """


@dataclass(frozen=True)
class Distributions(TokenDistributions):
    """What the next-token distributions of one model on one batch are made from.

    Attributes:
        hidden: Last hidden states.
        embedded: Input embedding of each token, as the embedding module gives it; no gradient.
        head: The output layer.
    """

    hidden: Float[Tensor, "batch pos hidden"]
    embedded: Float[Tensor, "batch pos width"]
    head: OutputHead

    @property
    def num_tokens(self) -> int:
        """Columns of `logprobs`."""
        return self.head.num_tokens

    @property
    def device(self) -> torch.device:
        """Where `logprobs` are computed."""
        return self.hidden.device

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
        """Log-probabilities of every token at some places, as `TokenDistributions` says."""
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

    @torch.no_grad()
    def blocks(
        self, places: Int[Tensor, " row"], order: Int[Tensor, " rank"]
    ) -> Iterator[Float[Tensor, "row _"]]:
        """Logits of some tokens at some places, a block of tokens at a time, without a gradient.

        For sums over the vocabulary: the output matrix is read once, and no row is ever whole.

        Args:
            places: As for `predicting`.
            order: The tokens, in the order of the columns.

        Yields:
            Logits of the next `block_columns` tokens, in memory that the block after them gets; of
            a row of the output matrix that no token has, as low a number as in `logprobs`.
        """
        head = self.head
        blocks = LogitBlocks(self.predicting(places), head.weight, head.bias, head.softcap)
        rows = slice(0, len(places))
        memory = blocks.hidden.new_empty(len(places) * blocks.num_columns, dtype=blocks.dtype)
        unused = None
        if head.padding_ids is not None:
            unused = torch.zeros(head.num_tokens, dtype=torch.bool, device=places.device)
            unused = unused.index_fill(0, head.padding_ids, True)
        for ids in order.split(block_columns(places.device)):
            if not len(ids):
                # an empty order is split into one empty part
                continue
            out = memory[: len(places) * len(ids)].view(len(places), len(ids))
            with torch.autocast(places.device.type, enabled=False):
                logits = blocks.logits(rows, *blocks.select(ids), out)
            if unused is not None:
                logits.masked_fill_(unused[ids], torch.finfo(logits.dtype).min / 4)
            yield logits


def widest_vocabulary(*sides: TokenDistributions) -> int:
    """The largest number of columns that `logprobs` has, over some models."""
    return max(side.num_tokens for side in sides)


class _Logits(torch.autograd.Function):
    """Logits of whole rows, float32 whatever the operands are: `LogitBlocks` says why and how.

    The backward pass multiplies what `precision_of` says, as `linear_log_likelihood` does.

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
        # autocast is off in a backward pass, whatever it was here
        ctx.num_tokens, ctx.softcap, ctx.precision = num_tokens, softcap, blocks.precision
        return logits

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Float[Tensor, "row vocab"]) -> tuple[Tensor | None, ...]:
        """Block by block, so that no copy of the output matrix or of the logits is ever whole."""
        hidden, weight, bias, logits = ctx.saved_tensors
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        precision = ctx.precision
        blocks = LogitBlocks(hidden, weight, bias, ctx.softcap, precision)
        factor = None
        # a bound takes a pass over the gradient, which float16 alone has a use for
        if precision.gradients == torch.float16 and grad.numel():
            least, most = grad.aminmax()
            factor = magnification(precision.gradients, torch.maximum(-least, most))
        inputs = blocks.hidden.to(precision.gradients)
        grad_hidden = torch.zeros_like(hidden, dtype=precision.sums) if needs_hidden else None
        grad_weight = torch.empty_like(weight) if needs_weight else None
        grad_bias = torch.zeros_like(bias) if needs_bias else None
        with torch.autocast(hidden.device.type, enabled=False), blocks.multiplying():
            for start in range(0, ctx.num_tokens, blocks.num_columns):
                block = slice(start, min(start + blocks.num_columns, ctx.num_tokens))
                part = grad[:, block]
                if ctx.softcap is not None:
                    # the derivative of s tanh(z / s) at its own result
                    part = part * (1 - (logits[:, block] / ctx.softcap).square())
                if grad_bias is not None:
                    grad_bias[block] = part.sum(0).to(bias.dtype)
                part = (part if factor is None else part * factor).to(precision.gradients)
                if grad_hidden is not None:
                    outputs = blocks.select(block)[0].to(precision.gradients)
                    add_product(grad_hidden, part, outputs, precision.sums)
                if grad_weight is not None:
                    _put(grad_weight[block], part.T, inputs, precision.sums, factor)
        if grad_weight is not None:
            grad_weight[ctx.num_tokens :] = 0.0
        if grad_hidden is not None:
            grad_hidden = unscaled(grad_hidden, factor).to(hidden.dtype)
        return grad_hidden, grad_weight, grad_bias, None, None


def _put(
    place: Float[Tensor, "column hidden"],
    left: Float[Tensor, "column row"],
    right: Float[Tensor, "row hidden"],
    dtype: torch.dtype,
    factor: Float[Tensor, ""] | None,
) -> None:
    """Writes a product that is added up in some type, there itself where that is its type too."""
    total = place if place.dtype == dtype else torch.empty_like(place, dtype=dtype)
    unscaled(multiply(left, right, total), factor)
    if total is not place:
        place.copy_(total)
