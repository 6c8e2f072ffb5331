"""Tokens that two vocabularies share: the same bytes, or the same role."""

import logging

import numpy as np
import torch
from jaxtyping import Int
from torch import nn

from alm_lightning.objectives.pair_facts import PairFacts, Vocabulary

log = logging.getLogger(__name__)

LITTLE = 0.02
"""Of the larger vocabulary: a smaller share of it in common is told as a warning. Bytes have 0.1 %
in common with a vocabulary of 262,144, two subword vocabularies 17 % or more."""

ROLES = ("eos",)
"""Special tokens that are predicted, and mean the same whatever they are called."""


def shared_ids(pair: PairFacts) -> tuple[Int[np.ndarray, " shared"], Int[np.ndarray, " shared"]]:
    """Ids of the tokens that both sides have, student's and teacher's, in one order.

    Args:
        pair: Student and teacher.

    Returns:
        Ids of the student, ascending, and of the teacher. Of several ids with the same bytes the
        one that texts are tokenized with counts: a byte-fallback token gives way to any other.
    """
    student, teacher = ids_by_surface(pair.student.view), ids_by_surface(pair.teacher.view)
    pairs = [(id_, teacher[surface]) for surface, id_ in student.items() if surface in teacher]
    pairs += [
        (pair.student.view.roles[role], pair.teacher.view.roles[role])
        for role in ROLES
        if role in pair.student.view.roles and role in pair.teacher.view.roles
    ]
    found = np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)
    return found[:, 0], found[:, 1]


def ids_by_surface(view: Vocabulary) -> dict[bytes, int]:
    """From the bytes of a token to its id.

    Args:
        view: A vocabulary.

    Returns:
        One id for each string of bytes that is a token's; special tokens have none.
    """
    ids: dict[bytes, int] = {}
    for id_, surface in enumerate(view.token_bytes):
        if not surface:
            continue
        if surface not in ids or ids[surface] in view.fallback_ids:
            ids[surface] = id_
    return ids


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
