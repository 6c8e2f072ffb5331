"""Dual-space distillation: both models' distributions in each other's space."""

from dataclasses import replace
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from alm_lightning.likelihood.distributions import Distributions
from alm_lightning.likelihood.signal import Signal, Supervision
from alm_lightning.likelihood.slices import sum_over_slices
from alm_lightning.objectives.baselines.cross_model_attention import CrossModelAttention, sees
from alm_lightning.objectives.chunks.positions import positions_where
from alm_lightning.objectives.objective import Objective
from alm_lightning.objectives.vocabularies.pair_facts import PairFacts


class DSKD(Objective):
    r"""Dual-space knowledge distillation with cross-model attention (DSKD-CMA).

    The teacher's hidden states are projected into the student's space, where the student's output
    layer turns them into a distribution q*, and the student's into the teacher's space, where the
    teacher's output layer gives p*:

    .. math:: \frac1n \left[ \sum_{i=1}^{n} -\log q^*_i(x_i)
       + 1[\arg\max q^*_i = x_i] \, KL(q^*_i \| q_i) + \sum_{j=1}^{m} KL(p_j \| p^*_j) \right]

    over the student's n predicted tokens x_i and the teacher's m, where q and p are their own
    distributions; in both KLs all logits are divided by a temperature, and nothing is multiplied by
    its square. The cross-entropy trains the projectors alone: output layers, and q* in its KL, are
    constants. That KL counts only where the projected teacher is right, as in the method's own
    implementation.

    It differs from that implementation in that

    - vectors are divided by a standard deviation of their own, not by one of the whole batch: what
      a step does must not depend on which rows share a micro-batch;
    - tokens see the tokens of their own document alone, since rows may be packed;
    - output layers keep their bias and soft cap, with which their models were trained;
    - next-token loss is a term of its own, weighed by `balance`, where theirs has half of the loss.

    Reference: Zhang et al. (2024), "Dual-Space Knowledge Distillation for Large Language Models",
    arXiv:2406.17328.

    Args:
        temperature: What logits are divided by in both KLs.
        learning_rate: Peak learning rate of the projectors, which start untrained.
    """

    needs_teacher: ClassVar[bool] = True
    needs_tokens: ClassVar[bool] = False
    needs_distributions: ClassVar[bool] = True
    # it reads embeddings and hidden states of all tokens as well
    distribution_kinds: ClassVar[tuple[str, ...]] = ()

    def __init__(self, *, temperature: float | int, learning_rate: float | int):
        super().__init__()
        self._check_positive(temperature=temperature, learning_rate=learning_rate)
        self.temperature, self.learning_rate = float(temperature), float(learning_rate)

    def setup(self, pair: PairFacts) -> None:
        """Makes the projectors."""
        self.attention = CrossModelAttention(pair)

    def weight(self, signal: Supervision) -> Float[Tensor, ""]:
        """Number of student tokens that are trained on and see a teacher's token."""
        return sees(signal).any(dim=2).sum().float()

    def forward(self, signal: Signal) -> Float[Tensor, ""]:
        """Sum of the three losses, nats."""
        student, teacher = signal.student.distributions, signal.teacher.distributions
        visible = sees(signal)
        in_student, in_teacher = self.attention(student, teacher, visible)
        student_positions = positions_where(visible.any(dim=2))
        teacher_positions = positions_where(visible.any(dim=1))
        in_student = in_student.flatten(0, 1)[student_positions].to(student.hidden.dtype)
        in_teacher = in_teacher.flatten(0, 1)[teacher_positions].to(teacher.hidden.dtype)
        targets = signal.student_tokens.ids.flatten()[student_positions]
        total = self._in_student(student, student_positions, targets, in_student)
        total = total + self._in_teacher(teacher, teacher_positions, in_teacher)
        # ranks and micro-batches without a token must have a gradient too
        return total + in_student[:0].sum() + in_teacher[:0].sum()

    def _in_student(
        self,
        student: Distributions,
        positions: Int[Tensor, " row"],
        targets: Int[Tensor, " row"],
        projected: Float[Tensor, "row hidden"],
    ) -> Float[Tensor, ""]:
        """Cross-entropy of the projected teacher, and KL to the student where it is right."""
        constant = _constant(student)

        def losses(
            student: Distributions,
            positions: Int[Tensor, " row"],
            targets: Int[Tensor, " row"],
            projected: Float[Tensor, "row hidden"],
        ) -> Float[Tensor, ""]:
            logprobs = constant.logprobs_of(projected)
            cross_entropy = torch.nn.functional.nll_loss(logprobs, targets, reduction="sum")
            is_right = logprobs.argmax(dim=1) == targets
            # only rows that count: few are right while the projectors are untrained
            kl = self._kl(student.logprobs(positions[is_right]), logprobs[is_right].detach())
            return cross_entropy + kl

        return sum_over_slices(
            losses, student, positions, targets, projected, num_tokens=student.head.num_tokens
        )

    def _in_teacher(
        self,
        teacher: Distributions,
        positions: Int[Tensor, " row"],
        projected: Float[Tensor, "row hidden"],
    ) -> Float[Tensor, ""]:
        """KL of the projected student to the teacher."""

        def loss(
            teacher: Distributions,
            positions: Int[Tensor, " row"],
            projected: Float[Tensor, "row hidden"],
        ) -> Float[Tensor, ""]:
            return self._kl(teacher.logprobs_of(projected), teacher.logprobs(positions))

        constant = _constant(teacher)
        return sum_over_slices(
            loss, constant, positions, projected, num_tokens=constant.head.num_tokens
        )

    def _kl(
        self, logprobs: Float[Tensor, "row vocab"], wanted: Float[Tensor, "row vocab"]
    ) -> Float[Tensor, ""]:
        """Sum of KL(wanted || logprobs), both at the temperature, nats."""
        # an id without a token would have -inf at a low temperature, and 0 * -inf is nan
        least = torch.finfo(logprobs.dtype).min / 4
        log_q, log_p = (
            (each / self.temperature).clamp_min(least).log_softmax(1) for each in (logprobs, wanted)
        )
        return torch.nn.functional.kl_div(log_q, log_p, log_target=True, reduction="sum")


def _constant(side: Distributions) -> Distributions:
    """The same distributions, without a gradient of the output layer."""
    bias = None if side.head.bias is None else side.head.bias.detach()
    return replace(side, head=replace(side.head, weight=side.head.weight.detach(), bias=bias))
