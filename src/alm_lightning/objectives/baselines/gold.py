"""GOLD: distributions merged over aligned spans; by token where both have it, sorted elsewhere."""

import math
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from alm_lightning.data.batch import SideTokens
from alm_lightning.likelihood.chunks import row_positions, sum_into_chunks
from alm_lightning.likelihood.distributions import Distributions, widest_vocabulary
from alm_lightning.likelihood.signal import ModelSignal, Signal, Supervision
from alm_lightning.likelihood.slices import sum_over_slices
from alm_lightning.objectives.baselines.sorted_distance import sorted_distance
from alm_lightning.objectives.objective import Objective
from alm_lightning.objectives.vocabularies.pair_facts import PairFacts
from alm_lightning.objectives.vocabularies.shared import SharedVocabulary, shared_ids
from alm_lightning.objectives.vocabularies.tables import register_tables
from alm_lightning.shapes import NO_CHUNK


class GOLD(Objective):
    r"""Generalised JSD on the shared vocabulary and sorted L1 on the rest, at every chunk.

    The distribution of a chunk with the tokens x_1 ... x_n is that of its first token, times what
    its other tokens are given:

    .. math:: \tilde p(v) = p(v \mid x_{<1}) \prod_{i=2}^{n} p(x_i \mid x_{<i})

    which is right for the chunk itself, v = x_1, a guess for all else, and sums to less than 1.

    .. math:: \frac1{|C|} \sum_{c \in C} w_1 \left( \beta \, KL(\tilde p_T \| m) + (1 - \beta)
       \, KL(\tilde p_S \| m) \right)_{V_S \cap V_T} + w_2 \sum_k |\tilde p_S^{(k)} -
       \tilde p_T^{(k)}|, \quad m = \beta \tilde p_T + (1 - \beta) \tilde p_S

    where p^(k) is the k-th largest value of the tokens that the other side lacks. A beta of 0 is
    KL(p_T || p_S), 1 is KL(p_S || p_T), both over values that don't sum to 1: they may be below 0.

    Reference: Patiño et al. (2025), "Unlocking On-Policy Distillation for Any Model Family", and
    TRL's `GOLDTrainer` with its hybrid loss (as of 2026), https://github.com/huggingface/trl. The
    generalised JSD is that of Agarwal et al. (2023), arXiv:2306.13649. Where we differ from TRL:

    - A token's distribution is that from which it is predicted. TRL takes the logits at the token's
      own position, which predict the next one, for the distribution and for the factors alike.
    - Tokens are shared if they stand for the same bytes, and EOS by its role. TRL compares names,
      by which no word of a byte-level vocabulary is one of a SentencePiece-like vocabulary.
    - Probabilities are not bounded by 1e-8: all is computed from their logarithms.
    - The EOS, which TRL leaves out by default, is a chunk: the student is to learn to stop.
    - The mean is over all chunks, not over those of each row first.
    - Where one side alone has tokens that the other lacks, they are compared with zeros, not left
      out; a part with no token at all is 0 in both.
    - Texts are those of the corpus; TRL lets the student write half of them by default.

    Args:
        beta: From 0, the teacher's KL, to 1, the student's.
        shared_weight: w_1. None, for both: the share of the teacher's tokens that the student
            has, and what is missing to 1.
        rest_weight: w_2.
    """

    needs_teacher: ClassVar[bool] = True
    needs_distributions: ClassVar[bool] = True

    student_rest: Int[Tensor, " subset"]
    teacher_rest: Int[Tensor, " subset"]

    def __init__(
        self,
        *,
        beta: float | int,
        shared_weight: float | int | None,
        rest_weight: float | int | None,
    ):
        super().__init__()
        if not 0 <= beta <= 1:
            raise ValueError(f"GOLD: beta is {beta}: expected from 0 to 1; TRL's is 0.5.")
        self.beta = float(beta)
        # either KL alone may be below 0, of values that don't sum to 1
        self.is_distance = 0 < self.beta < 1
        self.weights: tuple[float, float] | None = None
        if shared_weight is not None and rest_weight is not None:
            self.weights = (shared_weight, rest_weight)
        is_half_given = self.weights is None and (shared_weight, rest_weight) != (None, None)
        if is_half_given or not all(weight >= 0 for weight in self.weights or ()):
            raise ValueError(
                f"GOLD: shared_weight is {shared_weight} and rest_weight {rest_weight}: "
                "expected two numbers of at least 0, or None (null) for both."
            )

    def setup(self, pair: PairFacts) -> None:
        """Finds the shared vocabulary, the rest of both, and the weights where none are given."""
        student_ids, teacher_ids = shared_ids(pair)
        self.shared = SharedVocabulary(student_ids, teacher_ids)
        register_tables(
            self,
            student_rest=np.setdiff1d(np.arange(pair.student.view.num_tokens), student_ids),
            teacher_rest=np.setdiff1d(np.arange(pair.teacher.view.num_tokens), teacher_ids),
        )
        share = len(self.shared) / pair.teacher.view.num_tokens
        self.used_weights = self.weights or (share, 1 - share)

    def weight(self, signal: Supervision) -> Float[Tensor, ""]:
        """Number of chunks of which both sides predict all tokens."""
        return _predicted_chunks(signal).sum().float()

    def forward(self, signal: Signal) -> Float[Tensor, ""]:
        """Sum over chunks of the weighted divergence, nats, and distance, without a unit."""
        shared_weight, rest_weight = self.used_weights
        chunks = _predicted_chunks(signal)
        student, teacher = signal.student.distributions, signal.teacher.token_distributions

        def loss(
            student: Distributions,
            student_positions: Int[Tensor, " row"],
            student_others: Float[Tensor, " row"],
            teacher_positions: Int[Tensor, " row"],
            teacher_others: Float[Tensor, " row"],
        ) -> Float[Tensor, ""]:
            log_q = student.logprobs(student_positions) + student_others[:, None]
            with torch.no_grad():
                log_p = teacher.logprobs(teacher_positions) + teacher_others[:, None]
            divergence = generalised_jsd(
                self.shared.of_student(log_q), self.shared.of_teacher(log_p), beta=self.beta
            )
            rest = (log_q[:, self.student_rest].exp(), log_p[:, self.teacher_rest].exp())
            distance = sorted_distance(*rest)
            return (shared_weight * divergence + rest_weight * distance).sum()

        widest = widest_vocabulary(student, teacher)
        return sum_over_slices(
            loss,
            student,
            *_merged(signal.student, signal.student_tokens, chunks),
            *_merged(signal.teacher, signal.teacher_tokens, chunks),
            num_tokens=widest,
        )


def generalised_jsd(
    student_logprobs: Float[Tensor, "row shared"],
    teacher_logprobs: Float[Tensor, "row shared"],
    *,
    beta: float | int,
) -> Float[Tensor, " row"]:
    """Generalised Jensen-Shannon divergence of a student q and a teacher p: the terms of `GOLD`.

    Args:
        student_logprobs: Log-probabilities, nats; they need not sum to 1.
        teacher_logprobs: The same.
        beta: In (0, 1); 0 is KL(p || q) and 1 KL(q || p), not the limits, which are 0.

    Returns:
        Nats; at least 0 for a beta in (0, 1), however little the probabilities sum to.
    """

    def kl(
        first: Float[Tensor, "row shared"], second: Float[Tensor, "row shared"]
    ) -> Float[Tensor, " row"]:
        return (first.exp() * (first - second)).sum(dim=1)

    if beta == 0:
        return kl(teacher_logprobs, student_logprobs)
    if beta == 1:
        return kl(student_logprobs, teacher_logprobs)
    mixture = torch.logaddexp(
        student_logprobs + math.log1p(-beta), teacher_logprobs + math.log(beta)
    )
    return beta * kl(teacher_logprobs, mixture) + (1 - beta) * kl(student_logprobs, mixture)


def _predicted_chunks(signal: Supervision) -> Bool[Tensor, "batch chunk"]:
    """Chunks of which all tokens have a token before them, on both sides."""
    chunks = signal.chunk_mask
    for tokens in (signal.student_tokens, signal.teacher_tokens):
        missing = (~tokens.has_target).float()
        chunks = chunks & (
            sum_into_chunks(missing, tokens.chunk_ids, num_chunks=chunks.shape[1]) == 0
        )
    return chunks


def _merged(
    side: ModelSignal, tokens: SideTokens, chunks: Bool[Tensor, "batch chunk"]
) -> tuple[Int[Tensor, " row"], Float[Tensor, " row"]]:
    """Position of the first token of some chunks, and the log-likelihood of their other tokens."""
    ids, length = tokens.chunk_ids.long(), tokens.ids.shape[1]
    of_none = torch.full_like(chunks, length, dtype=torch.long)
    in_row = row_positions(ids).masked_fill(ids == NO_CHUNK, length)
    first = of_none.scatter_reduce(1, ids.clamp_min(0), in_row, reduce="amin")
    rows = torch.arange(len(ids), device=ids.device)[:, None].expand_as(first)
    positions = (rows * length + first)[chunks]
    others = side.chunk_logprobs[chunks] - side.token_logprobs.flatten()[positions]
    return positions, others
