"""The mass on boundary tokens, estimated from a few alternatives."""

import numpy as np
from jaxtyping import Float

from alm_lightning.scores.server.answers import Answer


def boundary_logprobs(
    answer: Answer,
) -> tuple[Float[np.ndarray, " pos"], Float[np.ndarray, " pos"]]:
    r"""Log-mass on boundary tokens right after each position, and what of it was seen.

    An endpoint gives the likeliest tokens only, with mass s in all and b on the n boundary tokens
    among the k of them. Of the rest, 1 - s, the share of boundary tokens is taken to be that among
    the k, by number and not by mass, with half a token of each kind added:

    .. math:: b + (1 - s) \frac{n + 1/2}{k + 1}

    By number, since the rest is spread over many tokens, as the less likely ones of the k are;
    half a token, for a mass of 0 would be wrong without bound. `benchmarks/boundary_estimates.py`
    compares it with the true mass, with b alone, and with b / s.

    Args:
        answer: Alternatives at each position of a sequence, and after it.

    Returns:
        The log-mass, nats; and the mass s of the alternatives that it was estimated from.
    """
    probs = np.exp(answer.alternative_logprobs[1:])
    boundary = answer.is_boundary[1:]
    given = np.isfinite(answer.alternative_logprobs[1:])
    seen = np.minimum(probs.sum(1), 1.0)
    share = (0.5 + (boundary & given).sum(1)) / (1.0 + given.sum(1))
    mass = (probs * boundary).sum(1) + (1.0 - seen) * share
    # every token seen, and no boundary among them
    floor = np.finfo(np.float32).tiny
    return np.log(np.clip(mass, floor, 1.0)), seen
