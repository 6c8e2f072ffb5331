"""Logits one block at a time: which tokens form a block, and what their logits are.

The order of the vocabulary is a free choice for sums over it. Visiting the boundary tokens first
makes every block either all boundary or none of it, so that no mask is ever applied to logits.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from alm_lightning.likelihood.elementwise.reference import soft_capped
from alm_lightning.likelihood.products import (
    Precision,
    multiply,
    multiply_in,
    operand,
    precision_here,
)

BOUNDARY, REST = 0, 1
"""The two parts of the vocabulary. Each has a running maximum of its own, so that a boundary mass
of exp(-200) is as exact as any other."""

BLOCK_SIZES = {"cpu": (1024, 2048)}
"""Rows x tokens of a block of logits. CPU: 8 MiB, which the last cache level holds, so that the
passes over a block never reach main memory (measured: benchmarks/linear_log_likelihood.py)."""

ACCELERATOR_BLOCK_SIZE = (8192, 8192)
"""Rows x tokens elsewhere: 256 MiB of logits and 128 MiB of their gradient in half precision. The
more rows, the seldomer a slice of the weight's gradient is read and added to; the more tokens, the
seldomer the gradient of the hidden states is (expected, not measured: docs/results/cost.md)."""

ACCELERATOR_ALIGNMENT = 64
"""Rows of a block begin at multiples of this elsewhere, which fast kernels for products ask for."""


def block_columns(device: torch.device) -> int:
    """The most tokens of a block of logits on a device."""
    return BLOCK_SIZES.get(device.type, ACCELERATOR_BLOCK_SIZE)[1]


def block_rows(device: torch.device) -> int:
    """The most rows of a block of logits on a device."""
    return BLOCK_SIZES.get(device.type, ACCELERATOR_BLOCK_SIZE)[0]


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
        # index_fill, where an assignment would copy its number from the host
        part.index_fill_(0, boundary_ids.long(), 0)
        num_padding = 0
        if padding_ids is not None:
            part.index_fill_(0, padding_ids.long(), 2)
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

    def ids(self, positions: Int[Tensor, " row"]) -> Int[Tensor, " row"]:
        """Which token is visited at each position."""
        return positions if self.order is None else self.order[positions]

    def blocks(self, size: int) -> Iterator[tuple[int, int, slice | Tensor]]:
        """Part, first position in the order, and token ids of every block of at most `size`."""
        parts = ((BOUNDARY, 0, self.num_boundary), (REST, self.num_boundary, self.num_tokens))
        for part, first, last in parts:
            for start in range(first, last, size):
                block = slice(start, min(start + size, last))
                yield part, start, block if self.order is None else self.order[block]


class LogitBlocks:
    """Logits of rows x tokens in one reused buffer: valid until the next block is asked for.

    They are float32 even where both operands are half precision (`precision_of` says why).

    Args:
        hidden: Hidden states; cast once.
        weight: Output matrix; cast block by block, never as a whole.
        bias: Added to the logits.
        softcap: Bound of the logits' magnitude, if there is one.
        precision: What is multiplied; by default what fits the operands and the autocast of this
            moment. A backward pass hands over that of the forward pass.
    """

    def __init__(
        self,
        hidden: Float[Tensor, "row hidden"],
        weight: Float[Tensor, "vocab hidden"],
        bias: Float[Tensor, " vocab"] | None,
        softcap: float | int | None,
        precision: Precision | None = None,
    ) -> None:
        self.precision = precision_here(hidden, weight) if precision is None else precision
        self.dtype = self.precision.sums
        self.hidden = operand(hidden, self.precision)
        self._weight, self._bias, self._softcap = weight, bias, softcap
        kind = hidden.device.type
        num_rows = block_rows(hidden.device)
        self.num_columns = min(block_columns(hidden.device), len(weight))
        self._alignment = 1 if kind in BLOCK_SIZES else ACCELERATOR_ALIGNMENT
        self.rows = [
            slice(start, min(start + num_rows, len(hidden)))
            for start in range(0, len(hidden), num_rows)
        ]
        self._num_rows = min(num_rows, len(hidden))
        self._buffers: dict[torch.dtype, Tensor] = {}

    def select(self, ids: slice | Tensor) -> tuple[Tensor, Tensor | None]:
        """Rows of the weight, ready for `logits`, and of the bias."""
        bias = None if self._bias is None else self._bias[ids]
        # four times as fast on a processor as an index in brackets
        rows = self._weight[ids] if isinstance(ids, slice) else self._weight.index_select(0, ids)
        return operand(rows, self.precision), bias

    def buffer(
        self, rows: slice, num_columns: int, dtype: torch.dtype
    ) -> Float[Tensor, "row column"]:
        """Memory for a block, the same again for each block of a type."""
        stride = self._aligned(num_columns)
        if dtype not in self._buffers:
            num_elements = self._num_rows * self._aligned(self.num_columns)
            self._buffers[dtype] = self.hidden.new_empty(num_elements, dtype=dtype)
        num_rows = rows.stop - rows.start
        return self._buffers[dtype][: num_rows * stride].view(num_rows, stride)[:, :num_columns]

    def product(
        self,
        rows: slice,
        weight: Float[Tensor, "column hidden"],
        out: Float[Tensor, "row column"] | None = None,
    ) -> Float[Tensor, "row column"]:
        """Logits of some rows for the tokens of `select`, before bias and soft cap."""
        hidden = self.hidden[rows]
        if out is None:
            out = self.buffer(rows, len(weight), self.dtype)
        with self.multiplying():
            return multiply(hidden, weight.T, out)

    def multiplying(self) -> AbstractContextManager[None]:
        """Where products are made: a processor rounds to bfloat16 where the operands held that."""
        return multiply_in("bf16") if self.precision.rounds_to_bfloat16 else nullcontext()

    def logits(
        self,
        rows: slice,
        weight: Float[Tensor, "column hidden"],
        bias: Float[Tensor, " column"] | None,
        out: Float[Tensor, "row column"] | None = None,
    ) -> Float[Tensor, "row column"]:
        """The (soft-capped) logits of some rows for the tokens of `select`."""
        return soft_capped(self.product(rows, weight, out), bias, self._softcap)

    def _aligned(self, num_columns: int) -> int:
        return -(-num_columns // self._alignment) * self._alignment
