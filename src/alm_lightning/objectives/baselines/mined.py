"""MinED: the teacher's likeliest tokens, each at the student's token that is written most alike."""

from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from alm_lightning.counterparts import NONE
from alm_lightning.likelihood.distributions import Distributions
from alm_lightning.likelihood.signal import Signal, Supervision
from alm_lightning.likelihood.slices import slice_rows, sum_over_slices
from alm_lightning.objectives.chunks.one_to_one import OneToOne, one_to_one
from alm_lightning.objectives.objective import Objective
from alm_lightning.objectives.vocabularies.nearest import NearestTokens
from alm_lightning.objectives.vocabularies.pair_facts import PairFacts
from alm_lightning.objectives.vocabularies.shared import shared_ids
from alm_lightning.objectives.vocabularies.tables import log_coverage


class MinED(Objective):
    r"""Forward KL from the teacher's few likeliest tokens, moved to the student's vocabulary.

    .. math:: \frac1{|X|} \sum_{x \in X} \sum_{v \in V_S} q_x(v) \log \frac{q_x(v)}{p_S(v)}, \quad
       q_x(v) \propto \sum_{t \in \mathrm{top}_k(p_T)} p_T(t) [m(t) = v]

    over the student's tokens x that are predicted. m takes a token of the teacher to the student's
    token of least edit distance. Where a chunk is not one token on both sides, q is all on the
    student's own token, and the divergence its next-token loss. Where it is, the teacher's own
    token goes to the student's own, which stands for the same, even if it is structure.

    Reference: Wan et al. (2024), "Knowledge Fusion of Large Language Models", arXiv:2401.10491,
    whose distributions are stored as their ten likeliest tokens. Of several teacher tokens that go
    to one student token their code keeps the likeliest; here their masses add up.

    Args:
        top_k: How many of the teacher's tokens are moved, at each position.
    """

    needs_teacher: ClassVar[bool] = True
    needs_distributions: ClassVar[bool] = True

    def __init__(self, *, top_k: int):
        super().__init__()
        if not top_k >= 1:
            raise ValueError(f"MinED: top_k is {top_k}: expected 1 or more; published: 10.")
        self.top_k = int(top_k)

    def setup(self, pair: PairFacts) -> None:
        """Maps tokens that both vocabularies have; warns where these are few."""
        self.nearest = NearestTokens(student=pair.student.view, teacher=pair.teacher.view)
        num_shared = len(shared_ids(pair)[0])
        log_coverage("MinED", pair, num_shared, num_shared)

    def weight(self, signal: Supervision) -> Float[Tensor, ""]:
        """Number of the student's tokens that are predicted."""
        return (signal.target_mask | _mask(signal, one_to_one(signal))).sum().float()

    def forward(self, signal: Signal) -> Float[Tensor, ""]:
        """Sum of the divergences over the student's tokens, nats."""
        single = one_to_one(signal)
        others = signal.target_mask & ~_mask(signal, single)
        one_hot = -signal.student.token_logprobs.masked_fill(~others, 0.0).sum()
        student = signal.student.distributions

        def kl(
            student: Distributions,
            positions: Int[Tensor, " row"],
            ids: Int[Tensor, "row subset"],
            probs: Float[Tensor, "row subset"],
        ) -> Float[Tensor, ""]:
            return few_kl(student.logprobs(positions), ids, probs)

        rows = (single.student_positions, *self.targets(signal, single))
        return one_hot + sum_over_slices(kl, student, *rows, num_tokens=student.head.num_tokens)

    @torch.no_grad()
    def targets(
        self, signal: Signal, single: OneToOne
    ) -> tuple[Int[Tensor, "row subset"], Float[Tensor, "row subset"]]:
        """The teacher's likeliest tokens as ids of the student, at one-to-one chunks.

        Some of a row's ids may be equal. The probabilities of a row sum to 1.
        """
        teacher = signal.teacher.token_distributions
        top_k = min(self.top_k, teacher.num_tokens)
        parts = torch.split(
            single.teacher_positions, slice_rows(teacher.num_tokens, teacher.device)
        )
        tops = [teacher.logprobs(part).topk(top_k, dim=1) for part in parts]
        teacher_ids = torch.cat([top.indices for top in tops])
        mapped = torch.from_numpy(self.nearest(teacher_ids.cpu().numpy())).to(teacher_ids.device)
        own_teacher = signal.teacher_tokens.ids.flatten()[single.teacher_positions].unsqueeze(1)
        own_student = signal.student_tokens.ids.flatten()[single.student_positions].unsqueeze(1)
        mapped = torch.where(teacher_ids == own_teacher, own_student, mapped)
        probs = torch.cat([top.values for top in tops]).exp().masked_fill(mapped == NONE, 0.0)
        # all of the teacher's likeliest tokens may be special ones that the student lacks
        is_lost = probs.sum(dim=1, keepdim=True) == 0
        mapped = torch.where(is_lost, own_student, mapped)
        probs = probs.masked_fill(is_lost, 1.0)
        return mapped.clamp_min(0), probs / probs.sum(dim=1, keepdim=True)


def few_kl(
    student_logprobs: Float[Tensor, "row vocab"],
    ids: Int[Tensor, "row subset"],
    probs: Float[Tensor, "row subset"],
) -> Float[Tensor, ""]:
    """KL from distributions on few tokens, summed over rows.

    Args:
        student_logprobs: Log-probabilities of every token.
        ids: Tokens with mass; the masses of equal ones add up.
        probs: Their masses.

    Returns:
        The total, nats.

    Example:
        >>> import torch
        >>> half = torch.tensor([[0.5, 0.25, 0.25]]).log()
        >>> few_kl(half, torch.tensor([[0, 2, 0]]), torch.tensor([[0.25, 0.5, 0.25]]))
        tensor(0.3466)
    """
    is_same = ids.unsqueeze(1) == ids.unsqueeze(2)
    merged = (is_same * probs.unsqueeze(1)).sum(dim=2)
    # 0 log 0 is 0
    negative_entropy = torch.special.xlogy(probs, merged).sum()
    return negative_entropy - (probs * student_logprobs.gather(1, ids)).sum()


def _mask(signal: Supervision, single: OneToOne) -> Bool[Tensor, "batch student_pos"]:
    """Which of the student's tokens are one-to-one chunks."""
    mask = torch.zeros_like(signal.target_mask).flatten()
    mask[single.student_positions] = True
    return mask.view_as(signal.target_mask)
