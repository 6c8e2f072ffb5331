"""Tokens that two vocabularies share: the same bytes, or the same role."""

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from alm_lightning.counterparts import NONE, ids_by_bytes, is_same_vocabulary
from alm_lightning.objectives.vocabularies.pair_facts import PairFacts, Vocabulary
from alm_lightning.objectives.vocabularies.tables import register_tables


def shared_ids(pair: PairFacts) -> tuple[Int[np.ndarray, " shared"], Int[np.ndarray, " shared"]]:
    """Ids of the tokens that both sides have: the student's, ascending, and the teacher's for each.

    Of several ids with the same bytes the one counts that texts are tokenized with: an ordinary
    token rather than a byte-fallback token. Of one vocabulary on both sides all tokens are shared.
    """
    if is_same_vocabulary(pair.student.view, pair.teacher.view):
        tokens = token_ids(pair.student.view)
        return tokens, tokens
    student, teacher = ids_by_bytes(pair.student.view), ids_by_bytes(pair.teacher.view)
    pairs = [(id_, teacher[surface]) for surface, id_ in student.items() if surface in teacher]
    pairs += special_pairs(pair.student.view, pair.teacher.view).items()
    ids = np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)
    return ids[:, 0], ids[:, 1]


def token_ids(view: Vocabulary) -> Int[np.ndarray, " token"]:
    """All ids but those that no token has."""
    special = {*view.special_ids.values(), *view.roles.values()}
    is_token = [
        surface is not None or id_ in special for id_, surface in enumerate(view.token_bytes)
    ]
    return np.flatnonzero(is_token)


def special_pairs(student: Vocabulary, teacher: Vocabulary) -> dict[int, int]:
    """Special tokens that mean the same on both sides, from ids of the first to ids of the second.

    In this order: tokens of the same text; what ends a turn; and EOS, unless it has a counterpart
    already. The EOS of a chat model ends its turns; a base model has another token for that.
    """
    candidates: list[tuple[int | None, int | None]] = [
        (index, teacher.special_ids[text])
        for text, index in student.special_ids.items()
        if text in teacher.special_ids
    ]
    candidates.append((student.end_of_turn_id, teacher.end_of_turn_id))
    candidates.append((student.roles.get("eos"), teacher.roles.get("eos")))
    pairs: dict[int, int] = {}
    for ours, theirs in candidates:
        if ours is None or theirs is None:
            continue
        if ours not in pairs and theirs not in pairs.values():
            pairs[ours] = theirs
    return pairs


class SharedVocabulary(nn.Module):
    """Ids of the shared tokens on the device of the module that holds them.

    Args:
        student: Ids of the student.
        teacher: Ids of the teacher, in the same order.
    """

    student: Int[Tensor, " shared"]
    teacher: Int[Tensor, " shared"]
    _counterparts: Int[Tensor, " bounded"]

    def __init__(self, student: Int[np.ndarray, " shared"], teacher: Int[np.ndarray, " shared"]):
        super().__init__()
        counterparts = np.full(max(student, default=0) + 2, NONE, dtype=np.int64)
        counterparts[student] = teacher
        register_tables(self, student=student, teacher=teacher, _counterparts=counterparts)
        self._are_first = are_first(student), are_first(teacher)

    def of_student(self, values: Float[Tensor, "row vocab"]) -> Float[Tensor, "row shared"]:
        """The student's columns of the shared tokens; `values` itself where these are all."""
        return columns(values, self.student, are_first=self._are_first[0])

    def of_teacher(self, values: Float[Tensor, "row vocab"]) -> Float[Tensor, "row shared"]:
        """The teacher's columns of the shared tokens, in the same order as the student's."""
        return columns(values, self.teacher, are_first=self._are_first[1])

    def same(
        self, student_ids: Int[Tensor, " row"], teacher_ids: Int[Tensor, " row"]
    ) -> Bool[Tensor, " row"]:
        """Whether each pair of tokens is one shared token."""
        # the last entry stands for all ids beyond the last shared one
        last = len(self._counterparts) - 1
        return self._counterparts[student_ids.clamp_max(last)] == teacher_ids

    def __len__(self) -> int:
        """How many tokens are shared."""
        return len(self.student)


def are_first(ids: Int[np.ndarray, " shared"]) -> bool:
    """Whether some ids are 0, 1, 2 ..., as those of the tokens of one vocabulary on both sides."""
    return np.array_equal(ids, np.arange(len(ids)))


def columns(
    values: Float[Tensor, "row vocab"], ids: Int[Tensor, " shared"], *, are_first: bool
) -> Float[Tensor, "row shared"]:
    """Columns of some tokens; `values` itself where these are all: picking them would copy it.

    Args:
        values: A column for each token of a vocabulary.
        ids: The tokens.
        are_first: What the function of this name says of the ids.

    Returns:
        The columns in the order of the ids.
    """
    return values if are_first and values.shape[1] == len(ids) else values[:, ids]
