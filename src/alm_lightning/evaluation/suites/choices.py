"""Log-likelihoods of continuations, several of which may follow one text."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from alm_lightning.evaluation.evaluated_model import EvaluatedModel
from alm_lightning.evaluation.generation.sampling import check_logits
from alm_lightning.evaluation.scoring import Row, score_rows
from alm_lightning.evaluation.suites.continuations import Continuation
from alm_lightning.models.structure import unused_ids

MOST_SHARED = 64
"""Positions of which whole logits are computed at once, where continuations share a pass."""


def likelihoods(
    evaluated: EvaluatedModel, continuations: Sequence[Continuation], *, needs_greedy: bool
) -> list[tuple[float, bool]]:
    """Log-likelihood of each continuation in nats, and whether it is the likeliest token by token.

    Continuations that differ in their last token alone, such as the letters of a multiple choice,
    share one pass of the model. None may be longer than the context. The second value, which may
    take a second pass, is False for all unless `needs_greedy`.
    """
    found: dict[int, tuple[float, bool]] = {}
    shared: dict[bytes, list[int]] = {}
    for index, each in enumerate(continuations):
        if each.first == len(each.ids):
            found[index] = (0.0, True)
        else:
            shared.setdefault(each.ids[:-1].astype(np.int64).tobytes(), []).append(index)
    alone = []
    for members in shared.values():
        own = [continuations[index] for index in members]
        longest = max(len(each.ids) - each.first for each in own)
        if len(members) > 1 and longest <= MOST_SHARED:
            found |= dict(zip(members, _together(evaluated, own), strict=True))
        else:
            alone += members
    rows = [Row(continuations[index].ids, continuations[index].first) for index in alone]
    for place, logprobs in score_rows(evaluated, rows):
        index = alone[place]
        is_greedy = needs_greedy and _is_greedy(evaluated, continuations[index], logprobs)
        found[index] = (float(logprobs.sum()), is_greedy)
    return [found[index] for index in range(len(continuations))]


def _is_greedy(
    evaluated: EvaluatedModel, continuation: Continuation, logprobs: Float[np.ndarray, " scored"]
) -> bool:
    # a likeliest token has at least the mean probability, and one above a half is it
    if (logprobs < -np.log(evaluated.view.num_tokens)).any():
        return False
    if (logprobs > -np.log(2)).all():
        return True
    return _together(evaluated, [continuation])[0][1]


def _together(
    evaluated: EvaluatedModel, members: Sequence[Continuation]
) -> list[tuple[float, bool]]:
    """The same for continuations whose tokens are the same up to the last one of each."""
    length = len(members[0].ids)
    logprobs = _last_logprobs(
        evaluated, members[0].ids[:-1], length - min(each.first for each in members)
    )
    found = []
    for each in members:
        targets = torch.from_numpy(each.ids[each.first :].astype(np.int64))
        own = logprobs[-len(targets) :]
        chosen = own.gather(1, targets.to(own.device)[:, None]).squeeze(1)
        is_greedy = bool((chosen == own.amax(1)).all())
        found.append((float(chosen.double().sum()), is_greedy))
    return found


@torch.inference_mode()
def _last_logprobs(
    evaluated: EvaluatedModel, ids: Int[np.ndarray, " pos"], count: int
) -> Float[Tensor, "kept vocab"]:
    """Log-probabilities of every token, at the last positions of one text alone."""
    model, view = evaluated.model, evaluated.view
    inputs = torch.from_numpy(ids.astype(np.int64))[None].to(model.device)
    logits = model(input_ids=inputs, logits_to_keep=count, use_cache=False).logits[0]
    logits = logits[-count:, : view.num_tokens].float()
    unused = torch.from_numpy(unused_ids(view)).to(logits.device)
    check_logits(logits, evaluated.name)
    return logits.index_fill(1, unused, -torch.inf).log_softmax(-1)
