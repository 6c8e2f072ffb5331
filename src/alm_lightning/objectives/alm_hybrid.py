"""ALM with a whole distribution wherever both sides have one token."""

import logging
import math
from typing import ClassVar, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from alm_lightning.likelihood.distributions import Distributions, widest_vocabulary
from alm_lightning.likelihood.signal import Signal
from alm_lightning.likelihood.slices import sum_over_slices
from alm_lightning.objectives.alm import ALM
from alm_lightning.objectives.chunks.one_to_one import OneToOne, one_to_one
from alm_lightning.objectives.divergence import binarised
from alm_lightning.objectives.vocabularies.coarse import CoarseVocabulary, Unshared
from alm_lightning.objectives.vocabularies.pair_facts import PairFacts

log = logging.getLogger(__name__)


class ALMHybrid(ALM):
    r"""ALM, but at one-to-one chunks the divergence of two distributions instead of two coins.

    A merged chunk that is a single chunk of one token on both sides, which both vocabularies have,
    gives

    .. math:: \frac{w}{\tau} \left[ T^2 \, KL(\tilde p_T \| \tilde p_S) + p_T(x)
       \left( f(B_T \| B_S) + f(1 - B_T \| 1 - B_S) \right) \right]

    where the tildes stand for distributions at a temperature T over cells: each shared token, with
    the tokens of one side alone that its bytes begin, or with none, and one bucket for the mass of
    all others (`CoarseVocabulary`). x is the token, B the probability of a boundary after it
    (without debiasing there is no such term). Any other merged chunk gives what `ALM` gives. The
    mean is over all merged chunks.

    Token and boundary together are a coarse-graining of the next two tokens, of which ALM's coin
    (x and then a boundary, or not) is a coarser one still, where the cell of x has no other token.
    By the data-processing inequality the bracket is then at T = 1 at most the divergence of the
    whole distributions, and at least that of ALM at tau = 1.

    The division by tau puts both parts on one scale. Near agreement, a difference d between the
    log-likelihoods of a token with log-likelihood -x costs ALM d^2 / (2 tau^2 (e^(x / tau) - 1)),
    which for a likely token is d^2 / (2 x) divided by tau, whatever tau is: a KL counted in full
    would drown the chunks of several tokens as tau grows. ALM's limit for tau = inf is already
    multiplied by tau, so that nothing is divided there.

    References: ALM, arXiv:2503.20083; KL at one-to-one chunks only, arXiv:2610.08448.

    Args:
        temperature: Tau of ALM, above 0, or `inf`.
        threshold: Gamma of ALM, in [0, 1).
        debias: Whether boundaries count, in both parts.
        distribution_temperature: T: both distributions are p^(1/T), renormalised, before they
            are coarse-grained; 1 compares them as they are.
        distribution_weight: w, at least 0: how much a chunk with a distribution counts.
        unshared: Where the mass of a token goes that one side alone has: with the longest
            shared token that its bytes begin with (`prefix`), or into the bucket (`bucket`).
    """

    needs_distributions: ClassVar[bool] = True

    def __init__(
        self,
        *,
        temperature: float | int | str | None,
        threshold: float | int | str | None,
        debias: bool,
        distribution_temperature: float | int,
        distribution_weight: float | int,
        unshared: str,
    ):
        super().__init__(
            temperature=temperature, threshold=threshold, debias=debias, divergence="kl"
        )
        self._check_positive(distribution_temperature=distribution_temperature)
        if not distribution_weight >= 0:
            raise ValueError(
                f"ALMHybrid: distribution_weight is {distribution_weight}: expected 0 or more. "
                "1 puts both parts on one scale."
            )
        if unshared not in get_args(Unshared):
            raise ValueError(
                f"ALMHybrid: unshared is {unshared!r}: expected one of {list(get_args(Unshared))}."
            )
        self.distribution_temperature = float(distribution_temperature)
        self.unshared = unshared
        scale = self.temperature if math.isfinite(self.temperature) else 1.0
        self.distribution_scale = distribution_weight / scale

    def setup(self, pair: PairFacts) -> None:
        """Groups both vocabularies into the cells on which they are compared."""
        self.cells = CoarseVocabulary(pair, self.unshared)
        log.info(
            "ALMHybrid compares distributions over the %s tokens that both vocabularies have%s%s; "
            "chunks of other tokens, or of several, by their likelihoods.",
            f"{len(self.cells):,}",
            ", each with the tokens that begin with it," if self.unshared == "prefix" else "",
            " and one bucket for the rest" if self.cells.has_bucket else "",
        )

    def forward(self, signal: Signal) -> Float[Tensor, ""]:
        """Sum over merged chunks, nats."""
        ends = self.ends_merged(signal)
        single = one_to_one(signal)
        chosen = self._chosen(signal, ends, single)
        kept = chosen[single.chunks]
        distributions = self._distributions(
            signal, single.student_positions[kept], single.teacher_positions[kept]
        )
        if self.debias:
            distributions = distributions + _boundaries(signal, chosen).sum()
        others = self.divergences(signal)[~chosen[ends]].sum()
        return others + self.distribution_scale * distributions

    def _chosen(
        self, signal: Signal, ends: Bool[Tensor, "batch chunk"], single: OneToOne
    ) -> Bool[Tensor, "batch chunk"]:
        """Whether a chunk is compared as a distribution: unmerged, and one shared token."""
        # the chunk before it is merged with it
        is_joined = (signal.chunk_mask & ~ends).roll(1, dims=1)
        is_joined[:, 0] = False
        is_shared = self.cells.shared.same(
            signal.student_tokens.ids.flatten()[single.student_positions],
            signal.teacher_tokens.ids.flatten()[single.teacher_positions],
        )
        return torch.zeros_like(ends).masked_scatter(single.chunks, is_shared) & ends & ~is_joined

    def _distributions(
        self,
        signal: Signal,
        student_positions: Int[Tensor, " row"],
        teacher_positions: Int[Tensor, " row"],
    ) -> Float[Tensor, ""]:
        """Sum of the KL on the cells, times T^2."""
        temperature = self.distribution_temperature
        student, teacher = signal.student.distributions, signal.teacher.token_distributions

        def tempered(logprobs: Float[Tensor, "row vocab"]) -> Float[Tensor, "row vocab"]:
            return logprobs if temperature == 1 else (logprobs / temperature).log_softmax(dim=1)

        def kl(
            student: Distributions,
            student_positions: Int[Tensor, " row"],
            teacher_positions: Int[Tensor, " row"],
        ) -> Float[Tensor, ""]:
            log_q = self.cells.student(tempered(student.logprobs(student_positions)))
            with torch.no_grad():
                log_p = self.cells.teacher(tempered(teacher.logprobs(teacher_positions)))
            return torch.nn.functional.kl_div(log_q, log_p, log_target=True, reduction="sum")

        widest = widest_vocabulary(student, teacher)
        total = sum_over_slices(
            kl, student, student_positions, teacher_positions, num_tokens=widest
        )
        return total * temperature**2


def _boundaries(signal: Signal, chosen: Bool[Tensor, "batch chunk"]) -> Float[Tensor, " marked"]:
    """Divergence of whether a boundary follows, times the teacher's probability of the token."""
    teacher = signal.teacher
    divergences = binarised(
        teacher.boundary_logprobs[chosen],
        signal.student.boundary_logprobs[chosen],
        temperature=1.0,
    )
    # the chunk is one token: its likelihood is the token's
    return teacher.chunk_logprobs[chosen].exp() * divergences
