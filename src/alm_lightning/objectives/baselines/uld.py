"""Universal Logit Distillation: sorted probabilities, whatever tokens they belong to."""

from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from alm_lightning.data.batch import SideTokens
from alm_lightning.likelihood.distributions import Distributions, widest_vocabulary
from alm_lightning.likelihood.signal import Signal, Supervision
from alm_lightning.likelihood.slices import sum_over_slices
from alm_lightning.objectives.baselines.sorted_distance import sorted_distance
from alm_lightning.objectives.chunks.positions import documents, positions_where
from alm_lightning.objectives.objective import Objective
from alm_lightning.shapes import NO_CHUNK


class ULD(Objective):
    r"""L1 distance of the sorted next-token distributions, position by position.

    .. math:: \frac1n \sum_{i=1}^{n} \sum_{k=1}^{\max(|V_S|, |V_T|)}
       |p_S^{(k)}(\cdot \mid x_{<i}) - p_T^{(k)}(\cdot \mid x_{<i})|, \quad n = \min(n_S, n_T)

    where p^(k) is the k-th largest probability, 0 beyond the vocabulary. It is the Wasserstein
    distance if all tokens are equally far from each other. The i-th predicted token of the student
    is compared with the i-th of the teacher in the same document, whatever their bytes; what the
    longer one has beyond the other is left out.

    Reference: Boizard et al. (2024), "Towards Cross-Tokenizer Distillation: the Universal Logit
    Distillation Loss for LLMs", arXiv:2402.12030, with both temperatures 1, as published. Their
    loss is the next-token loss plus 1.5 times this one; here `balance` weighs the two. They take
    the mean over the positions of each row and then over rows; here it is over all positions, so
    that it doesn't depend on which documents share a row.
    """

    needs_teacher: ClassVar[bool] = True
    needs_tokens: ClassVar[bool] = False
    needs_distributions: ClassVar[bool] = True

    def weight(self, signal: Supervision) -> Float[Tensor, ""]:
        """Number of positions that are compared."""
        return _compared(signal.student_tokens, signal.teacher_tokens).sum().float()

    def forward(self, signal: Signal) -> Float[Tensor, ""]:
        """Sum over positions of the distance of the sorted probabilities, from 0 to 2 each."""
        student, teacher = signal.student.distributions, signal.teacher.token_distributions
        tokens = (signal.student_tokens, signal.teacher_tokens)
        # both have the same number of each document, so that the n-th positions belong together
        chosen = (_compared(*tokens), _compared(*reversed(tokens)))
        positions = [positions_where(each) for each in chosen]

        def distance(
            student: Distributions,
            student_positions: Int[Tensor, " row"],
            teacher_positions: Int[Tensor, " row"],
        ) -> Float[Tensor, ""]:
            student_probs = student.logprobs(student_positions).exp()
            with torch.no_grad():
                teacher_probs = teacher.logprobs(teacher_positions).exp()
            return sorted_distance(student_probs, teacher_probs).sum()

        widest = widest_vocabulary(student, teacher)
        return sum_over_slices(distance, student, *positions, num_tokens=widest)


def _compared(tokens: SideTokens, others: SideTokens) -> Bool[Tensor, "batch pos"]:
    """Which tokens of one side have a counterpart on the other: a document's first ones."""
    num_documents = 1 + max(side.ids.shape[1] for side in (tokens, others))
    predicted, of_tokens = _predicted(tokens), documents(tokens)
    counts = _counts(tokens, num_documents)
    before = (counts.cumsum(dim=1) - counts).gather(1, of_tokens)
    nth = predicted.cumsum(dim=1) - before
    return predicted & (nth <= _counts(others, num_documents).gather(1, of_tokens))


def _counts(tokens: SideTokens, num_documents: int) -> Int[Tensor, "batch document"]:
    """How many tokens of each document are trained on."""
    counts = tokens.ids.new_zeros(len(tokens.ids), num_documents, dtype=torch.long)
    return counts.scatter_add(1, documents(tokens), _predicted(tokens).long())


def _predicted(tokens: SideTokens) -> Bool[Tensor, "batch pos"]:
    """Whether a token is trained on, as those in chunks are, and has one before it."""
    return tokens.has_target & (tokens.chunk_ids != NO_CHUNK)
