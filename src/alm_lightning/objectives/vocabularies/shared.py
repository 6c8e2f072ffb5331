"""Tokens that two vocabularies share: the same bytes, or the same role."""

import logging

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from alm_lightning.counterparts import NONE, ids_by_bytes
from alm_lightning.objectives.vocabularies.pair_facts import PairFacts, Vocabulary

log = logging.getLogger(__name__)

LITTLE = 0.02
"""Of the larger vocabulary: a smaller share of it in common is told as a warning. Bytes have 0.1 %
in common with a vocabulary of 262,144, two subword vocabularies 17 % or more."""


def shared_ids(pair: PairFacts) -> tuple[Int[np.ndarray, " shared"], Int[np.ndarray, " shared"]]:
    """Ids of the tokens that both sides have, student's and teacher's, in one order.

    Args:
        pair: Student and teacher.

    Returns:
        Ids of the student, ascending, and of the teacher. Of several ids with the same bytes the
        one that texts are tokenized with counts: a byte-fallback token gives way to any other.
    """
    student, teacher = ids_by_bytes(pair.student.view), ids_by_bytes(pair.teacher.view)
    pairs = [(id_, teacher[surface]) for surface, id_ in student.items() if surface in teacher]
    pairs += special_pairs(pair.student.view, pair.teacher.view).items()
    found = np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)
    return found[:, 0], found[:, 1]


def special_pairs(student: Vocabulary, teacher: Vocabulary) -> dict[int, int]:
    """Special tokens that mean the same on both sides: each has one counterpart, or none.

    Args:
        student: One vocabulary.
        teacher: The other.

    Returns:
        From ids of the first to ids of the second: tokens of the same text; what ends a turn; and
        EOS, unless it has a counterpart by then. The EOS of a chat model is what ends its turns,
        and that of a base model, which has another token for that, is not.
    """
    candidates = [
        (index, teacher.special_ids[text])
        for text, index in student.special_ids.items()
        if text in teacher.special_ids
    ]
    candidates.append((student.end_of_turn_id, teacher.end_of_turn_id))
    candidates.append((student.roles.get("eos"), teacher.roles.get("eos")))
    pairs: dict[int, int] = {}
    for ours, theirs in candidates:
        if None not in (ours, theirs) and ours not in pairs and theirs not in pairs.values():
            pairs[ours] = theirs
    return pairs


class SharedVocabulary(nn.Module):
    """Ids of the shared tokens on the device of the module that holds them.

    Attributes:
        student: Ids of the student.
        teacher: Ids of the teacher, in the same order.
    """

    def __init__(self, student: Int[np.ndarray, " shared"], teacher: Int[np.ndarray, " shared"]):
        """Holds the ids; no checkpoint does, since the vocabularies give them again.

        Args:
            student: Ids of the student.
            teacher: Ids of the teacher, in the same order.
        """
        super().__init__()
        self.register_buffer("student", torch.from_numpy(student.copy()), persistent=False)
        self.register_buffer("teacher", torch.from_numpy(teacher.copy()), persistent=False)
        counterparts = np.full(max(student, default=0) + 2, NONE, dtype=np.int64)
        counterparts[student] = teacher
        self.register_buffer("_counterparts", torch.from_numpy(counterparts), persistent=False)

    def same(
        self, student_ids: Int[Tensor, " row"], teacher_ids: Int[Tensor, " row"]
    ) -> Bool[Tensor, " row"]:
        """Whether tokens of both sides are one shared token.

        Args:
            student_ids: Ids of the student.
            teacher_ids: Ids of the teacher.

        Returns:
            One flag a pair.
        """
        # the last entry stands for all ids beyond the last shared one
        last = len(self._counterparts) - 1
        return self._counterparts[student_ids.clamp_max(last)] == teacher_ids

    def __len__(self) -> int:
        """How many tokens are shared."""
        return len(self.student)


def warn_of_little(pair: PairFacts, num_shared: int, objective: str) -> None:
    """Warns, before the first step, of an objective that rests on tokens which hardly exist.

    Args:
        pair: Student and teacher.
        num_shared: How many tokens they share.
        objective: What rests on them, as it is chosen.
    """
    student, teacher = pair.student.view, pair.teacher.view
    message = (
        "%s rests on tokens that both vocabularies have: %s, which are %.1f %% of the student's "
        "%s (%s) and %.1f %% of the teacher's %s (%s)"
    )
    few = num_shared < LITTLE * max(student.num_tokens, teacher.num_tokens)
    log.log(
        logging.WARNING if few else logging.INFO,
        message + (": it teaches little here. Take objective=alm_next_token." if few else ""),
        objective,
        f"{num_shared:,}",
        100 * num_shared / student.num_tokens,
        f"{student.num_tokens:,}",
        student.name,
        100 * num_shared / teacher.num_tokens,
        f"{teacher.num_tokens:,}",
        teacher.name,
    )
