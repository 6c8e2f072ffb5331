"""A sparse matrix from the student's vocabulary to the teacher's."""

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from alm_lightning.counterparts import NONE, Prefixes, ids_by_bytes
from alm_lightning.objectives.vocabularies.counterparts import same_tokens
from alm_lightning.objectives.vocabularies.pair_facts import PairFacts, Vocabulary
from alm_lightning.objectives.vocabularies.tables import register_tables


class Projection(nn.Module):
    """Which tokens of the teacher each token of the student goes to, and with what weight.

    A token that the teacher has as well goes there with weight 1. Any other is cut by the teacher's
    tokenizer, and goes to the pieces, each with `decay` times the weight of the one before. Bytes
    that are not text are cut into the longest tokens from the left. Rows of tokens that go anywhere
    sum to 1. The matrix is in coordinates: to apply it takes a gather and a scatter, which every
    device and precision has.

    Attributes:
        student_ids: Row of each weight.
        columns: Its column, an index of `teacher_ids`.
        weights: The weights.
        teacher_ids: Tokens of the teacher that anything goes to, ascending.
        has_row: Whether each token of the student goes anywhere.
        num_same: Tokens of the student that the teacher has as well.

    Args:
        pair: Both vocabularies.
        decay: Factor from the weight of one piece to that of the next.
    """

    student_ids: Int[Tensor, " weight"]
    columns: Int[Tensor, " weight"]
    weights: Float[Tensor, " weight"]
    teacher_ids: Int[Tensor, " subset"]
    has_row: Bool[Tensor, " vocab"]

    def __init__(self, pair: PairFacts, *, decay: float):
        super().__init__()
        student, teacher = pair.student.view, pair.teacher.view
        same = same_tokens(student, teacher)
        shared = np.flatnonzero(same != NONE)
        self.num_same = len(shared)
        unshared = np.flatnonzero(same == NONE).tolist()
        rest = {id_: surface for id_ in unshared if (surface := student.token_bytes[id_])}
        ids, counts = _pieces(teacher, list(rest.values()))
        starts = np.repeat(counts.cumsum() - counts, counts)
        falling = np.power(float(decay), np.arange(len(ids)) - starts)
        rows = np.concatenate([shared, np.repeat(np.array(list(rest), dtype=np.int64), counts)])
        weights = np.concatenate([np.ones(len(shared)), falling])
        totals = np.bincount(rows, weights, minlength=student.num_tokens)
        # a token that is reached with no weight would be compared with no mass
        some = weights > 0
        rows, weights = rows[some], weights[some]
        reached, columns = np.unique(np.concatenate([same[shared], ids])[some], return_inverse=True)
        register_tables(
            self,
            student_ids=rows,
            columns=columns,
            weights=(weights / totals[rows]).astype(np.float32),
            teacher_ids=reached,
            has_row=totals > 0,
        )

    def forward(self, student_probs: Float[Tensor, "row vocab"]) -> Float[Tensor, "row subset"]:
        """Moves the student's probabilities to `teacher_ids`; tokens that go nowhere are lost."""
        parts = student_probs[:, self.student_ids] * self.weights.to(student_probs.dtype)
        masses = student_probs.new_zeros(len(student_probs), len(self.teacher_ids))
        return masses.scatter_add(1, self.columns.expand_as(parts), parts)


def _pieces(
    teacher: Vocabulary, surfaces: list[bytes]
) -> tuple[Int[np.ndarray, " piece"], Int[np.ndarray, " token"]]:
    """The teacher's tokens that bytes are cut into, joined; and how many each has."""
    pieces: list[list[int]] = [[] for _ in surfaces]
    prefixes = Prefixes(ids_by_bytes(teacher))
    texts: dict[int, str] = {}
    for index, surface in enumerate(surfaces):
        try:
            texts[index] = surface.decode()
        except UnicodeDecodeError:
            pieces[index] = list(prefixes.cut(surface))
    # all at once: a call of the tokenizer for each token would take minutes
    ids, counts = teacher.encoder.ids_of_many(list(texts.values()))
    for index, part in zip(texts, np.split(ids, counts.cumsum()[:-1]), strict=False):
        # a token without bytes is the unknown token: it has nothing in common with the text
        pieces[index] = [id_ for id_ in part.tolist() if teacher.token_bytes[id_]]
    joined = np.array([id_ for part in pieces for id_ in part], dtype=np.int64)
    return joined, np.array([len(part) for part in pieces], dtype=np.int64)
