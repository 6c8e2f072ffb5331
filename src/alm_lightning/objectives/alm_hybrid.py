"""ALM with a whole distribution wherever both sides have one token."""

import logging
import math
from typing import ClassVar, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from alm_lightning.likelihood.distributions import Distributions
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
    """

    needs_distributions: ClassVar[bool] = True
    name: ClassVar[str] = "alm_hybrid"

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
        """Sets up the objective.

        Args:
            temperature: Tau of ALM, above 0, or `inf`.
            threshold: Gamma of ALM, in [0, 1).
            debias: Whether boundaries count, in both parts.
            distribution_temperature: T: both distributions are p^(1/T), renormalised, before they
                are coarse-grained.
            distribution_weight: w, at least 0: how much a chunk with a distribution counts.
            unshared: Where the mass of a token goes that one side alone has: with the longest
                shared token that its bytes begin with (`prefix`), or into the bucket (`bucket`).
        """
        super().__init__(
            temperature=temperature, threshold=threshold, debias=debias, divergence="kl"
        )
        if not distribution_temperature > 0:
            raise ValueError(
                f"objective.alm_hybrid.distribution_temperature is {distribution_temperature}: "
                "expected above 0. 1 compares the distributions as they are."
            )
        if not distribution_weight >= 0:
            raise ValueError(
                f"objective.alm_hybrid.distribution_weight is {distribution_weight}: expected 0 or "
                "more. 1 puts both parts on one scale."
            )
        self.distribution_temperature = float(distribution_temperature)
        if unshared not in get_args(Unshared):
            raise ValueError(
                f"objective.alm_hybrid.unshared is {unshared!r}: expected one of "
                f"{list(get_args(Unshared))}."
            )
        self.unshared = unshared
        scale = self.temperature if math.isfinite(self.temperature) else 1.0
        self.distribution_scale = distribution_weight / scale

    def setup(self, pair: PairFacts) -> None:
        """Finds what both vocabularies can be compared on.

        Args:
            pair: Both vocabularies.
        """
        self.cells = CoarseVocabulary(pair, self.unshared)
        log.info(
            "objective=alm_hybrid compares distributions over the %s tokens that both vocabularies "
            "have%s%s; chunks of other tokens, or of several, by their likelihoods.",
            f"{len(self.cells):,}",
            ", each with those that it is the beginning of," if self.unshared == "prefix" else "",
            " and one bucket for the rest" if self.cells.has_bucket else "",
        )

    def forward(self, signal: Signal) -> Float[Tensor, ""]:
        """Sum over merged chunks, nats.

        Args:
            signal: The signal of both sides, with distributions.

        Returns:
            The total; 0 with a gradient of 0 where there is no chunk.
        """
        ends = self.ends_merged(signal)
        found = one_to_one(signal)
        chosen = self._chosen(signal, ends, found)
        places = chosen[found.chunks]
        distributions = self._distributions(
            signal, found.student_places[places], found.teacher_places[places]
        )
        if self.debias:
            distributions = distributions + _boundaries(signal, chosen).sum()
        others = self.divergences(signal)[~chosen[ends]].sum()
        return others + self.distribution_scale * distributions

    def _chosen(
        self, signal: Signal, ends: Bool[Tensor, "batch chunk"], found: OneToOne
    ) -> Bool[Tensor, "batch chunk"]:
        """Whether a chunk is compared as a distribution: unmerged, and one shared token."""
        # the chunk before it goes on in it
        is_joined = (signal.chunk_mask & ~ends).roll(1, dims=1)
        is_joined[:, 0] = False
        is_shared = self.cells.shared.same(
            signal.student_tokens.ids.flatten()[found.student_places],
            signal.teacher_tokens.ids.flatten()[found.teacher_places],
        )
        return torch.zeros_like(ends).masked_scatter(found.chunks, is_shared) & ends & ~is_joined

    def _distributions(
        self,
        signal: Signal,
        student_places: Int[Tensor, " row"],
        teacher_places: Int[Tensor, " row"],
    ) -> Float[Tensor, ""]:
        """Sum of the KL on the cells, times T^2."""
        temperature = self.distribution_temperature
        student, teacher = signal.student.distributions, signal.teacher.distributions

        def cells(
            side: Distributions, places: Int[Tensor, " row"], name: str
        ) -> Float[Tensor, "row cell"]:
            logprobs = side.logprobs(places)
            if temperature != 1:
                logprobs = (logprobs / temperature).log_softmax(dim=1)
            return self.cells.logprobs(logprobs, name)

        def kl(
            student: Distributions,
            student_places: Int[Tensor, " row"],
            teacher_places: Int[Tensor, " row"],
        ) -> Float[Tensor, ""]:
            log_q = cells(student, student_places, "student")
            with torch.no_grad():
                log_p = cells(teacher, teacher_places, "teacher")
            return torch.nn.functional.kl_div(log_q, log_p, log_target=True, reduction="sum")

        widest = max(student.head.num_tokens, teacher.head.num_tokens)
        total = sum_over_slices(kl, student, student_places, teacher_places, num_tokens=widest)
        return total * temperature**2


def _boundaries(signal: Signal, chosen: Bool[Tensor, "batch chunk"]) -> Float[Tensor, " marked"]:
    """Divergence of whether a boundary follows, as often as the teacher says the token, nats."""
    teacher = signal.teacher
    divergences = binarised(
        teacher.boundary_logprobs[chosen],
        signal.student.boundary_logprobs[chosen],
        temperature=1.0,
    )
    # the chunk is one token: its likelihood is the token's
    return teacher.chunk_logprobs[chosen].exp() * divergences
