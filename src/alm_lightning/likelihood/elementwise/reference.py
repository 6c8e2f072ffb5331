"""A block of logits in torch's operations: what every device can, and what kernels must equal."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def soft_capped(
    product: Float[Tensor, "row column"],
    bias: Float[Tensor, " column"] | None,
    softcap: float | int | None,
) -> Float[Tensor, "row column"]:
    """Logits, in the place of the product of hidden states and output matrix."""
    if bias is not None:
        product.add_(bias)
    if softcap is not None:
        product.div_(softcap).tanh_().mul_(softcap)
    return product


class TorchOperations:
    """What is done to blocks of logits, in torch's operations.

    Args:
        softcap: Bound of the logits' magnitude, if there is one.
    """

    def __init__(self, softcap: float | int | None) -> None:
        self._softcap = softcap
        self._spare: Tensor | None = None

    def add_up(
        self,
        product: Float[Tensor, "row column"],
        bias: Float[Tensor, " column"] | None,
        columns: Int[Tensor, " row"],
        maxima: Float[Tensor, " row"],
        sums: Float[Tensor, " row"],
        target_logits: Float[Tensor, " row"],
    ) -> None:
        """Merges a block into running maxima and sums of exponentials; finds logits of targets.

        Args:
            product: Hidden states times output matrix; its memory is used up.
            bias: Added to it.
            columns: Column of each row's target, counted from the block's first: a target in
                another block is below 0 or beyond the last.
            maxima: Largest logit of each row so far; updated.
            sums: Sum of exp(logit - maximum) so far; updated.
            target_logits: Set where the target is in this block.
        """
        self._exponentials(
            soft_capped(product, bias, self._softcap), columns, maxima, sums, target_logits
        )

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
        """`add_up`, and the exponentials: what each token counts in the gradient of the sums.

        Args:
            product: As for `add_up`.
            bias: As for `add_up`.
            columns: As for `add_up`.
            maxima: As for `add_up`.
            sums: As for `add_up`.
            target_logits: As for `add_up`.
            scale: What exponentials are multiplied by.
            out: Where they go, of any type; the memory of `product`, or other.

        Returns:
            ``scale * exp(logit - maximum)``, under the maximum with this block, times the slope of
            the soft cap; 0 at targets.
        """
        logits = soft_capped(product, bias, self._softcap)
        slope = self._slope(logits)
        counts = self._exponentials(logits, columns, maxima, sums, target_logits)
        found_at, here = _within(columns, counts)
        counts.scatter_(1, found_at, counts.gather(1, found_at) * ~here[:, None])
        if scale != 1.0:
            counts.mul_(scale)
        if slope is not None:
            counts.mul_(slope)
        return counts if counts.dtype == out.dtype else out.copy_(counts)

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
        """Gradient of a block before bias and soft cap: scale * exp(logit - shift), + the target's.

        Args:
            product: As for `add_up`.
            bias: As for `add_up`.
            columns: As for `add_up`.
            shifts: What is subtracted from a row's logits.
            scales: What a row's exponentials are multiplied by.
            at_target: Added where a row's target is; any number, or none, where another block
                holds that.
            out: Where the gradient goes, of any type; the memory of `product`, or other.

        Returns:
            The gradient, as it is in `out`.
        """
        logits = soft_capped(product, bias, self._softcap)
        slope = self._slope(logits)
        grad = logits.sub_(shifts[:, None]).exp_().mul_(scales[:, None])
        found_at, here = _within(columns, grad)
        # not a product with the mask: elsewhere it may be nan
        grad.scatter_add_(1, found_at, torch.where(here, at_target, 0.0)[:, None])
        if slope is not None:
            grad.mul_(slope)
        return grad if grad.dtype == out.dtype else out.copy_(grad)

    def _exponentials(
        self,
        logits: Float[Tensor, "row column"],
        columns: Int[Tensor, " row"],
        maxima: Float[Tensor, " row"],
        sums: Float[Tensor, " row"],
        target_logits: Float[Tensor, " row"],
    ) -> Float[Tensor, "row column"]:
        """Exponentials under the new maxima, in the place of logits, which are added up."""
        found_at, here = _within(columns, logits)
        found = logits.gather(1, found_at).squeeze(1)
        target_logits.copy_(torch.where(here, found, target_logits))
        maximum = torch.maximum(maxima, logits.amax(1))
        sums *= (maxima - maximum).exp_()
        exponentials = logits.sub_(maximum[:, None]).exp_()
        sums += exponentials.sum(1)
        maxima.copy_(maximum)
        return exponentials

    def _slope(self, logits: Float[Tensor, "row column"]) -> Float[Tensor, "row column"] | None:
        """Derivative of the soft cap at its own result, 1 - tanh^2; None where there is no cap."""
        if self._softcap is None:
            return None
        if self._spare is None or self._spare.numel() < logits.numel():
            self._spare = logits.new_empty(logits.numel())
        slope = self._spare[: logits.numel()].view(logits.shape)
        return torch.div(logits, self._softcap, out=slope).square_().neg_().add_(1.0)


def _within(
    columns: Int[Tensor, " row"], logits: Float[Tensor, "row column"]
) -> tuple[Int[Tensor, "row 1"], Bool[Tensor, " row"]]:
    """Column of each target in a block (0 where another block holds it), and where it is here."""
    here = (columns >= 0) & (columns < logits.shape[1])
    return (columns * here)[:, None], here
