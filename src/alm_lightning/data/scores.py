"""What a teacher said of the tokens of a batch, where it is read from a store."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from alm_lightning.data.windows import Window


@dataclass(frozen=True)
class ByteShares:
    """Sparse distributions of the next byte, one for each prefix of each token.

    The prefixes of one token stand side by side, from the empty one to the token itself.

    Attributes:
        first: The first prefix of the token at each position; -1 where nothing was said of it.
        starts: The first entry of each prefix, and after the last one the number of entries.
        symbols: What each entry is of: a byte, `END`, or `END` + 1 + n for the n-th id of the
            teacher without bytes.
        shares: Its probability, given the prefix and that the token does not end there; of `END`
            the probability that it does not. So what is rare has as many digits, in float16 too.
    """

    first: Int[Tensor, "batch pos"]
    starts: Int[Tensor, " prefix_bound"]
    symbols: Int[Tensor, " entry"]
    shares: Float[Tensor, " entry"]


END = 256
"""The symbol that says whether a token has a further byte; each prefix has it."""


@dataclass(frozen=True)
class ScoredTokens:
    """What a teacher said of its tokens of a batch.

    Attributes:
        logprobs: Log-probability of the token at each position, nats; 0.0 where there is none.
        boundary_logprobs: Log-mass on boundary tokens after each position, nats.
        top_ids: The likeliest tokens in place of the one at each position; -1 for none. None where
            the store has none.
        top_logprobs: Their log-probabilities, nats.
        hidden: Last hidden states; None where the store has none.
        next_bytes: Distributions of the next byte, which stay in the memory of the processor; None
            where the store has none.
    """

    logprobs: Float[Tensor, "batch pos"]
    boundary_logprobs: Float[Tensor, "batch pos"]
    top_ids: Int[Tensor, "batch pos top"] | None = None
    top_logprobs: Float[Tensor, "batch pos top"] | None = None
    hidden: Float[Tensor, "batch pos hidden"] | None = None
    next_bytes: ByteShares | None = None

    def to(self, device: torch.device, non_blocking: bool = False) -> "ScoredTokens":
        """The same on another device."""
        return self._changed(lambda value: value.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "ScoredTokens":
        """The same where a GPU can copy it from while it computes."""
        return self._changed(lambda value: value.pin_memory())

    def _changed(self, change: Callable[[Tensor], Tensor]) -> "ScoredTokens":
        values: dict[str, Any] = {
            name: change(value) if isinstance(value, Tensor) else value
            for name, value in vars(self).items()
        }
        return ScoredTokens(**values)


@runtime_checkable
class WindowScores(Protocol):
    """A store of scores, as far as windows and batches are concerned.

    Attributes:
        identity: Tells stores apart.
    """

    identity: str

    def check(self, window: Window, name: str) -> None:
        """Raises a `BadDocument` where the store lacks a window; `name` is its document's."""
        ...

    def batch(self, rows: Sequence[Sequence[Window]], width: int) -> ScoredTokens:
        """The scores of all windows of a batch.

        Args:
            rows: The windows of each row.
            width: Positions of a row.

        Returns:
            The scores.
        """
        ...


def row_places(rows: Sequence[Sequence[Window]]) -> list[tuple[int, int, Window]]:
    """Where the teacher's tokens of each window begin: row, position, and the window."""
    found = []
    for row, windows in enumerate(rows):
        start = 0
        for window in windows:
            found.append((row, start, window))
            start += len(window.teacher.ids) + window.opens + window.ends_document
    return found


def padded(
    rows: Sequence[Sequence[Window]],
    width: int,
    values: Sequence[np.ndarray],
    fill: float | int,
) -> Tensor:
    """Values of the tokens of each window, where the tokens are in a batch.

    Args:
        rows: The windows of each row.
        width: Positions of a row.
        values: Of the windows in this order, one value a token or several.
        fill: What stands where no token is.

    Returns:
        As many values at each position as there are of a token.
    """
    shape, dtype = values[0].shape[1:], values[0].dtype
    found = np.full((len(rows), width, *shape), fill, dtype=dtype)
    for (row, start, _), own in zip(row_places(rows), values, strict=True):
        found[row, start : start + len(own)] = own
    return torch.from_numpy(found)
