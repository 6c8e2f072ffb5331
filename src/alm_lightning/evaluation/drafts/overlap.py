"""How much of a draft a target would take, from both distributions on a text: no generation."""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from alm_lightning.evaluation.evaluated_model import BROKEN, EvaluatedModel
from alm_lightning.likelihood.distributions import Distributions
from alm_lightning.models.structure import last_hidden, output_head

ROWS = 32
"""Distributions that are compared at once."""


@torch.inference_mode()
def overlap(
    draft: EvaluatedModel, target: EvaluatedModel, ids: Sequence[int], first: int
) -> dict[str, float]:
    r"""Expected acceptance of the tokens of a text, of one vocabulary.

    A token that is drawn from the draft's distribution q is accepted with probability
    :math:`\sum_v \min(p(v), q(v))`, which is 1 less the total variation to the target's p
    (Leviathan et al. 2023, arXiv:2211.17192). A greedy one is if both have one likeliest token.

    Args:
        draft: The model that drafts.
        target: The model that it drafts for.
        ids: Token ids of the text, the start token included.
        first: The first token that counts, at least 1.

    Returns:
        Sums over the tokens from `first` on: ``overlap`` and ``agreement``, and their count
        ``scored``.

    Raises:
        ValueError: One of the models gives probabilities that are not numbers.
    """
    row = torch.tensor([list(ids)])
    sides = [_distributions(each, row) for each in (draft, target)]
    totals = torch.zeros(2, dtype=torch.float64)
    places = torch.arange(first, len(ids))
    for chosen in places.split(ROWS):
        q, p = (side.logprobs(chosen.to(side.device)).to("cpu") for side in sides)
        totals[0] += torch.minimum(p, q).double().exp().sum()
        totals[1] += (p.argmax(1) == q.argmax(1)).sum()
    if not torch.isfinite(totals).all():
        raise ValueError(
            f"{draft.name} or {target.name} gives probabilities that are not numbers: {BROKEN}."
        )
    return {
        "overlap": float(totals[0]),
        "agreement": float(totals[1]),
        "scored": float(len(places)),
    }


def _distributions(evaluated: EvaluatedModel, row: Int[Tensor, "batch pos"]) -> Distributions:
    model = evaluated.model
    hidden = last_hidden(model, row.to(model.device))
    # nothing here reads input embeddings
    return Distributions(hidden, hidden, output_head(model, evaluated.view))
