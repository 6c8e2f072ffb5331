"""ESCD: byte-prefix marginalisation at chunk starts, sets of completions inside tokens."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from alm_lightning.likelihood.distributions import Distributions, widest_vocabulary
from alm_lightning.likelihood.signal import Signal
from alm_lightning.likelihood.slices import sum_over_slices
from alm_lightning.objectives.baselines.bpm import BytePrefix
from alm_lightning.objectives.chunks.inner import InnerTokens
from alm_lightning.objectives.vocabularies.completions import CompletionSets
from alm_lightning.objectives.vocabularies.pair_facts import PairFacts
from alm_lightning.objectives.vocabularies.rests import continuations


class ESCD(BytePrefix):
    r"""Byte-prefix marginalisation at the starts of chunks, and sets of completions inside tokens.

    The starts of chunks are those of `BytePrefix`. Where a token of the student begins inside a
    token of the teacher, after bytes u of it, the term is

    .. math:: - \sum_g M_g \log \sum_{v:\, v \text{ begins with } r_g} p_S(v), \quad
       M_g = \sum_{t:\, t \text{ begins with } u r_g} p_T(t)

    where the r_g are what the teacher's tokens have after u, without those that begin with another
    of them. So the student may say more than the teacher's token does, and is not taught how. M_g
    is no conditional probability: where the teacher's prefix u is unlikely, little is taught. The
    sum of these terms and of those at the starts is divided by the number of both.

    Reference: arXiv:2609.34738. We know its terms and the values of one example, which a test
    checks, and have no code of it. Ours are

    - that a token which is u and nothing else is left out;
    - that an r_g which no token of the student begins with counts on the longest token that r_g
      begins with, as in `BytePrefix`: for a byte student, on its first byte. Left out if there is
      none;
    - what `BytePrefix` does at the starts of chunks with the teacher's own tokens and whitespace,
      and that inner tokens of whitespace are left out too;
    - that documents are taught, where the paper samples from the student.

    Args:
        mask_whitespace: As for `BytePrefix`.
    """

    def __init__(self, *, mask_whitespace: bool | str):
        super().__init__(mask_whitespace=mask_whitespace, inside=True)

    def setup_inside(self, pair: PairFacts) -> None:
        """Finds the sets of the student's tokens."""
        self.sets = CompletionSets(pair)

    def losses_inside(self, signal: Signal, inner: InnerTokens) -> Float[Tensor, ""]:
        """Sum of the terms inside the teacher's tokens, nats."""
        student, teacher = signal.student.distributions, signal.teacher.token_distributions

        def cross_entropy(student: Distributions, *rows: Int[Tensor, " row"]) -> Float[Tensor, ""]:
            with torch.no_grad():
                found = continuations(self.teacher_tree, teacher, *rows[1:])
            return self.sets(found, student.logprobs(rows[0]))

        widest = widest_vocabulary(student, teacher)
        return sum_over_slices(cross_entropy, student, *vars(inner).values(), num_tokens=widest)
