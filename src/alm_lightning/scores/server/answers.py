"""An answer of an endpoint, in a form that does not depend on the endpoint."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from alm_lightning.scores.server.settings import ServerError

UNKNOWN = -1
"""The id of an alternative whose text several tokens have."""


@dataclass(frozen=True)
class Alternative:
    """One token that could stand at a position.

    Attributes:
        id: Its id, or `UNKNOWN`.
        logprob: Its log-probability, nats.
        is_boundary: Whether it is a boundary token.
    """

    id: int
    logprob: float
    is_boundary: bool


@dataclass(frozen=True)
class Answer:
    """What an endpoint says of one sequence, and of the token after it.

    Alternatives at a position are tokens that could stand there, the one that does included; the
    row after the last position is of the token after the sequence. Row 0 is empty.

    Attributes:
        logprobs: Log-probability of each token given all before it, nats; 0.0 at the first.
        ids: Ids of the alternatives; `UNKNOWN` where there are fewer, or where it is not known.
        alternative_logprobs: Their log-probabilities, nats; -inf where there are fewer.
        is_boundary: Whether they are boundary tokens.
    """

    logprobs: Float[np.ndarray, " pos"]
    ids: Int[np.ndarray, "pos_plus_one alternative"]
    alternative_logprobs: Float[np.ndarray, "pos_plus_one alternative"]
    is_boundary: Bool[np.ndarray, "pos_plus_one alternative"]


def answer_of(
    logprobs: Sequence[float], rows: Sequence[Sequence[Alternative]], model: str
) -> Answer:
    """An answer from lists.

    Args:
        logprobs: Of the tokens after the first one, nats.
        rows: Alternatives for these tokens, and for the one after the sequence.
        model: What an error calls the endpoint.

    Returns:
        The answer.

    Raises:
        ServerError: A log-probability is no number, or above 0.
    """
    width = max(len(row) for row in rows)
    shape = (len(rows) + 1, width)
    ids = np.full(shape, UNKNOWN, dtype=np.int64)
    values = np.full(shape, -np.inf)
    is_boundary = np.zeros(shape, dtype=bool)
    for position, row in enumerate(rows, start=1):
        for column, alternative in enumerate(row):
            ids[position, column] = alternative.id
            values[position, column] = alternative.logprob
            is_boundary[position, column] = alternative.is_boundary
    own = np.array([0.0, *logprobs])
    # a little above 0 is rounding
    if not (np.isfinite(own).all() and (own < 1e-3).all() and not (values > 1e-3).any()):
        raise ServerError(
            f"{model} gave log-probabilities that are none: expected numbers up to 0, got "
            f"{own[1:].min():.4g} to {max(own.max(), values.max()):.4g}. Look at what it answers "
            "with curl, and report it to the server's authors."
        )
    return Answer(np.minimum(own, 0.0), ids, np.minimum(values, 0.0), is_boundary)


def part(answer: object, *keys: str | int) -> object:
    """What lies in nested mappings and lists under these keys; None where a key is missing."""
    for key in keys:
        if isinstance(answer, Mapping):
            answer = answer.get(key)
        elif isinstance(answer, list) and isinstance(key, int) and key < len(answer):
            answer = answer[key]
        else:
            return None
    return answer
