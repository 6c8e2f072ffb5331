"""Strict one-to-one: KL on the shared vocabulary, where both sides have one token."""

from typing import ClassVar

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
from alm_lightning.objectives.vocabularies.tables import log_coverage


class StrictOneToOne(Objective):
    r"""Forward KL over the tokens that both vocabularies have, at one-to-one chunks only.

    With one tokenizer on both sides this is the usual KL over the whole vocabulary.

    .. math:: \frac1{|C_1|} \sum_{c \in C_1} \sum_{v \in V_S \cap V_T}
       \bar p_T(v) \log \frac{\bar p_T(v)}{\bar p_S(v)}

    where bars mean that both distributions are renormalised over the shared vocabulary. Chunks of
    several tokens on either side are left out, and those of tokens that are not shared: without the
    likeliest token, only the tail of a distribution is left.

    Reference: arXiv:2610.08448.

    Args:
        temperature: Both distributions are p^(1/T), renormalised; the loss is times T^2
            (Hinton et al. 2015, arXiv:1503.02531).
    """

    needs_teacher: ClassVar[bool] = True
    needs_tokens: ClassVar[bool] = False
    needs_distributions: ClassVar[bool] = True

    def __init__(self, *, temperature: float | int):
        super().__init__()
        self._check_positive(temperature=temperature)
        self.temperature = float(temperature)

    def setup(self, pair: PairFacts) -> None:
        """Finds the shared vocabulary; warns where it is small."""
        self.shared = SharedVocabulary(*shared_ids(pair))
        log_coverage("StrictOneToOne", pair, len(self.shared), len(self.shared))

    def weight(self, signal: Supervision) -> Float[Tensor, ""]:
        """Number of one-to-one chunks of a shared token."""
        return torch.tensor(float(len(self._positions(signal)[0])), device=signal.chunk_mask.device)

    def forward(self, signal: Signal) -> Float[Tensor, ""]:
        """Sum over those chunks of the KL on the shared vocabulary, nats times T^2."""
        student, teacher = signal.student.distributions, signal.teacher.token_distributions

        def kl(
            student: Distributions,
            student_positions: Int[Tensor, " row"],
            teacher_positions: Int[Tensor, " row"],
        ) -> Float[Tensor, ""]:
            ours = student.logprobs(student_positions)
            log_q = self._renormalised(self.shared.of_student(ours), ours)
            with torch.no_grad():
                theirs = teacher.logprobs(teacher_positions)
                log_p = self._renormalised(self.shared.of_teacher(theirs), theirs)
            return torch.nn.functional.kl_div(log_q, log_p, log_target=True, reduction="sum")

        widest = widest_vocabulary(student, teacher)
        total = sum_over_slices(kl, student, *self._positions(signal), num_tokens=widest)
        return total * self.temperature**2

    def _positions(self, signal: Supervision) -> tuple[Int[Tensor, " row"], Int[Tensor, " row"]]:
        """Positions of the shared tokens of one-to-one chunks, on both sides."""
        single = one_to_one(signal)
        is_shared = self.shared.same(
            signal.student_tokens.ids.flatten()[single.student_positions],
            signal.teacher_tokens.ids.flatten()[single.teacher_positions],
        )
        return single.student_positions[is_shared], single.teacher_positions[is_shared]

    def _renormalised(
        self, shared: Float[Tensor, "row shared"], logprobs: Float[Tensor, "row vocab"]
    ) -> Float[Tensor, "row shared"]:
        """Log-probabilities of the shared tokens at a temperature, among themselves."""
        if shared is logprobs and self.temperature == 1:
            # all tokens are shared, and their probabilities sum to 1
            return shared
        return (shared / self.temperature).log_softmax(dim=1)
