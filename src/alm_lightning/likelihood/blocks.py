"""Logits one block at a time: which tokens form a block, and what their logits are.

The order of the vocabulary is a free choice for sums over it. Visiting the boundary tokens first
makes every block either all boundary or none of it, so that no mask is ever applied to logits.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from alm_lightning.likelihood.hardware import multiplies_bfloat16

BOUNDARY, REST = 0, 1
"""The two parts of the vocabulary. Each has a running maximum of its own, so that a boundary mass
of exp(-200) is as exact as any other."""

BLOCK_SIZES = {"cpu": (1024, 2048)}
"""Rows x tokens of a block of logits. CPU: 8 MiB, which the last cache level holds, so that the
passes over a block never reach main memory (measured: benchmarks/linear_log_likelihood.py)."""

ACCELERATOR_BLOCK_SIZE = (2048, 8192)
"""Rows x tokens elsewhere: 64 MiB, enough work a kernel that launches do not count. Not tuned."""


@dataclass(frozen=True)
class VocabularyOrder:
    """The order in which tokens are visited: the boundary first, padding rows never."""

    order: Int[Tensor, " vocab"] | None
    """Ids in visiting order, padding rows after all; None for ascending ids without a boundary."""
    num_boundary: int
    num_tokens: int
    """How many ids are visited."""

    @classmethod
    def boundary_first(
        cls,
        boundary_ids: Int[Tensor, " subset"],
        num_tokens: int,
        padding_ids: Int[Tensor, " unused"] | None = None,
    ) -> "VocabularyOrder":
        """The order that begins with `boundary_ids`, then has all other tokens, never padding."""
        part = torch.ones(num_tokens, dtype=torch.uint8, device=boundary_ids.device)
        part[boundary_ids.long()] = 0
        num_padding = 0
        if padding_ids is not None:
            part[padding_ids.long()] = 2
            num_padding = len(padding_ids)
        # a stable sort, where nonzero() would make an accelerator wait for the count
        return cls(part.argsort(stable=True), len(boundary_ids), num_tokens - num_padding)

    def positions(self, token_ids: Int[Tensor, " row"]) -> Int[Tensor, " row"]:
        """Where in the order each token is visited."""
        if self.order is None:
            return token_ids
        ranks = torch.empty_like(self.order)
        ranks[self.order] = torch.arange(len(ranks), device=ranks.device)
        return ranks[token_ids]

    def blocks(self, size: int) -> Iterator[tuple[int, int, slice | Tensor]]:
        """Part, first position in the order, and token ids of every block of at most `size`."""
        parts = ((BOUNDARY, 0, self.num_boundary), (REST, self.num_boundary, self.num_tokens))
        for part, first, last in parts:
            for start in range(first, last, size):
                block = slice(start, min(start + size, last))
                yield part, start, block if self.order is None else self.order[block]


class LogitBlocks:
    """Logits of rows x tokens in one reused buffer: valid until the next block is asked for.

    Logits are float32 even where both operands are half precision: in bfloat16 they have steps of
    0.125 at a magnitude of 30, and log-probabilities were measured to be off by up to 0.17 nats,
    where good models differ by less. An accelerator multiplies the halves themselves and
    accumulates in float32. So does a CPU that multiplies bfloat16, but it returns bfloat16: there
    a second product finds what the first one's rounding lost, z - round(z), which together are off
    by up to 2e-4, for less than one product in float32. Any other CPU multiplies in float32.
    """

    def __init__(
        self,
        hidden: Float[Tensor, "row hidden"],
        weight: Float[Tensor, "vocab hidden"],
        bias: Float[Tensor, " vocab"] | None,
        softcap: float | int | None,
    ) -> None:
        """Cast the hidden states once, and take the memory of one block."""
        is_double = torch.float64 in (hidden.dtype, weight.dtype)
        self.dtype = torch.float64 if is_double else torch.float32
        both_half = hidden.dtype == weight.dtype and hidden.dtype in (torch.bfloat16, torch.float16)
        self._in_two_products = (
            both_half
            and hidden.device.type == "cpu"
            and hidden.dtype == torch.bfloat16
            and multiplies_bfloat16("cpu")
        )
        keeps_half = self._in_two_products or (both_half and hidden.is_cuda)
        self._operand_dtype = hidden.dtype if keeps_half else self.dtype
        self._hidden = hidden.to(self._operand_dtype)
        self._weight, self._bias, self._softcap = weight, bias, softcap
        num_rows, self.num_columns = BLOCK_SIZES.get(hidden.device.type, ACCELERATOR_BLOCK_SIZE)
        self.rows = [
            slice(start, min(start + num_rows, len(hidden)))
            for start in range(0, len(hidden), num_rows)
        ]
        num_elements = min(num_rows, len(hidden)) * self.num_columns
        self._logits = hidden.new_empty(num_elements, dtype=self.dtype)
        self._slope = None if softcap is None else torch.empty_like(self._logits)

    def select(self, ids: slice | Tensor) -> tuple[Tensor, Tensor | None]:
        """Rows of the weight, ready for `logits`, and of the bias."""
        bias = None if self._bias is None else self._bias[ids]
        return self._weight[ids].to(self._operand_dtype), bias

    def logits(
        self,
        rows: slice,
        weight: Float[Tensor, "column hidden"],
        bias: Float[Tensor, " column"] | None,
    ) -> Float[Tensor, "row column"]:
        """The (soft-capped) logits of some rows for the tokens of `select`."""
        hidden = self._hidden[rows]
        logits = self._logits[: len(hidden) * len(weight)].view(len(hidden), len(weight))
        if self._operand_dtype == self.dtype:
            torch.mm(hidden, weight.T, out=logits)
        elif self._in_two_products:
            rounded = hidden @ weight.T
            logits.copy_(rounded).add_(torch.addmm(rounded.neg_(), hidden, weight.T))
        else:
            torch.mm(hidden, weight.T, out_dtype=self.dtype, out=logits)
        if bias is not None:
            logits.add_(bias)
        if self._softcap is not None:
            logits.div_(self._softcap).tanh_().mul_(self._softcap)
        return logits

    def slope(self, logits: Float[Tensor, "row column"]) -> Float[Tensor, "row column"] | None:
        """Derivative of the soft cap at its own result, 1 - tanh^2; None where there is no cap."""
        if self._slope is None or self._softcap is None:
            return None
        slope = self._slope[: logits.numel()].view_as(logits)
        return torch.div(logits, self._softcap, out=slope).square_().neg_().add_(1.0)
