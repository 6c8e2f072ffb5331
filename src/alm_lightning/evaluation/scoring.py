"""Log-probabilities of rows of tokens, by a model or an ensemble, without whole logits between."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from alm_lightning.evaluation.ensemble import Ensemble
from alm_lightning.evaluation.evaluated_model import BROKEN, EvaluatedModel
from alm_lightning.likelihood.score import scored_logprobs
from alm_lightning.models.structure import last_hidden, output_head

BATCH_TOKENS = 2048
"""Tokens of a batch, padding included: enough for a processor to be fast, with little memory."""


@dataclass(frozen=True, eq=False)
class Row:
    """Tokens to read, of which the last ones are scored.

    Attributes:
        ids: Token ids, the start token included.
        first: Index of the first token that is scored: at least 1, since the first token of all
            has nothing before it.
    """

    ids: Int[np.ndarray, " pos"]
    first: int = 1

    def __post_init__(self) -> None:
        """Refuses a row of which nothing can be scored."""
        if not 1 <= self.first < len(self.ids):
            raise ValueError(
                f"a row of {len(self.ids)} tokens is to be scored from token {self.first} on: "
                f"expected a place of 1 to {len(self.ids) - 1}. Put a start token before the text."
            )


def adjoining_rows(ids: Int[np.ndarray, " pos"], longest: int) -> list[Row]:
    """Rows of a long text in which each token but the first is scored once.

    The last row begins earlier than it scores, so that it is as long as possible.
    """
    rows = []
    for begin in range(1, len(ids), longest - 1):
        end = min(begin + longest - 1, len(ids))
        start = max(end - longest, 0)
        rows.append(Row(ids[start:end], begin - start))
    return rows


def score_rows(
    evaluated: EvaluatedModel, rows: Sequence[Row], *, batch_tokens: int = BATCH_TOKENS
) -> Iterator[tuple[int, Float[np.ndarray, " _"]]]:
    """Log-probability of each scored token given all tokens before it in its row.

    Rows of like length share a batch, the longest first, so that little is padding and a batch that
    is too large for the memory fails at the start.

    Args:
        evaluated: The model or ensemble, with its tokenizer.
        rows: What is read and scored.
        batch_tokens: Tokens of a batch, padding included; a longer row is a batch of its own.

    Yields:
        The index of a row, and its log-probabilities in nats; in the order of the batches.

    Raises:
        ValueError: A row is longer than the model's context, or the model gives a log-probability
            that is NaN or infinite.
    """
    for index, row in enumerate(rows):
        if len(row.ids) > evaluated.context_length:
            raise ValueError(
                f"row {index} has {len(row.ids):,} tokens, but {evaluated.name} reads at most "
                f"{evaluated.context_length:,} at once. Give shorter texts, or windows of them."
            )
    order = iter(sorted(range(len(rows)), key=lambda index: -len(rows[index].ids)))
    while chosen := list(islice(order, 1)):
        # the first is the longest: all others are padded to it
        chosen += islice(order, max(batch_tokens // len(rows[chosen[0]].ids), 1) - 1)
        scores = _batch_scores(evaluated, [rows[index] for index in chosen])
        yield from zip(chosen, scores, strict=True)


@torch.inference_mode()
def _batch_scores(evaluated: EvaluatedModel, rows: Sequence[Row]) -> list[Float[np.ndarray, " _"]]:
    width = len(rows[0].ids)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.bool)
    scored = torch.zeros(len(rows), width, dtype=torch.bool)
    for place, row in enumerate(rows):
        length = len(row.ids)
        ids[place, :length] = torch.from_numpy(row.ids.astype(np.int64))
        mask[place, :length] = True
        scored[place, row.first : length] = True
    device = evaluated.model.device
    ids, mask, scored = ids.to(device), mask.to(device), scored.to(device)
    logprobs = token_logprobs(evaluated, ids, mask, scored)[scored]
    values = logprobs.double().cpu().numpy()
    if not np.isfinite(values).all():
        raise ValueError(
            f"{evaluated.name} gives a log-probability that is not a number (NaN or infinite) to "
            f"{int((~np.isfinite(values)).sum())} of {len(values)} tokens: {BROKEN}."
        )
    return np.split(values, np.cumsum([len(row.ids) - row.first for row in rows])[:-1])


@torch.inference_mode()
def token_logprobs(
    evaluated: EvaluatedModel,
    ids: Int[Tensor, "batch pos"],
    mask: Bool[Tensor, "batch pos"],
    scored: Bool[Tensor, "batch pos"],
) -> Float[Tensor, "batch pos"]:
    """Log-probabilities of chosen tokens given all tokens before them in their rows.

    Args:
        evaluated: The model or ensemble.
        ids: Token ids, padded on the right.
        mask: True for a token, False for padding.
        scored: True for a token whose log-probability is wanted; never the first of a row.

    Returns:
        Nats, float32; 0.0 for all other tokens.
    """
    if isinstance(evaluated.model, Ensemble):
        return evaluated.model.token_logprobs(ids, mask).masked_fill(~scored, 0.0)
    hidden = last_hidden(evaluated.model, ids)
    logprobs = scored_logprobs(hidden, ids, scored, output_head(evaluated.model, evaluated.view))
    return logprobs.new_zeros(ids.shape).masked_scatter(scored, logprobs)
