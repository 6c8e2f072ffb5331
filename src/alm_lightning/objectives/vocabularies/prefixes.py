"""From each token of the teacher to the longest token of the student that its bytes begin with."""

import logging

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from alm_lightning.counterparts import NONE
from alm_lightning.objectives.vocabularies.counterparts import longest_prefixes
from alm_lightning.objectives.vocabularies.pair_facts import PairFacts, Vocabulary
from alm_lightning.objectives.vocabularies.shared import LITTLE

log = logging.getLogger(__name__)


class PrefixMap(nn.Module):
    """Which of the student's tokens comes first where the teacher goes on with one of its own.

    Attributes:
        columns: For each token of the teacher the id of the student's, or the number of ids that
            there are for one that begins with none of them.
        unreached: Tokens of the student that no token of the teacher leads to.
        is_whitespace: Whether each token of the student is whitespace and nothing else.
        student_lengths: Bytes of each token of the student, 0 for structure.
        teacher_lengths: Bytes of each token of the teacher.
    """

    def __init__(self, pair: PairFacts):
        """Makes the map; warns where it leads to few of the student's tokens.

        Args:
            pair: Both vocabularies.
        """
        super().__init__()
        student, teacher = pair.student.view, pair.teacher.view
        found = longest_prefixes(teacher, student)
        reached = np.unique(found[found != NONE])
        unreached = np.setdiff1d(np.arange(student.num_tokens), reached)
        blank = [bool(surface) and surface.isspace() for surface in student.token_bytes]
        tables = {
            "columns": np.where(found == NONE, student.num_tokens, found),
            "unreached": unreached,
            "is_whitespace": np.array(blank),
            "student_lengths": _lengths(student),
            "teacher_lengths": _lengths(teacher),
        }
        for name, table in tables.items():
            # no checkpoint holds them: the vocabularies give them again
            self.register_buffer(name, torch.from_numpy(table), persistent=False)
        _tell(pair, len(reached), int((found != NONE).sum()))

    def forward(self, teacher_probs: Float[Tensor, "row teacher_vocab"]) -> Float[Tensor, "row _"]:
        """Moves probabilities to the student's tokens.

        Args:
            teacher_probs: Probabilities of the teacher's tokens.

        Returns:
            Probabilities of the student's tokens, and one more column for what none of them begins.
        """
        moved = teacher_probs.new_zeros(len(teacher_probs), len(self.is_whitespace) + 1)
        return moved.scatter_add(1, self.columns.expand_as(teacher_probs), teacher_probs)


def _lengths(vocabulary: Vocabulary) -> Int[np.ndarray, " vocab"]:
    return np.array([len(surface or b"") for surface in vocabulary.token_bytes], dtype=np.int64)


def _tell(pair: PairFacts, num_reached: int, num_mapped: int) -> None:
    """Says how much of both vocabularies the map covers, as a warning where it is little."""
    student, teacher = pair.student.view, pair.teacher.view
    few = num_reached < LITTLE * student.num_tokens or num_mapped < LITTLE * teacher.num_tokens
    message = (
        "objective=bpm: the bytes of %s of the teacher's %s tokens (%s) begin with a token of the "
        "student's, and lead to %s of its %s (%s)"
    )
    log.log(
        logging.WARNING if few else logging.INFO,
        message + (": it teaches little here. Take objective=alm_next_token." if few else ""),
        f"{num_mapped:,}",
        f"{teacher.num_tokens:,}",
        teacher.name,
        f"{num_reached:,}",
        f"{student.num_tokens:,}",
        student.name,
    )
