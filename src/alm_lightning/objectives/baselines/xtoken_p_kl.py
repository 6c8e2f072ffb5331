"""X-Token's P-KL: the student's distribution, projected on the teacher's vocabulary."""

from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from alm_lightning.likelihood.distributions import (
    Distributions,
    TokenDistributions,
    widest_vocabulary,
)
from alm_lightning.likelihood.signal import Signal, Supervision
from alm_lightning.likelihood.slices import sum_over_slices
from alm_lightning.objectives.chunks.token_runs import Runs, TokenRuns, token_runs
from alm_lightning.objectives.objective import Objective
from alm_lightning.objectives.vocabularies.pair_facts import PairFacts
from alm_lightning.objectives.vocabularies.projection import Projection
from alm_lightning.objectives.vocabularies.tables import log_coverage


class ProjectedKL(Objective):
    r"""Forward KL to the student's distribution, projected on the teacher's vocabulary.

    .. math:: \frac1{|C|} \sum_{c \in C} \sum_t \tilde p_c(t) \log \frac{\tilde p_c(t)}{q_c(t)},
       \quad q_c \propto W^\top \frac1{|c|_S} \sum_{i \in c} p_S(\cdot \mid x_{<i}), \quad
       \log \tilde p_c = \frac1{|c|_T} \sum_{j \in c} \log p_T(\cdot \mid y_{<j})

    W has a row for each token of the student: 1 for the same token of the teacher, or else weights,
    falling by a factor, for the pieces that the teacher's tokenizer cuts it into (`Projection`).
    Both sides are restricted to tokens of the teacher that W leads to, and renormalised; at each
    position of the teacher before the mean over them. A chunk of several positions is their mean on
    each side, as the authors' code has it: the teacher's mean of logs does not sum to 1, the less
    so the more its positions differ, so that such a chunk counts for less (and its term may be
    below 0). Chunks with a student token that W leads nowhere, a special one without a counterpart,
    are left out.

    Reference: Sreenivas et al. (2026), "X-Token: Projection-Guided Cross-Tokenizer Knowledge
    Distillation", arXiv:2605.21699. Their code compares the 8,192 tokens that are the teacher's
    likeliest in a batch; here it is all of them, a slice of positions at a time.

    Args:
        temperature: Both distributions are p^(1/T), renormalised; the loss is times T^2.
        decay: Weight of a piece, as a share of the piece before it.
    """

    needs_teacher: ClassVar[bool] = True
    # a teacher's mean of logs sums to less than 1
    is_distance: bool = False
    needs_tokens: ClassVar[bool] = False
    needs_distributions: ClassVar[bool] = True

    def __init__(self, *, temperature: float | int, decay: float | int):
        super().__init__()
        self._check_positive(temperature=temperature)
        if not 0 <= decay <= 1:
            raise ValueError(
                f"ProjectedKL: decay is {decay}: expected from 0 (the first piece alone) to 1 "
                "(all alike); published: 0.1."
            )
        self.temperature, self.decay = float(temperature), float(decay)

    def setup(self, pair: PairFacts) -> None:
        """Makes the projection; warns where the vocabularies share few tokens."""
        self.projection = Projection(pair, decay=self.decay)
        num_same = self.projection.num_same
        log_coverage("ProjectedKL", pair, num_same, num_same)

    def weight(self, signal: Supervision) -> Float[Tensor, ""]:
        """Number of chunks that are compared."""
        return self._compared(signal, token_runs(signal)).sum().float()

    def forward(self, signal: Signal) -> Float[Tensor, ""]:
        """Sum over chunks, nats times T^2."""
        runs = token_runs(signal)
        student, teacher = signal.student.distributions, signal.teacher.token_distributions
        compared = self._compared(signal, runs)

        def kl(
            student: Distributions,
            student_starts: Int[Tensor, " row"],
            student_counts: Int[Tensor, " row"],
            teacher_starts: Int[Tensor, " row"],
            teacher_counts: Int[Tensor, " row"],
        ) -> Float[Tensor, ""]:
            positions = _positions(runs.student, student_starts, student_counts)
            log_q = self._projected(self._mean(student, positions, student_counts))
            with torch.no_grad():
                positions = _positions(runs.teacher, teacher_starts, teacher_counts)
                log_p = self._teacher_mean(teacher, positions, teacher_counts)
            return torch.nn.functional.kl_div(log_q, log_p, log_target=True, reduction="sum")

        sides = (runs.student, runs.teacher)
        rows = [each[compared] for side in sides for each in (side.starts, side.counts)]
        widest = max(widest_vocabulary(student, teacher), len(self.projection.weights))
        # a chunk is a row, and makes a distribution for each of its tokens
        most = torch.maximum(rows[1], rows[3])
        total = sum_over_slices(kl, student, *rows, num_tokens=widest, positions=most)
        return total * self.temperature**2

    def _compared(self, signal: Supervision, runs: TokenRuns) -> Bool[Tensor, " row"]:
        """Which chunks have only tokens of the student that lead to the teacher's."""
        ids = signal.student_tokens.ids.flatten()[runs.student.positions]
        lost = (~self.projection.has_row[ids]).long()
        return _sums(lost, runs.student.counts) == 0

    def _mean(
        self, side: TokenDistributions, positions: Int[Tensor, " pos"], counts: Int[Tensor, " row"]
    ) -> Float[Tensor, "row vocab"]:
        """The student's probabilities, the mean over the positions of each chunk."""
        probs = (side.logprobs(positions) / self.temperature).softmax(dim=1)
        return _sums(probs, counts) / counts.unsqueeze(1)

    def _projected(self, probs: Float[Tensor, "row vocab"]) -> Float[Tensor, "row subset"]:
        """Log-probabilities of the teacher's tokens, from the student's."""
        # a probability below the smallest float stays finite, and has no gradient
        masses = self.projection(probs) + torch.finfo(probs.dtype).tiny
        return masses.log() - masses.sum(dim=1, keepdim=True).log()

    def _teacher_mean(
        self, side: TokenDistributions, positions: Int[Tensor, " pos"], counts: Int[Tensor, " row"]
    ) -> Float[Tensor, "row subset"]:
        """The teacher's log-probabilities, the mean over the positions of each chunk."""
        logprobs = side.logprobs(positions)[:, self.projection.teacher_ids] / self.temperature
        return _sums(logprobs.log_softmax(dim=1), counts) / counts.unsqueeze(1)


def _positions(
    runs: Runs, starts: Int[Tensor, " row"], counts: Int[Tensor, " row"]
) -> Int[Tensor, " pos"]:
    """Positions of the tokens of some of the chunks, one chunk after another."""
    shifts = starts - (counts.cumsum(0) - counts)
    within = torch.arange(int(counts.sum()), device=counts.device)
    return runs.positions[shifts.repeat_interleave(counts) + within]


def _sums(
    values: Shaped[Tensor, "pos ..."], counts: Int[Tensor, " row"]
) -> Shaped[Tensor, "row ..."]:
    """Sums of the rows of each chunk."""
    if len(values) == len(counts):
        return values
    rows = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
    return values.new_zeros(len(counts), *values.shape[1:]).index_add(0, rows, values)
