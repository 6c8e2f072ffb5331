"""From each token of the teacher to the longest token of the student that its bytes begin with."""

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from alm_lightning.counterparts import NONE
from alm_lightning.objectives.vocabularies.counterparts import longest_prefixes
from alm_lightning.objectives.vocabularies.pair_facts import PairFacts, Vocabulary
from alm_lightning.objectives.vocabularies.tables import register_tables


class PrefixMap(nn.Module):
    """Which of the student's tokens comes first where the teacher has one of its own.

    Attributes:
        columns: For each token of the teacher the id of the student's, or the student's number of
            ids for a token that begins with none of them.
        unreached: Tokens of the student that no token of the teacher leads to.
        is_whitespace: Whether each token of the student is whitespace and nothing else.
        teacher_is_whitespace: Whether each token of the teacher is.
        student_lengths: Bytes of each token of the student, 0 for structure.
        teacher_lengths: Bytes of each token of the teacher.
        num_mapped: Tokens of the teacher that begin with a token of the student.

    Args:
        pair: Both vocabularies.
    """

    columns: Int[Tensor, " teacher_vocab"]
    unreached: Int[Tensor, " unreached"]
    is_whitespace: Bool[Tensor, " vocab"]
    teacher_is_whitespace: Bool[Tensor, " teacher_vocab"]
    student_lengths: Int[Tensor, " vocab"]
    teacher_lengths: Int[Tensor, " teacher_vocab"]

    def __init__(self, pair: PairFacts):
        super().__init__()
        student, teacher = pair.student.view, pair.teacher.view
        prefixes = longest_prefixes(teacher, student)
        self.num_mapped = int((prefixes != NONE).sum())
        register_tables(
            self,
            columns=np.where(prefixes == NONE, student.num_tokens, prefixes),
            unreached=np.setdiff1d(np.arange(student.num_tokens), prefixes),
            is_whitespace=_is_whitespace(student),
            teacher_is_whitespace=_is_whitespace(teacher),
            student_lengths=_lengths(student),
            teacher_lengths=_lengths(teacher),
        )

    def forward(self, teacher_probs: Float[Tensor, "row teacher_vocab"]) -> Float[Tensor, "row _"]:
        """Moves probabilities to the student's tokens; one more column has what none begins."""
        moved = teacher_probs.new_zeros(len(teacher_probs), len(self.is_whitespace) + 1)
        return moved.scatter_add(1, self.columns.expand_as(teacher_probs), teacher_probs)


def _lengths(vocabulary: Vocabulary) -> Int[np.ndarray, " vocab"]:
    return np.array([len(surface or b"") for surface in vocabulary.token_bytes], dtype=np.int64)


def _is_whitespace(vocabulary: Vocabulary) -> Bool[np.ndarray, " vocab"]:
    return np.array([(surface or b"").isspace() for surface in vocabulary.token_bytes])
