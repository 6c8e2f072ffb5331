"""Next byte: at each byte, the student learns the teacher's distribution of what comes next."""

import logging
import string
from collections.abc import Sequence
from typing import ClassVar, Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from alm_lightning.data.batch import placed
from alm_lightning.likelihood.distributions import Distributions
from alm_lightning.likelihood.signal import Signal, Supervision
from alm_lightning.likelihood.slices import sum_over_slices
from alm_lightning.objectives.chunks.byte_runs import PairedBytes, paired_bytes
from alm_lightning.objectives.chunks.token_bytes import (
    COPIES,
    TokenBytes,
    Trees,
    shares,
    teacher_shares,
)
from alm_lightning.objectives.objective import Objective
from alm_lightning.objectives.vocabularies.pair_facts import PairFacts, Vocabulary
from alm_lightning.objectives.vocabularies.prefix_tree import NUM_BYTES, ByteMasses, PrefixTree
from alm_lightning.objectives.vocabularies.shared import special_pairs

log = logging.getLogger(__name__)

End = Literal["drop", "boundary"]
Positions = Literal["token_starts", "every_byte"]
Divergence = Literal["kl", "reverse_kl", "jsd"]

OPENING = [*(string.whitespace + string.punctuation).encode()]
"""Bytes that open a word: one class with the special tokens, where `end` is ``boundary``."""


class NextByte(Objective):
    r"""KL from the teacher's distribution of the next byte to the student's, at the same byte.

    .. math:: \frac1{|S|} \sum_{s \in S} \sum_b t_s(b) \log \frac{t_s(b)}{q_s(b)}, \quad
       t_s(b) \propto m(u_s b)

    S are the bytes of chunks at which a token of the student begins. The teacher's token that
    covers byte s begins with u_s, the bytes of the text between its start and s, and m is the mass
    of all of the teacher's tokens that begin with some bytes (`PrefixTree`). One vector of
    probabilities of the teacher serves all bytes of its token. Where u is empty, there are more
    classes beside the 256 bytes: one for each special token that both sides have (`special_pairs`),
    and one for all others. A special token in a chunk counts as such a byte, so that what ends a
    text is learned as well. q is the student's, by the same formula; of a byte student it is its
    own distribution.

    The teacher's token might have ended after u, with probability e = P(u) / m(u). What would come
    then, no forward pass over this tokenization says. ``drop`` takes the distribution given that it
    did not end. How often a token ends is then learned from the text, where tokens do end: the mean
    over texts of the teacher is its exact distribution. ``boundary`` adds e to the bytes that open
    a word, which are one class on both sides, with the special tokens.

    What the student can't say, since none of its tokens goes on with that byte, is left out on both
    sides. No other objective is known that teaches a byte student at every byte from one forward
    pass; exact byte probabilities at the price of more: ByteSampler, arXiv:2506.14123.

    Args:
        end: Where the mass of "the token might have ended here" goes: ``drop`` or ``boundary``.
        positions: Where a subword student is taught: ``token_starts``, or ``every_byte``, its own
            tokens being cut into bytes like the teacher's. No difference for a byte student.
        divergence: ``kl`` from the teacher to the student, as above; ``reverse_kl``, over the
            classes that the teacher can say as well; ``jsd``, the Jensen-Shannon divergence
            (arXiv:2306.13649 with beta 1/2), at most log 2.
    """

    needs_teacher: ClassVar[bool] = True
    needs_tokens: ClassVar[bool] = False
    needs_distributions: ClassVar[bool] = True
    distribution_kinds: ClassVar[tuple[str, ...]] = ("next_byte", "top_k")
    opens: Bool[Tensor, " cell"]

    def __init__(self, *, end: str, positions: str, divergence: str):
        super().__init__()
        for name, value, known in (
            ("end", end, get_args(End)),
            ("positions", positions, get_args(Positions)),
            ("divergence", divergence, get_args(Divergence)),
        ):
            if value not in known:
                raise ValueError(f"NextByte: {name} is {value!r}: expected one of {list(known)}.")
        self.end, self.positions, self.divergence = end, positions, divergence
        # what the teacher hardly ever says is what the student is to be kept from
        self.needs_all_masses = divergence == "reverse_kl"

    def setup(self, pair: PairFacts) -> None:
        """Puts the tries of both vocabularies into tables; warns of a subword student."""
        student, teacher = pair.student.view, pair.teacher.view
        pairs = special_pairs(student, teacher)
        self.student = PrefixTree(student.trie, _classes(student, list(pairs)), len(pairs) + 1)
        theirs = _classes(teacher, list(pairs.values()))
        self.teacher = PrefixTree(teacher.trie, theirs, len(pairs) + 1)
        # in a tuple, so that they are no modules of this one, which moves
        self._hosts = (self.student.on_host(), self.teacher.on_host())
        opens = torch.ones(NUM_BYTES + len(pairs) + 1, dtype=torch.bool)
        opens[:NUM_BYTES] = False
        opens[OPENING] = True
        self.register_buffer("opens", opens, persistent=False)
        if self.positions == "token_starts" and (student.trie.lengths > 1).any():
            log.warning(
                "NextByte teaches a subword student (%s) the first byte of each token, and nothing "
                "of the others: objective=bpm_hidden was measured better for those.",
                student.name,
            )

    def weight(self, signal: Supervision) -> Float[Tensor, ""]:
        """Number of bytes that are compared."""
        num_bytes = len(self._compared(signal).student.steps)
        return torch.full((), float(num_bytes), device=signal.chunk_mask.device)

    def forward(self, signal: Signal) -> Float[Tensor, ""]:
        """Sum of the divergences at all compared bytes, nats."""
        compared = self._compared(signal)
        targets = teacher_shares(
            signal.teacher,
            TokenBytes.of(compared.teacher, signal.host.teacher_tokens.ids),
            Trees(self.teacher, self._hosts[1]),
            self._cells,
        )
        tokens = TokenBytes.of(compared.student, signal.host.student_tokens.ids)
        trees = Trees(self.student, self._hosts[0])
        student = signal.student.distributions
        device = student.hidden.device

        def divergence(
            student: Distributions,
            positions: Int[Tensor, " row"],
            ids: Int[Tensor, " row"],
            counts: Int[Tensor, " row"],
            num_bytes: Int[Tensor, " row"],
            first: Int[Tensor, " row"],
        ) -> Float[Tensor, ""]:
            own = slice(int(first[0]), int(first[-1] + num_bytes[-1]))
            part = TokenBytes(positions, ids, counts, num_bytes, first, tokens.steps[own])
            known = trees.cut(part, device)
            masses = self.student.masses(student.logprobs(placed(positions, device)), known.cut)
            cells = self._cells(masses)[known.places]
            return _divergence(cells, targets[own], self.divergence)

        return sum_over_slices(
            divergence,
            student,
            *(tokens.positions, tokens.ids, tokens.counts, tokens.num_bytes, tokens.first),
            num_tokens=COPIES * student.head.num_tokens,
        )

    def _compared(self, signal: Supervision) -> PairedBytes:
        """The bytes at which the student is taught, in the memory of the processor.

        Found once a step, and by the processor, which has the tokens: sizes depend on them.
        """
        if self not in signal.found:
            paired = paired_bytes(signal.host, *self._hosts)
            if self.positions == "token_starts":
                paired = paired.of(paired.student.steps == 0)
            signal.found[self] = paired
        return signal.found[self]

    def _cells(self, masses: ByteMasses) -> Float[Tensor, "prefix cell"]:
        """The masses of the classes on which both sides are compared."""
        cells = torch.cat([masses.bytes, masses.special], dim=1)
        if self.end == "drop":
            return cells
        opening = cells[:, self.opens].sum(dim=1) + masses.end
        return torch.cat([cells[:, ~self.opens], opening.unsqueeze(1)], dim=1)


def _classes(view: Vocabulary, paired: Sequence[int]) -> Int[np.ndarray, " special"]:
    """The class of each id without bytes: one for each pair, and one for all that have none."""
    classes = {id_: index for index, id_ in enumerate(paired)}
    return np.array([classes.get(i, len(paired)) for i in view.trie.ids_without_bytes.tolist()])


def _divergence(
    student: Float[Tensor, "byte cell"], teacher: Float[Tensor, "byte cell"], kind: str
) -> Float[Tensor, ""]:
    """Sum of the divergences over the classes in which the student can have mass."""
    # what no token leads to is exactly 0, and nothing else down to e^-745, where float64 ends
    possible = student > 0
    if kind == "reverse_kl":
        # a student that says what the teacher has no token for would be infinitely far from it
        possible = possible & (teacher > 0)
    target = shares(teacher.masked_fill(~possible, 0.0))
    own = student.masked_fill(~possible, 0.0)
    total = own.sum(dim=1, keepdim=True)
    logprobs = _log(own) - _log(total)
    if kind == "kl":
        return (torch.special.xlogy(target, target) - target * logprobs).sum()
    probs = own / torch.where(total > 0, total, 1.0)
    if kind == "reverse_kl":
        return (probs * (logprobs - _log(target))).sum()
    middle = (probs + target) / 2
    halves = torch.special.xlogy(target, target) + probs * logprobs
    return (halves / 2 - middle * _log(middle)).sum()


def _log(values: Float[Tensor, "byte _"]) -> Float[Tensor, "byte _"]:
    """Logarithms, and 0 for that of 0: 0 * inf is nan, and so is its gradient."""
    return torch.where(values > 0, values, 1.0).log()
