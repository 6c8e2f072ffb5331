"""Tables made from two vocabularies, and a warning where these have little in common."""

import logging

import numpy as np
import torch
from jaxtyping import Shaped
from torch import nn

from alm_lightning.objectives.vocabularies.pair_facts import PairFacts

log = logging.getLogger(__name__)

LITTLE = 0.02
"""Coverage of a vocabulary below this is a warning. Bytes have 0.1 % in common with a vocabulary of
262,144 tokens, two subword vocabularies 17 % or more."""


def register_tables(module: nn.Module, **tables: Shaped[np.ndarray, " _"]) -> None:
    """Makes arrays buffers of a module; no checkpoint holds them: the vocabularies give them again.

    Args:
        module: Where the buffers go.
        **tables: The arrays, by the buffers' names.
    """
    for name, table in tables.items():
        module.register_buffer(name, torch.from_numpy(table.copy()), persistent=False)


def log_coverage(objective: str, pair: PairFacts, num_student: int, num_teacher: int) -> None:
    """Logs how much of both vocabularies an objective compares, as a warning where it is little.

    Args:
        objective: Name of its class.
        pair: Both vocabularies.
        num_student: How many of the student's tokens have a counterpart.
        num_teacher: How many of the teacher's tokens have one.
    """
    student, teacher = pair.student.view, pair.teacher.view
    few = num_student < LITTLE * student.num_tokens or num_teacher < LITTLE * teacher.num_tokens
    log.log(
        logging.WARNING if few else logging.INFO,
        "%s compares tokens that have a counterpart: %s of the student's %s (%.1f %%, %s) and %s "
        "of the teacher's %s (%.1f %%, %s)%s",
        objective,
        f"{num_student:,}",
        f"{student.num_tokens:,}",
        100 * num_student / student.num_tokens,
        student.name,
        f"{num_teacher:,}",
        f"{teacher.num_tokens:,}",
        100 * num_teacher / teacher.num_tokens,
        teacher.name,
        ". That is too little to learn from: take ALM and NextToken (objective=alm_next_token)."
        if few
        else "",
    )
