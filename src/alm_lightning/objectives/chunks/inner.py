"""Tokens of the student that begin inside a token of the teacher."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from alm_lightning.likelihood.signal import Supervision
from alm_lightning.objectives.chunks.byte_runs import paired_bytes
from alm_lightning.objectives.chunks.token_runs import token_runs
from alm_lightning.objectives.vocabularies.prefix_tree import PrefixTree


@dataclass(frozen=True)
class InnerTokens:
    """Tokens of the student before whose first byte the teacher's token has bytes already.

    Attributes:
        student_positions: Their positions in the flattened batch.
        teacher_positions: The positions of the teacher's tokens that they begin in.
        steps: How many bytes of the teacher's token come before: 1 or more.
        nodes: The node of these bytes in the trie of the teacher's vocabulary.
    """

    student_positions: Int[Tensor, " row"]
    teacher_positions: Int[Tensor, " row"]
    steps: Int[Tensor, " row"]
    nodes: Int[Tensor, " row"]

    def of(self, chosen: Bool[Tensor, " row"]) -> "InnerTokens":
        """Some of the tokens."""
        return InnerTokens(*(each[chosen] for each in vars(self).values()))


def inner_tokens(signal: Supervision, student: PrefixTree, teacher: PrefixTree) -> InnerTokens:
    """Finds them in the chunks that `paired_bytes` keeps, in the order of the batch.

    The first token of a chunk is none of them: where the teacher's side has a dummy space before
    it, both sides are at the same byte of the text all the same.

    Args:
        signal: Tokens and chunks.
        student: The trie of the student's vocabulary.
        teacher: The trie of the teacher's.

    Returns:
        The tokens.
    """
    both = paired_bytes(signal, student, teacher)
    both = both.of((both.student.steps == 0) & (both.teacher.steps > 0))
    both = both.of(~torch.isin(both.student.positions, token_runs(signal).student.first))
    positions, steps = both.teacher.positions, both.teacher.steps
    ids = signal.teacher_tokens.ids.flatten()[positions]
    return InnerTokens(both.student.positions, positions, steps, teacher.nodes(ids, steps))
