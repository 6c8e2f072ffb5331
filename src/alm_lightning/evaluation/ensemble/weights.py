"""Weights of an ensemble's members that make a text most likely."""

import logging

from jaxtyping import Float
from torch import Tensor

from alm_lightning.evaluation.ensemble.mixture import MEAN_PROB

log = logging.getLogger(__name__)

TOLERANCE = 1e-12
"""Nats a token by which the weights found are at most worse than the best: this brings the weights
themselves within 1e-6 wherever members differ."""
MAX_STEPS = 20_000
"""Expectation-maximisation is slow where members hardly differ, and there it matters least."""


def fitted_weights(
    member_logprobs: Float[Tensor, "member token"], combine: str = MEAN_PROB
) -> Float[Tensor, " member"]:
    r"""The weights under which a text has the highest likelihood, by expectation-maximisation.

    The likelihood of :math:`\sum_i w_i p_i` is concave in the weights, so there is one maximum. By
    how much more a token can gain is known at every step: at most :math:`\max_i \mathrm{mean}_t \,
    p_i(t) / p(t) - 1` nats. The log-probabilities, in nats, must be those of a text that the
    members were not trained on. The weights are float64, with a sum of 1. A ValueError says that
    there are no tokens, that a number is NaN or infinite, or that the members are not combined by
    `mean_prob`.

    >>> import torch
    >>> logprobs = torch.tensor([[0.9, 0.9, 0.9, 0.1], [0.1, 0.1, 0.1, 0.9]]).log()
    >>> fitted_weights(logprobs)
    tensor([0.8125, 0.1875], dtype=torch.float64)
    """
    if combine != MEAN_PROB:
        raise ValueError(
            f"weights are fitted for combine={MEAN_PROB} alone, not for {combine}, whose "
            "likelihood needs the whole vocabulary at every token. Give weights, or leave them "
            "equal."
        )
    if member_logprobs.shape[1] == 0:
        raise ValueError("there are no tokens to fit weights to. Give a text.")
    if not member_logprobs.isfinite().all():
        bad = int((~member_logprobs.isfinite().all(1)).nonzero()[0])
        raise ValueError(
            f"member {bad} gives a log-probability that is NaN or infinite, so no weights can be "
            "fitted. Leave it out, or take dtype=float32."
        )
    logprobs = member_logprobs.double()
    # of each token only the members' ratios matter
    ratios = (logprobs - logprobs.amax(0)).exp()
    weights = ratios.new_full((len(ratios),), 1 / len(ratios))
    for _ in range(MAX_STEPS):
        gains = (ratios / (weights @ ratios)).mean(1)
        if gains.max() - 1 <= TOLERANCE:
            break
        weights = weights * gains
        weights = weights / weights.sum()
    else:
        log.warning(
            "weights did not settle within %d steps: the text may gain up to %.1e nats a token",
            MAX_STEPS,
            gains.max() - 1,
        )
    return weights
