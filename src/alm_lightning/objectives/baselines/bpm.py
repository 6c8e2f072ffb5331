"""Byte-prefix marginalisation: the teacher's mass, moved to the student's longest prefix token."""

import math
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from alm_lightning.likelihood.distributions import Distributions, widest_vocabulary
from alm_lightning.likelihood.signal import Signal, Supervision
from alm_lightning.likelihood.slices import sum_over_slices
from alm_lightning.objectives.chunks.inner import InnerTokens, inner_tokens
from alm_lightning.objectives.chunks.token_runs import TokenRuns, token_runs
from alm_lightning.objectives.objective import Objective
from alm_lightning.objectives.vocabularies.pair_facts import PairFacts
from alm_lightning.objectives.vocabularies.prefix_tree import PrefixTree
from alm_lightning.objectives.vocabularies.prefixes import PrefixMap
from alm_lightning.objectives.vocabularies.rests import RestMap, continuations
from alm_lightning.objectives.vocabularies.tables import log_coverage

LEAST = 1e-12
"""Lower bound of the student's probability of what no token of the teacher leads to, as in the
authors' code: where the student has no such token at all, that mass can't be learned."""


class BytePrefix(Objective):
    r"""Forward KL from the teacher's mass, moved to the student's tokens along their bytes.

    .. math:: \frac1{|C|} \sum_{c \in C} \sum_{v \in V_S \cup \{\text{other}\}}
       q_c(v) \log \frac{q_c(v)}{p_S(v)}, \quad q_c(v) = \sum_t p_T(t) [\phi(t) = v]

    at the starts of chunks, where both sides are at the same byte. phi(t) is the longest token of
    the student that the bytes of t begin with. Tokens without one, above all special tokens without
    a counterpart, are one more class; the student's share of it is that of all tokens which no
    token of the teacher leads to.

    Where the student's own token is longer than the teacher's, its mass is spread over several
    tokens of the teacher. The likelihood of those that the text has, a lower bound of it, moves
    there from phi of the first. The same happens where a chunk is one token on both sides, even if
    that is structure. Tokens of whitespace are left out: if they are taught, the indentation of
    code collapses. The authors ask whether the student's token is all whitespace, which of a
    student over bytes leaves out the beginning of nearly every word; `both` asks it of the
    teacher's token there as well.

    With `inside`, the student is also taught where its token begins inside a token of the teacher,
    after bytes u of it, and the mean is over these and the starts. The target there is p_T
    restricted to tokens that begin with u and go on, each moved by phi of the bytes after u, and
    renormalised. The token that is u and nothing else is left out: after it the teacher goes on
    with another token, of which this distribution says nothing. So are tokens that go on with bytes
    which no token of the student begins. The chunk's bytes must be the same on both sides
    (`inner_tokens`).

    Reference: Wang et al. (2026), "Cross-Tokenizer On-Policy Distillation via Byte-Prefix
    Marginalization", arXiv:2607.22334. They bound what spans several tokens for more of the
    student's tokens than its own; inside a token of the teacher nothing is bounded here, and a
    student's token that goes on beyond it gets no mass for its length.

    Args:
        mask_whitespace: What is left out: places where the ``student``'s token is all whitespace
            (true is another name of it), or those where ``both`` sides' is; false: nothing.
        inside: Whether student tokens that begin inside a token of the teacher are taught.
    """

    needs_teacher: ClassVar[bool] = True
    needs_distributions: ClassVar[bool] = True

    def __init__(self, *, mask_whitespace: bool | str, inside: bool):
        super().__init__()
        if mask_whitespace not in (True, False, "student", "both"):
            raise ValueError(
                f"{type(self).__name__}: mask_whitespace is {mask_whitespace!r}: expected student, "
                "both, true or false."
            )
        self.mask_whitespace, self.inside = mask_whitespace, inside

    def setup(self, pair: PairFacts) -> None:
        """Maps the teacher's tokens; warns where they lead to few of the student's."""
        self.prefixes = PrefixMap(pair)
        num_reached = pair.student.view.num_tokens - len(self.prefixes.unreached)
        log_coverage(type(self).__name__, pair, num_reached, self.prefixes.num_mapped)
        if self.inside:
            self.student_tree = PrefixTree(pair.student.view.trie)
            self.teacher_tree = PrefixTree(pair.teacher.view.trie)
            self.setup_inside(pair)

    def setup_inside(self, pair: PairFacts) -> None:
        """Maps what is left of the teacher's tokens inside them."""
        self.rests = RestMap(pair)

    def weight(self, signal: Supervision) -> Float[Tensor, ""]:
        """Number of student tokens that are taught: at the starts of chunks, and inside."""
        weight = self._taught(signal, *_firsts(token_runs(signal))).sum().float()
        if self.inside:
            weight = weight + len(self._inner(signal).steps)
        return weight

    def forward(self, signal: Signal) -> Float[Tensor, ""]:
        """Sum of the divergences, nats."""
        total = self._at_starts(signal)
        return total + self.losses_inside(signal, self._inner(signal)) if self.inside else total

    def _at_starts(self, signal: Signal) -> Float[Tensor, ""]:
        """Sum of the divergences at the starts of chunks."""
        runs = token_runs(signal)
        taught = self._taught(signal, *_firsts(runs))
        student, teacher = signal.student.distributions, signal.teacher.token_distributions
        own_ids = signal.student_tokens.ids.flatten()[runs.student.first]
        first_ids = signal.teacher_tokens.ids.flatten()[runs.teacher.first]
        moved = self._moved(signal, runs, own_ids, first_ids)

        def kl(
            student: Distributions,
            student_positions: Int[Tensor, " row"],
            teacher_positions: Int[Tensor, " row"],
            own: Int[Tensor, " row"],
            source: Int[Tensor, " row"],
            mass: Float[Tensor, " row"],
        ) -> Float[Tensor, ""]:
            with torch.no_grad():
                target = self.prefixes(teacher.logprobs(teacher_positions).exp())
                moves = torch.stack([source, own], dim=1)
                masses = torch.stack([-mass, mass], dim=1).to(target.dtype)
                target = target.scatter_add(1, moves, masses)
                # only by rounding may more move than is there
                target = target.clamp_min(0.0)
            logprobs = student.logprobs(student_positions)
            others = logprobs[:, self.prefixes.unreached]
            is_own = torch.eq(self.prefixes.unreached, own.unsqueeze(1))
            others = others.masked_fill(is_own, torch.finfo(others.dtype).min / 4)
            other = others.logsumexp(dim=1, keepdim=True).clamp_min(math.log(LEAST))
            logprobs = torch.cat([logprobs, other], dim=1)
            return (torch.special.xlogy(target, target) - target * logprobs).sum()

        sources = self.prefixes.columns[first_ids]
        rows = (runs.student.first, runs.teacher.first, own_ids, sources, moved)
        widest = widest_vocabulary(student, teacher)
        return sum_over_slices(kl, student, *(each[taught] for each in rows), num_tokens=widest)

    def losses_inside(self, signal: Signal, inner: InnerTokens) -> Float[Tensor, ""]:
        """Sum of the divergences inside the teacher's tokens."""
        student, teacher = signal.student.distributions, signal.teacher.token_distributions

        def kl(student: Distributions, *rows: Int[Tensor, " row"]) -> Float[Tensor, ""]:
            with torch.no_grad():
                found = continuations(self.teacher_tree, teacher, *rows[1:])
                target = self.rests(found, num_rows=len(rows[0]))
            logprobs = student.logprobs(rows[0])
            return (torch.special.xlogy(target, target) - target * logprobs).sum()

        widest = widest_vocabulary(student, teacher)
        return sum_over_slices(kl, student, *vars(inner).values(), num_tokens=widest)

    def _inner(self, signal: Supervision) -> InnerTokens:
        """The student's tokens inside the teacher's that are not left out."""
        inner = inner_tokens(signal, self.student_tree, self.teacher_tree)
        return inner.of(self._taught(signal, inner.student_positions, inner.teacher_positions))

    def _taught(
        self, signal: Supervision, student: Int[Tensor, " row"], teacher: Int[Tensor, " row"]
    ) -> Bool[Tensor, " row"]:
        """Which student tokens at some positions are not left out, by the teacher's there."""
        own_ids = signal.student_tokens.ids.flatten()[student]
        if not self.mask_whitespace:
            return torch.ones_like(own_ids, dtype=torch.bool)
        is_white = self.prefixes.is_whitespace[own_ids]
        if self.mask_whitespace == "both":
            their_ids = signal.teacher_tokens.ids.flatten()[teacher]
            is_white = is_white & self.prefixes.teacher_is_whitespace[their_ids]
        return ~is_white

    def _moved(
        self,
        signal: Signal,
        runs: TokenRuns,
        own_ids: Int[Tensor, " row"],
        first_ids: Int[Tensor, " row"],
    ) -> Float[Tensor, " row"]:
        """Likelihood of the teacher's own tokens that the student's first one spans; else 0."""
        lengths = self.prefixes.student_lengths[own_ids]
        spans = lengths > self.prefixes.teacher_lengths[first_ids]
        spans |= runs.student.counts == 1
        ids = signal.teacher_tokens.ids.flatten()[runs.teacher.positions]
        token_lengths = self.prefixes.teacher_lengths[ids]
        before = token_lengths.cumsum(0) - token_lengths
        counts = runs.teacher.counts
        before = before - before[runs.teacher.starts].repeat_interleave(counts)
        is_spanned = before < lengths.repeat_interleave(counts)
        # a token without bytes is the only one of its chunk
        is_spanned[runs.teacher.starts] = True
        logprobs = signal.teacher.token_logprobs.flatten()[runs.teacher.positions]
        rows = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
        likelihoods = torch.zeros_like(logprobs[: len(counts)])
        likelihoods.index_add_(0, rows, logprobs.masked_fill(~is_spanned, 0.0))
        return likelihoods.exp().masked_fill(~spans, 0.0)


def _firsts(runs: TokenRuns) -> tuple[Int[Tensor, " row"], Int[Tensor, " row"]]:
    """Positions of the first tokens of chunks, on both sides."""
    return runs.student.first, runs.teacher.first
