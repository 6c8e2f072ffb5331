"""A sparse matrix from the student's vocabulary to the teacher's."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from alm_lightning.counterparts import NONE, Prefixes, ids_by_bytes
from alm_lightning.objectives.vocabularies.counterparts import same_tokens
from alm_lightning.objectives.vocabularies.pair_facts import PairFacts, Vocabulary


class Projection(nn.Module):
    """Which tokens of the teacher each token of the student goes to, and with what weight.

    Rows of tokens that go anywhere sum to 1. A matrix in coordinates: what a slice of positions
    needs of it is a gather and a scatter, which every device and precision has.

    Attributes:
        student_ids: Rows of the weights.
        columns: Their columns, places in `teacher_ids`.
        weights: The weights.
        teacher_ids: Tokens of the teacher that anything goes to, ascending.
        has_row: Whether each token of the student goes anywhere.
        num_same: Tokens of the student that the teacher has as well.
    """

    def __init__(self, pair: PairFacts, *, decay: float):
        """Makes the matrix.

        A token that the teacher has as well goes there with weight 1. Another one is cut by the
        teacher's tokenizer, and goes to the pieces, each with `decay` times the weight of the one
        before. Bytes that are no text are cut into the longest tokens from the left.

        Args:
            pair: Both vocabularies.
            decay: Factor from one piece to the next.
        """
        super().__init__()
        student, teacher = pair.student.view, pair.teacher.view
        same = same_tokens(student, teacher)
        shared = np.flatnonzero(same != NONE)
        self.num_same = len(shared)
        rest = [id_ for id_ in np.flatnonzero(same == NONE) if student.token_bytes[id_]]
        ids, counts = _pieces(teacher, [student.token_bytes[id_] for id_ in rest])
        starts = np.repeat(counts.cumsum() - counts, counts)
        falling = np.power(float(decay), np.arange(len(ids)) - starts)
        rows = np.concatenate([shared, np.repeat(np.array(rest, dtype=np.int64), counts)])
        weights = np.concatenate([np.ones(len(shared)), falling])
        totals = np.bincount(rows, weights, minlength=student.num_tokens)
        reached, columns = np.unique(np.concatenate([same[shared], ids]), return_inverse=True)
        tables = {
            "student_ids": rows,
            "columns": columns,
            "weights": (weights / totals[rows]).astype(np.float32),
            "teacher_ids": reached,
            "has_row": totals > 0,
        }
        for name, table in tables.items():
            # no checkpoint holds them: the vocabularies give them again
            self.register_buffer(name, torch.from_numpy(table), persistent=False)

    def forward(self, student_probs: Float[Tensor, "row vocab"]) -> Float[Tensor, "row subset"]:
        """Moves probabilities to the teacher's tokens.

        Args:
            student_probs: Probabilities of the student's tokens.

        Returns:
            Masses of `teacher_ids`; those of a row sum to what its tokens that go anywhere have.
        """
        parts = student_probs[:, self.student_ids] * self.weights.to(student_probs.dtype)
        masses = student_probs.new_zeros(len(student_probs), len(self.teacher_ids))
        return masses.scatter_add(1, self.columns.expand_as(parts), parts)


def _pieces(
    teacher: Vocabulary, surfaces: list[bytes]
) -> tuple[Int[np.ndarray, " piece"], Int[np.ndarray, " token"]]:
    """The teacher's tokens that bytes are cut into, joined; and how many each has."""
    found: list[list[int]] = [[] for _ in surfaces]
    prefixes = Prefixes(ids_by_bytes(teacher))
    texts: dict[int, str] = {}
    for place, surface in enumerate(surfaces):
        try:
            texts[place] = surface.decode()
        except UnicodeDecodeError:
            found[place] = list(prefixes.cut(surface))
    # all at once: a call of the tokenizer for each token would take minutes
    ids, counts = teacher.encoder.ids_of_many(list(texts.values()))
    for place, part in zip(texts, np.split(ids, counts.cumsum()[:-1]), strict=False):
        # an unknown token says nothing of what it stands for
        found[place] = [id_ for id_ in part.tolist() if teacher.token_bytes[id_]]
    joined = [id_ for part in found for id_ in part]
    return np.array(joined, dtype=np.int64), np.array([len(part) for part in found], dtype=np.int64)
