"""What a teacher says of one sequence of its tokens, and who can say it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from alm_lightning.data.rows import SpecialIds
from alm_lightning.data.windows import Window


def teacher_ids(window: Window, special: SpecialIds) -> Int[np.ndarray, " pos"]:
    """The teacher's tokens of a window as a model reads them, as `data.rows.side_tokens` has them.

    Args:
        window: The window.
        special: The teacher's start and end tokens.

    Returns:
        With the start and the end token, where they belong to it.
    """
    first = [special.start_id] if window.opens else []
    last = [special.eos_id] if window.ends_document else []
    return np.concatenate([first, window.teacher.ids, last]).astype(np.int32)


@dataclass(frozen=True)
class TokenScores:
    """What a teacher says of one sequence of its tokens.

    Attributes:
        logprobs: Log-probability of the token at each position given all before it, nats; 0.0 at
            the first.
        boundary_logprobs: Log-mass on boundary tokens right after each position, nats.
        top_ids: The likeliest tokens in place of the one at each position, the likeliest first;
            -1 where there are fewer, and at the first position. None if they were not asked for.
        top_logprobs: Their log-probabilities, nats; -inf where there is none.
        hidden: Last hidden state at each position; None if it was not asked for.
        next_bytes: Distributions of the next byte; None if they were not asked for.
    """

    logprobs: Float[np.ndarray, " pos"]
    boundary_logprobs: Float[np.ndarray, " pos"]
    top_ids: Int[np.ndarray, "pos top"] | None = None
    top_logprobs: Float[np.ndarray, "pos top"] | None = None
    hidden: Float[np.ndarray, "pos hidden"] | None = None
    next_bytes: "NextBytes | None" = None


@dataclass(frozen=True)
class NextBytes:
    """Sparse distributions of the next byte, one for each prefix of each token but the first.

    The prefixes are those from the empty one to all but the last byte; a token without bytes has
    the empty one.

    Attributes:
        sizes: Number of entries of each prefix.
        symbols: What each entry is of: as in `data.scores.ByteShares`.
        shares: Its probability, as there.
    """

    sizes: Int[np.ndarray, " prefix"]
    symbols: Int[np.ndarray, " entry"]
    shares: Float[np.ndarray, " entry"]


@runtime_checkable
class SequenceScorer(Protocol):
    """Who reads sequences of a teacher's tokens: the model itself, or a server that has it."""

    def score(self, sequences: Sequence[Int[np.ndarray, " _"]]) -> Iterator[TokenScores]:
        """What the teacher says of each sequence, in their order.

        Args:
            sequences: Whole sequences, start token included.

        Returns:
            As many as there are sequences.
        """
        ...
