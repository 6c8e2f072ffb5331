"""Byte-level distillation: a byte head on the student, which the teacher's next bytes teach."""

from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from alm_lightning.likelihood.signal import Signal, Supervision
from alm_lightning.objectives.chunks.byte_runs import PairedBytes, SideBytes, paired_bytes
from alm_lightning.objectives.chunks.token_bytes import TokenBytes, Trees, teacher_shares
from alm_lightning.objectives.objective import Objective
from alm_lightning.objectives.vocabularies.pair_facts import PairFacts
from alm_lightning.objectives.vocabularies.prefix_tree import (
    SPECIAL,
    ByteMasses,
    PrefixTree,
)

NUM_OUTCOMES = SPECIAL + 1


class BLD(Objective):
    r"""Forward KL, and cross-entropy, of a byte head that the student has for training alone.

    .. math:: \frac1{|B|} \sum_{s \in B} \left[ \sum_b p_s(b) \log \frac{p_s(b)}{h_s(b)}
       - w \log h_s(x_s) \right]

    over the bytes x_s of all chunks, where h_s is what `ByteHead` makes of the student's hidden
    state before the token that has the byte, and p_s is the teacher's next byte: with u the bytes
    of its own token before s, the mass of the tokens that begin with u and b, renormalised over the
    bytes. The special tokens are one more outcome, which has mass where u is empty. Nothing of the
    head is kept: what the student learns of it is in its hidden states.

    Reference: Singh et al. (2026), "Cross-Tokenizer LLM Distillation through a Byte-Level
    Interface", arXiv:2604.07466. We have read its abstract and summaries by others, not the paper.
    These say: the teacher's distributions as bytes, a light-weight byte decoder on the student
    (a linear projection), KL and cross-entropy on bytes beside the next-token loss. Ours are

    - the form of the head, and w, the published one of which we don't know;
    - the teacher's next byte: what its token might have ended before is left out, where the paper
      searches for other tokenizations by a beam;
    - that bytes of a token beyond the head's are left out, and those of chunks that both sides
      spell differently.

    Args:
        max_bytes: Bytes of a token that the head predicts, from its first one on.
        cross_entropy_weight: w, the weight of the cross-entropy of the text's own bytes; 0: none.
        learning_rate: Peak learning rate of the head, which starts untrained.
    """

    needs_teacher: ClassVar[bool] = True
    needs_tokens: ClassVar[bool] = False
    needs_distributions: ClassVar[bool] = True
    distribution_kinds: ClassVar[tuple[str, ...]] = ("next_byte", "top_k")

    def __init__(
        self,
        *,
        max_bytes: int,
        cross_entropy_weight: float | int,
        learning_rate: float | int,
    ):
        super().__init__()
        self._check_positive(max_bytes=max_bytes, learning_rate=learning_rate)
        if not cross_entropy_weight >= 0:
            raise ValueError(
                f"BLD: cross_entropy_weight is {cross_entropy_weight}: expected 0 or above."
            )
        self.max_bytes, self.cross_entropy_weight = max_bytes, float(cross_entropy_weight)
        self.learning_rate = float(learning_rate)

    def setup(self, pair: PairFacts) -> None:
        """Makes the head."""
        self.student_tree = PrefixTree(pair.student.view.trie)
        self.teacher_tree = PrefixTree(pair.teacher.view.trie)
        self._host = (self.teacher_tree.on_host(),)
        self.head = ByteHead(pair.student.hidden_size, max_bytes=self.max_bytes)

    def weight(self, signal: Supervision) -> Float[Tensor, ""]:
        """Number of bytes that are predicted; a special token counts as one."""
        positions = self._bytes(signal).student.positions
        return torch.tensor(float(len(positions)), device=positions.device)

    def forward(self, signal: Signal) -> Float[Tensor, ""]:
        """Sum of the KL and the weighted cross-entropy, nats."""
        both = self._bytes(signal)
        values = self._values(signal.student_tokens.ids, both.student)
        places, tokens = both.student.positions.unique_consecutive(return_inverse=True)
        states = signal.student.distributions.predicting(places)
        logprobs = self.head(states, tokens, both.student.steps, values)
        cpu = torch.device("cpu")
        theirs = SideBytes(both.teacher.positions.to(cpu), both.teacher.steps.to(cpu))
        target = teacher_shares(
            signal.teacher,
            TokenBytes.of(theirs, signal.host.teacher_tokens.ids),
            Trees(self.teacher_tree, *self._host),
            _outcomes,
        ).to(logprobs.dtype)
        kl = (torch.special.xlogy(target, target) - target * logprobs).sum()
        cross_entropy = torch.nn.functional.nll_loss(logprobs, values, reduction="sum")
        return kl + self.cross_entropy_weight * cross_entropy

    def _bytes(self, signal: Supervision) -> PairedBytes:
        """The bytes that are predicted."""
        both = paired_bytes(signal, self.student_tree, self.teacher_tree)
        return both.of(both.student.steps < self.max_bytes)

    def _values(
        self, ids: Int[Tensor, "batch student_pos"], side: SideBytes
    ) -> Int[Tensor, " byte"]:
        """The bytes themselves, or `SPECIAL` for a special token."""
        own_ids = ids.flatten()[side.positions]
        values = self.student_tree.byte[self.student_tree.nodes(own_ids, side.steps + 1)]
        return values.masked_fill(self.student_tree.lengths[own_ids] == 0, SPECIAL)


def _outcomes(masses: ByteMasses) -> Float[Tensor, "prefix _"]:
    return torch.cat([masses.bytes, masses.special], dim=1)


class ByteHead(nn.Module):
    r"""A linear map of the hidden state, and a table of what the token's own bytes add to it.

    .. math:: h(b \mid b_1 \dots b_{k}) \propto \exp \Big( w_b \cdot s + c_{b}
       + \sum_{i=1}^{k} V_{i, b_i, b} \Big)

    with s the hidden state before the token and b_1 to b_k its bytes before this one. The table V
    starts at 0.

    Args:
        hidden_size: Channels of the hidden state.
        max_bytes: The most bytes of a token that are predicted.
    """

    def __init__(self, hidden_size: int, *, max_bytes: int):
        super().__init__()
        self.output = nn.Linear(hidden_size, NUM_OUTCOMES)
        self.before = nn.Parameter(torch.zeros(max_bytes, NUM_OUTCOMES, NUM_OUTCOMES))

    def forward(
        self,
        states: Float[Tensor, "token hidden"],
        tokens: Int[Tensor, " byte"],
        steps: Int[Tensor, " byte"],
        values: Int[Tensor, " byte"],
    ) -> Float[Tensor, "byte _"]:
        """Log-probabilities of every outcome in place of each byte, nats.

        Args:
            states: The hidden state before each token.
            tokens: The token that each byte belongs to, as a row of `states`.
            steps: How many bytes of that token come before: fewer than `max_bytes`.
            values: The bytes themselves, or `SPECIAL`.

        Returns:
            A distribution for each byte, float32 at least.
        """
        with torch.autocast(states.device.type, enabled=False):
            from_state = self.output(states.to(self.output.weight.dtype))
            width = int(steps.max()) + 1 if len(steps) else 1
            added = from_state.new_zeros(len(states), width, NUM_OUTCOMES)
            added = added.index_put((tokens, steps), self.before[steps, values])
            # what comes before a byte, without the byte itself
            added = nn.functional.pad(added.cumsum(dim=1), (0, 0, 1, 0))[:, :-1]
            return (from_state[tokens] + added[tokens, steps]).log_softmax(dim=1)
