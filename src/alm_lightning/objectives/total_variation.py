"""Total variation between next-token distributions: the share of drafts that is refused."""

from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from alm_lightning.likelihood.distributions import Distributions, widest_vocabulary
from alm_lightning.likelihood.signal import Signal, Supervision
from alm_lightning.likelihood.slices import sum_over_slices
from alm_lightning.objectives.chunks.one_to_one import one_to_one
from alm_lightning.objectives.objective import Objective
from alm_lightning.objectives.vocabularies.pair_facts import PairFacts
from alm_lightning.objectives.vocabularies.shared import SharedVocabulary, shared_ids
from alm_lightning.objectives.vocabularies.tables import log_coverage, register_tables


class TotalVariation(Objective):
    r"""The probability that the teacher refuses a token which the student drafts.

    In speculative sampling a token v that is drawn from the student is accepted with probability
    min(1, p_T(v) / p_S(v)). What is refused is then

    .. math:: 1 - \sum_{v \in V_S \cap V_T} \min(p_T(v), p_S(v))

    where both sides have one token (all tokens, if student and teacher share a tokenizer). Over one
    vocabulary this is the total variation, half the sum of :math:`|p_T(v) - p_S(v)|`. A token that
    one side lacks is never accepted.

    The sum is written as the mass by which the teacher exceeds the student: exactly 0, with a
    gradient of 0, where both are equal.

    Reference: Leviathan, Kalman and Matias (2023), "Fast Inference from Transformers via
    Speculative Decoding", arXiv:2211.17192, section 3.2 and Theorem 3.5.
    """

    needs_teacher: ClassVar[bool] = True
    needs_tokens: ClassVar[bool] = False
    needs_distributions: ClassVar[bool] = True
    _unshared: Int[Tensor, " unshared"]

    def setup(self, pair: PairFacts) -> None:
        """Finds the shared vocabulary; warns where it is small."""
        self.shared = SharedVocabulary(*shared_ids(pair))
        everything = np.arange(pair.teacher.view.num_tokens)
        register_tables(self, _unshared=np.setdiff1d(everything, self.shared.teacher.numpy()))
        log_coverage("TotalVariation", pair, len(self.shared), len(self.shared))

    def weight(self, signal: Supervision) -> Float[Tensor, ""]:
        """Number of chunks of one token on both sides."""
        return one_to_one(signal).chunks.sum().float()

    def forward(self, signal: Signal) -> Float[Tensor, ""]:
        """Sum over those chunks of the probability of a refusal; no nats."""
        student, teacher = signal.student.distributions, signal.teacher.token_distributions

        def refused(
            student: Distributions,
            student_positions: Int[Tensor, " row"],
            teacher_positions: Int[Tensor, " row"],
        ) -> Float[Tensor, ""]:
            q = student.logprobs(student_positions).exp()
            with torch.no_grad():
                p = teacher.logprobs(teacher_positions).exp()
            never = p[:, self._unshared].sum()
            return (self.shared.of_teacher(p) - self.shared.of_student(q)).relu().sum() + never

        places = one_to_one(signal)
        return sum_over_slices(
            refused,
            student,
            places.student_positions,
            places.teacher_positions,
            num_tokens=widest_vocabulary(student, teacher),
        )
