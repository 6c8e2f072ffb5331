"""Student and teacher on the same batch: exact totals, from which figures of both are made."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from alm_lightning.data.batch import DistillBatch, SideTokens
from alm_lightning.evaluation.evaluated_model import BROKEN, EvaluatedModel
from alm_lightning.evaluation.scoring import token_logprobs
from alm_lightning.likelihood.chunks import sum_into_chunks
from alm_lightning.likelihood.signal import ModelSignal, TokenLogprobs
from alm_lightning.metrics.totals import FIELDS, batch_totals


def side_of(evaluated: EvaluatedModel, batch: DistillBatch, tokens: SideTokens) -> ModelSignal:
    """Log-likelihoods of tokens and chunks of one side of a batch, in nats; no boundaries.

    A ValueError says that one of them is not finite.
    """
    device = evaluated.model.device
    ids = tokens.ids.to(device).long()
    mask = tokens.mask.to(device)
    scored = mask.clone()
    scored[:, 0] = False
    logprobs = token_logprobs(evaluated, ids, mask, scored).cpu()
    if not torch.isfinite(logprobs).all():
        raise ValueError(
            f"{evaluated.name} gives a log-probability that is not a number (NaN or infinite): "
            f"{BROKEN}."
        )
    chunks = sum_into_chunks(logprobs, tokens.chunk_ids, num_chunks=batch.chunk_mask.shape[1])
    return ModelSignal(TokenLogprobs(logprobs, chunks, torch.zeros_like(chunks)))


def totals_of(batch: DistillBatch, student: ModelSignal, teacher: ModelSignal) -> dict[str, float]:
    """Totals of a batch, by name: those of training, and the agreement of chunks.

    Returns `metrics.totals.FIELDS`, and ``chunk_agreement``: the sum over content chunks of
    :math:`1 - |p_T(c) - p_S(c)|`, which is 1 less the total variation between the two distributions
    over "this chunk" and "anything else".
    """
    totals = dict(zip(FIELDS, batch_totals(batch, student, teacher).tolist(), strict=True))
    content = batch.chunk_mask & ~batch.chunk_is_structure
    apart = (teacher.chunk_logprobs.double().exp() - student.chunk_logprobs.double().exp()).abs()
    return totals | {"chunk_agreement": float((1.0 - apart)[content].sum())}


def chunk_lengths(
    batch: DistillBatch, byte_lengths: Float[Tensor, " vocab"]
) -> Float[np.ndarray, " chunk"]:
    """Bytes of each content chunk of a batch, row after row."""
    lengths = sum_into_chunks(
        byte_lengths[batch.student.ids.long()],
        batch.student.chunk_ids,
        num_chunks=batch.chunk_mask.shape[1],
    )
    return lengths[batch.chunk_mask & ~batch.chunk_is_structure].numpy()
